//! `tellhal nkey [FILE]`: prints the public key of this machine's credentials, and makes them when there are none. Does not contact
//! a server.

use std::io::Write;

use crate::cli::Nkey;
use crate::config::{Flags, load};
use crate::exit::{Exit, Failure, Outcome};

pub(crate) fn nkey(args: &Nkey, flags: &Flags) -> Outcome {
    let path = match &args.file {
        Some(file) => file.clone(),
        None => {
            let settings = load(flags);
            if let Some(broken) = settings.broken() {
                return Err(Failure::new(Exit::CONFIG, broken));
            }
            let hint = "no nkey_file is configured; name a file: tellhal nkey /etc/tellhal/host.nk";
            settings.nats.nkey_file.ok_or_else(|| Failure::usage(hint))?
        }
    };
    let key = tellhal::nkey::read_or_create(&path)
        .map_err(|error| Failure::new(Exit::CONFIG, format!("{}: {error}", path.display())))?;
    let _ = writeln!(std::io::stdout(), "{}", key.public_key());
    Ok(Exit::OK)
}
