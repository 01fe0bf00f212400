//! A short hash for texts that must be told apart for good, such as configurations and foreign ids.

use sha2::{Digest, Sha256};

/// SHA-256 of the parts one after another: its first 16 bytes in hexadecimal.
pub fn fingerprint(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_the_first_half_of_sha_256() {
        assert_eq!(fingerprint(&[b"abc"]), "ba7816bf8f01cfea414140de5dae2223");
        assert_eq!(fingerprint(&[b"a", b"", b"bc"]), fingerprint(&[b"abc"]));
    }
}
