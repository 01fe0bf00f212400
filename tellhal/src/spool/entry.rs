//! One spooled message as bytes: a line with version, length and checksum, then the message's JSON.
//! Pure: for any bytes, reading gives a message or the reason why they are not one.

use sha2::{Digest, Sha256};

use crate::message::{Message, VERSION};
use crate::tag::is_token;

const MAGIC: &str = "tellhal-spool 1";
/// The largest file that is read: far larger than the largest message.
pub(crate) const MAX_ENTRY: u64 = 4 * 1024 * 1024;

/// The reason why a file in the spool is not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It does not begin with the header line.
    #[error("it does not begin with \"{MAGIC} LENGTH CHECKSUM\"")]
    Header,
    /// It has fewer or more bytes than its first line says.
    #[error("its length differs from the one in its first line")]
    Length,
    /// Its bytes have changed since they were written.
    #[error("its checksum is wrong")]
    Checksum,
    /// It is whole, but not a message of this version.
    #[error("it is not a message: {0}")]
    Message(String),
    /// Not a regular file of the spool's owner.
    #[error("it is {0}")]
    NotAFile(&'static str),
}

/// The bytes of `message` in the spool.
pub fn encode(message: &Message) -> Result<Vec<u8>, serde_json::Error> {
    let body = serde_json::to_vec(message)?;
    let mut bytes = format!("{MAGIC} {} {}\n", body.len(), checksum(&body)).into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The message in a spooled file's bytes.
pub fn parse(bytes: &[u8]) -> Result<Message, Broken> {
    let end = bytes.iter().take(128).position(|byte| *byte == b'\n').ok_or(Broken::Header)?;
    let header = std::str::from_utf8(&bytes[..end]).map_err(|_| Broken::Header)?;
    let rest = header.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(' ')).ok_or(Broken::Header)?;
    let (length, sum) = rest.split_once(' ').ok_or(Broken::Header)?;
    let number: u64 = length.parse().map_err(|_| Broken::Header)?;
    // `parse` takes +5 and 05 too, which `encode` never writes.
    if number.to_string() != length {
        return Err(Broken::Header);
    }
    let body = &bytes[end + 1..];
    if number != body.len() as u64 {
        return Err(Broken::Length);
    }
    if checksum(body) != sum {
        return Err(Broken::Checksum);
    }
    let message: Message =
        serde_json::from_slice(body).map_err(|error| Broken::Message(error.to_string()))?;
    if message.v != VERSION {
        return Err(Broken::Message(format!("version {} is unknown", message.v)));
    }
    // The source becomes part of the subject.
    if !is_token(&message.source) {
        return Err(Broken::Message("its source is not one word of A-Z a-z 0-9 _ -".into()));
    }
    Ok(message)
}

fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(text: &str) -> Message {
        let mut message = Message::new("db1", "backup.mysql".parse().unwrap(), text);
        message.fields.insert("size".into(), "3".into());
        message
    }

    #[test]
    fn each_kind_of_damage_has_its_name() {
        let whole = encode(&sample("done")).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let cases: Vec<(Vec<u8>, Broken)> = vec![
            (vec![], Broken::Header),
            (b"tellhal-spool 2 1 x\n".to_vec(), Broken::Header),
            (b"tellhal-spool 1 99999999999999999999 x\n".to_vec(), Broken::Header),
            (b"tellhal-spool 1 9223372036854775808 x\n".to_vec(), Broken::Length),
            (text.replacen("spool 1 ", "spool 1 +", 1).into_bytes(), Broken::Header),
            (text.replacen("spool 1 ", "spool 1 0", 1).into_bytes(), Broken::Header),
            (whole[..whole.len() - 1].to_vec(), Broken::Length),
            ([whole.as_slice(), b"junk"].concat(), Broken::Length),
            (text.replace("done", "gone").into_bytes(), Broken::Checksum),
        ];
        for (bytes, want) in cases {
            assert_eq!(parse(&bytes), Err(want), "{}", String::from_utf8_lossy(&bytes));
        }
        let newer = Message { v: 2, ..sample("x") };
        assert!(matches!(parse(&encode(&newer).unwrap()), Err(Broken::Message(_))));
        let forged = Message { source: "a.>".into(), ..sample("x") };
        assert!(matches!(parse(&encode(&forged).unwrap()), Err(Broken::Message(_))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "(?s).{0,300}") {
            let message = sample(&text);
            prop_assert_eq!(parse(&encode(&message).unwrap()), Ok(message));
        }

        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(parse(&bytes).is_err());
        }

        #[test]
        fn one_changed_or_missing_byte_is_noticed(text in ".{0,60}", at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let whole = encode(&sample(&text)).unwrap();
            let at = at.index(whole.len());
            let mut changed = whole.clone();
            changed[at] = to;
            prop_assert_eq!(parse(&changed).is_ok(), changed == whole);
            prop_assert!(parse(&whole[..at]).is_err());
        }
    }
}
