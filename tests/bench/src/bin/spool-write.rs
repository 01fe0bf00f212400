//! The bare spool write: `spool-write FOLDER TEXT` writes, syncs and renames one file, then syncs its folder.

use std::fs::{File, OpenOptions, rename};
use std::io::{self, Write};
use std::path::Path;

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, folder, text] = &args[..] else {
        return Err(io::Error::other("usage: spool-write FOLDER TEXT"));
    };
    let name = bench::nats::fresh_id();
    let (temporary, new) = (Path::new(folder).join("tmp").join(&name), Path::new(folder).join("new"));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    rename(&temporary, new.join(&name))?;
    File::open(new)?.sync_all()
}
