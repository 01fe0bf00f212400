//! Files of an answer, such as a picture: bounded, and named so that no name does harm.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::is_hidden;

/// The most files of one answer.
pub const MOST: usize = 4;
/// The most bytes of all files of one answer together: in base64 they fit into one message of a NATS server, 1 MiB.
pub const LONGEST: usize = 640 * 1024;
/// The longest name, in bytes.
const NAME: usize = 100;

/// A file of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    /// Its name, such as `load.png`.
    pub name: String,
    /// Its contents, in base64. Pictures (PNG, JPEG, GIF, WebP) are known by them.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "encode",
        deserialize_with = "decode"
    )]
    #[schemars(with = "String", extend("contentEncoding" = "base64"))]
    pub data: Vec<u8>,
    /// The name under which it is kept; the bridge says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
}

impl File {
    /// Such as `image/png`; `application/octet-stream` for anything that is no picture.
    pub fn media_type(&self) -> &'static str {
        match self.data.as_slice() {
            [0x89, b'P', b'N', b'G', ..] => "image/png",
            [0xff, 0xd8, 0xff, ..] => "image/jpeg",
            [b'G', b'I', b'F', b'8', ..] => "image/gif",
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
            _ => "application/octet-stream",
        }
    }
}

/// The files that an answer may have, and a line about each that it may not.
pub fn bounded(files: Vec<File>) -> (Vec<File>, Vec<String>) {
    let (mut kept, mut left, mut bytes) = (Vec::new(), Vec::new(), 0);
    for file in files {
        let name = safe_name(&file.name);
        bytes += file.data.len();
        if kept.len() == MOST {
            left.push(format!("the file {name} is left out: an answer has at most {MOST}"));
        } else if bytes > LONGEST {
            left.push(format!("the file {name} is left out: all files have at most {} KiB", LONGEST / 1024));
            bytes -= file.data.len();
        } else {
            kept.push(File { name, ..file });
        }
    }
    left.truncate(MOST);
    (kept, left)
}

/// The first part of the name under which each file is kept.
pub const PREFIX: &str = "answer-";

/// True for the name under which a file of an answer is kept, and for no other object beside it.
pub fn is_kept_name(object: &str) -> bool {
    let rest = object.strip_prefix(PREFIX).unwrap_or_default();
    let legal = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase() || byte == b'-';
    (1..=80).contains(&rest.len()) && rest.bytes().all(legal)
}

/// A name without folders and control characters.
pub(crate) fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_harmless = |c: &char| !is_hidden(*c) && !matches!(c, '"' | '<' | '>');
    let name: String = last.chars().filter(is_harmless).collect();
    let name = name.trim().trim_start_matches('.');
    let name = &name[..name.floor_char_boundary(NAME)];
    if name.is_empty() { "file".into() } else { name.to_owned() }
}

fn encode<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(data))
}

fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: usize) -> File {
        File { name: name.into(), data: vec![b'x'; bytes], object: String::new() }
    }

    #[test]
    fn files_are_bounded_and_those_left_out_are_named() {
        let many = (0..6).map(|n| file(&format!("{n}"), 1)).collect();
        let (kept, left) = bounded(many);
        assert_eq!((kept.len(), left.len()), (MOST, 2));
        let (kept, left) = bounded(vec![file("a", LONGEST), file("b", 1), file("c", 0)]);
        assert_eq!(kept.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(left, ["the file b is left out: all files have at most 640 KiB"]);
    }

    #[test]
    fn no_other_object_can_be_named() {
        for (object, legal) in [
            ("answer-abc-0", true),
            ("snapshot", false),
            ("config-1", false),
            ("answer-", false),
            ("answer-A", false),
            ("answer-../snapshot", false),
        ] {
            assert_eq!(is_kept_name(object), legal, "{object}");
        }
    }

    #[test]
    fn a_name_leads_nowhere() {
        for (name, want) in [
            ("load.png", "load.png"),
            ("../../etc/passwd", "passwd"),
            ("C:\\x\\a b.txt", "a b.txt"),
            (".bashrc", "bashrc"),
            ("a\n\"<b>\u{1b}", "ab"),
            ("/", "file"),
        ] {
            assert_eq!(safe_name(name), want);
        }
        assert!(safe_name(&"é".repeat(200)).len() <= NAME);
    }

    #[test]
    fn a_picture_is_known_by_its_contents() {
        let typed = |data: &[u8]| File { data: data.into(), ..File::default() }.media_type();
        assert_eq!(typed(b"\x89PNG\r\n\x1a\n"), "image/png");
        assert_eq!(typed(b"RIFF\0\0\0\0WEBPVP8 "), "image/webp");
        assert_eq!(typed(b"<svg onload='x'>"), "application/octet-stream");
        let json =
            serde_json::to_string(&File { name: "a".into(), data: b"hi".into(), object: String::new() })
                .unwrap();
        assert_eq!(json, r#"{"name":"a","data":"aGk="}"#);
        assert_eq!(serde_json::from_str::<File>(&json).unwrap().data, b"hi");
        assert!(serde_json::from_str::<File>(r#"{"name":"a","data":"!"}"#).is_err());
    }
}
