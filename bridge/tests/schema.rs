//! The schema of `bridge.toml` in the repository is the one the program prints.
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic as the test may")]

use std::path::Path;
use std::process::Command;

#[test]
fn the_committed_schema_is_current() {
    let schema = Command::new(env!("CARGO_BIN_EXE_hal-bridge")).arg("schema").output().unwrap();
    let schema = String::from_utf8(schema.stdout).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("bridge.schema.json");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, &schema).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), schema, "BLESS=1 cargo test rewrites it");
}
