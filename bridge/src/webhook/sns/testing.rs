//! Messages of SNS, signed by a key of the tests' own with `openssl`, which is another program than the one that verifies.

use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tellhal::Timestamp;
use tempfile::TempDir;

pub(super) const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:alarms";

pub(super) fn topics() -> Vec<String> {
    vec![TOPIC.to_owned()]
}

/// The time of the messages, in seconds since 1970.
pub(super) fn at() -> u64 {
    u64::try_from(Timestamp::now().0 / 1000).unwrap()
}

/// A message that is not signed yet.
pub(super) fn message(kind: &str) -> Value {
    let mut message = json!({
        "Type": kind,
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": "Hello from SNS!\nsecond line",
        "Timestamp": Timestamp::now().to_string(),
        "SignatureVersion": "2",
        "Signature": "AAAA",
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
    });
    match kind {
        "Notification" => message["Subject"] = "My First Message".into(),
        _ => {
            message["Token"] = "2336412f37".into();
            message["SubscribeURL"] =
                "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37".into();
        }
    }
    message
}

/// A key with its certificate.
pub(super) struct Signer {
    dir: TempDir,
    pub(super) certificate: Vec<u8>,
}

impl Signer {
    /// The certificate is good for so many days from now on.
    pub(super) fn new(days: u32) -> Signer {
        let dir = tempfile::tempdir().unwrap();
        openssl(
            &dir,
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -days {days} -subj /CN=sns -keyout key.pem -out cert.pem"
            ),
        );
        let certificate = std::fs::read(dir.path().join("cert.pem")).unwrap();
        Signer { dir, certificate }
    }

    /// Signs with SHA-1 (version 1) or SHA-256 (version 2), over the text that Amazon's documentation describes.
    pub(super) fn sign(&self, mut message: Value, version: &str) -> Value {
        message["SignatureVersion"] = version.into();
        let keys: &[&str] = match message["Type"].as_str() {
            Some("Notification") => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
            _ => &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
        };
        let mut text = String::new();
        for key in keys {
            if let Some(value) = message.get(key) {
                text += &format!("{key}\n{}\n", value.as_str().unwrap());
            }
        }
        std::fs::write(self.dir.path().join("text"), text).unwrap();
        let digest = if version == "1" { "sha1" } else { "sha256" };
        openssl(&self.dir, &format!("dgst -{digest} -sign key.pem -out signature text"));
        let signature = std::fs::read(self.dir.path().join("signature")).unwrap();
        message["Signature"] = BASE64_STANDARD.encode(signature).into();
        message
    }
}

fn openssl(dir: &TempDir, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
