//! The fingerprint of texts that must be told apart for good, such as configurations.

use sha2::{Digest, Sha256};

/// SHA-256 of the parts one after another, the first 16 bytes in hexadecimal.
pub fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
