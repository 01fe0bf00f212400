//! One fingerprint for ids of events, for keys of buckets, and for all that an approval is bound to.

use sha2::{Digest as _, Sha256};

/// 128 bits of the SHA-256 of a text, which are a legal part of a key whatever the text is.
pub(crate) fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
