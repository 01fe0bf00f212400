//! The proof that a message of SNS is Amazon's and of a topic that the configuration names: RSA over some of its values, by a
//! certificate from an address of Amazon's. Pure.
//!
//! Source: "Verifying the signatures of Amazon SNS messages" in Amazon's developer guide.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Url;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde_json::Value;
use tellhal::Timestamp;
use x509_parser::pem::parse_x509_pem;
use x509_parser::time::ASN1Time;

use crate::webhook::event::Reach as _;

/// The age of a message, in seconds, from which it is not taken: claims forget events after eight days, and SNS tries for hours.
const OLDEST: u64 = 7 * 24 * 3600;
/// The keys that a notification's signature covers, in this order, each with its value, if it is there.
const OF_NOTIFICATIONS: [&str; 6] = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"];
const OF_CONFIRMATIONS: [&str; 7] =
    ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];

/// A message whose topic is allowed and whose addresses are Amazon's, before its signature is looked at.
#[derive(Debug)]
pub(crate) struct Signed {
    /// The address of the certificate.
    pub(crate) certificate: Url,
    /// The address that confirms the subscription, if that is what it asks for.
    pub(crate) subscribe: Option<Url>,
    algorithm: &'static dyn VerificationAlgorithm,
    text: String,
    signature: Vec<u8>,
}

impl Signed {
    /// Looks at everything but the signature itself. `now` is in seconds since 1970.
    pub(crate) fn of(message: &Value, topics: &[String], now: u64) -> Result<Signed, &'static str> {
        let topic = message.text("/TopicArn");
        if !topics.contains(&topic) {
            return Err("its topic is not among those of the configuration");
        }
        let sent = message.text("/Timestamp").parse::<Timestamp>().map_err(|_| "it has no time")?;
        let sent = u64::try_from(sent.0 / 1000).map_err(|_| "it has no time")?;
        if now.abs_diff(sent) > OLDEST {
            return Err("its time is more than a week away from this machine's");
        }
        let kind = message.text("/Type");
        let (keys, is_subscription) = match kind.as_str() {
            "Notification" => (&OF_NOTIFICATIONS[..], false),
            "SubscriptionConfirmation" => (&OF_CONFIRMATIONS[..], true),
            "UnsubscribeConfirmation" => (&OF_CONFIRMATIONS[..], false),
            _ => return Err("its type is none of SNS"),
        };
        let value =
            |key: &&str| message.get(*key).and_then(Value::as_str).map(|value| format!("{key}\n{value}\n"));
        let algorithm: &'static dyn VerificationAlgorithm = match message.text("/SignatureVersion").as_str() {
            "1" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "2" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err("its signature is of an unknown version"),
        };
        let of_amazon = |key: &str| amazons(&message.text(key)).ok_or("an address in it is not that of SNS");
        let certificate = of_amazon("/SigningCertURL")?;
        if !certificate.path().ends_with(".pem") || certificate.query().is_some() {
            return Err("the address of its certificate is not that of SNS");
        }
        Ok(Signed {
            certificate,
            subscribe: is_subscription.then(|| of_amazon("/SubscribeURL")).transpose()?,
            algorithm,
            text: keys.iter().filter_map(value).collect(),
            signature: BASE64_STANDARD.decode(message.text("/Signature")).map_err(|_| "it is not signed")?,
        })
    }

    /// `Ok` if the certificate, in PEM, is in force and its key has signed the message.
    pub(crate) fn verify(&self, certificate: &[u8], now: u64) -> Result<(), &'static str> {
        let unreadable = "the certificate cannot be read";
        let (_, pem) = parse_x509_pem(certificate).map_err(|_| unreadable)?;
        let certificate = pem.parse_x509().map_err(|_| unreadable)?;
        let now = i64::try_from(now).ok().and_then(|now| ASN1Time::from_timestamp(now).ok());
        if !now.is_some_and(|now| certificate.validity().is_valid_at(now)) {
            return Err("the certificate is not in force");
        }
        let key = &certificate.public_key().subject_public_key.data;
        let key = UnparsedPublicKey::new(self.algorithm, key);
        key.verify(self.text.as_bytes(), &self.signature).map_err(|_| "its signature is wrong")
    }
}

/// An address of SNS itself, over TLS at its usual port.
fn amazons(address: &str) -> Option<Url> {
    let url = Url::parse(address).ok()?;
    let host = url.host_str()?;
    let region = host.strip_prefix("sns.")?;
    let region =
        region.strip_suffix(".amazonaws.com").or_else(|| region.strip_suffix(".amazonaws.com.cn"))?;
    let is_region =
        region.len() >= 3 && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_plain = url.scheme() == "https" && url.port().is_none() && url.username().is_empty();
    (is_region && is_plain && url.password().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Signer, TOPIC, at, message, topics};
    use super::*;

    #[test]
    fn messages_of_all_types_are_verified_in_both_versions() {
        let signer = Signer::new(30);
        for kind in ["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"] {
            for version in ["1", "2"] {
                let message = signer.sign(message(kind), version);
                let signed = Signed::of(&message, &topics(), at()).unwrap();
                assert_eq!(signed.verify(&signer.certificate, at()), Ok(()), "{kind} {version}");
                assert_eq!(signed.subscribe.is_some(), kind == "SubscriptionConfirmation");
                for key in ["Message", "MessageId", "Timestamp"] {
                    let mut forged = message.clone();
                    forged[key] =
                        if key == "Timestamp" { "2026-11-28T01:00:01.000Z".into() } else { "other".into() };
                    let forged = Signed::of(&forged, &topics(), at()).unwrap();
                    assert_eq!(
                        forged.verify(&signer.certificate, at()),
                        Err("its signature is wrong"),
                        "{key}"
                    );
                }
            }
        }
    }

    #[test]
    fn without_a_subject_there_is_no_line_for_it() {
        let signer = Signer::new(30);
        let mut message = message("Notification");
        message.as_object_mut().unwrap().remove("Subject");
        let signed = Signed::of(&signer.sign(message, "2"), &topics(), at()).unwrap();
        assert!(!signed.text.contains("Subject"), "{}", signed.text);
        assert_eq!(signed.verify(&signer.certificate, at()), Ok(()));
    }

    #[test]
    fn other_certificates_are_refused() {
        let (signer, other) = (Signer::new(30), Signer::new(30));
        let signed = Signed::of(&signer.sign(message("Notification"), "2"), &topics(), at()).unwrap();
        assert_eq!(signed.verify(&other.certificate, at()), Err("its signature is wrong"));
        assert_eq!(signed.verify(b"no certificate", at()), Err("the certificate cannot be read"));
        assert_eq!(signed.verify(b"", at()), Err("the certificate cannot be read"));
        let later = at() + 40 * 24 * 3600;
        assert_eq!(signed.verify(&signer.certificate, later), Err("the certificate is not in force"));
        let other_version = signer.sign(message("Notification"), "1");
        let mut mixed = other_version.clone();
        mixed["SignatureVersion"] = "2".into();
        let mixed = Signed::of(&mixed, &topics(), at()).unwrap();
        assert_eq!(mixed.verify(&signer.certificate, at()), Err("its signature is wrong"));
    }

    #[test]
    fn only_listed_topics_times_of_a_week_and_addresses_of_amazon_are_looked_at() {
        let with = |key: &str, value: &str| {
            let mut message = message("SubscriptionConfirmation");
            message[key] = value.into();
            Signed::of(&message, &topics(), at()).err()
        };
        assert_eq!(with("Subject", "x"), None);
        for (key, value, why) in [
            (
                "TopicArn",
                "arn:aws:sns:eu-west-1:123456789012:other",
                "its topic is not among those of the configuration",
            ),
            ("TopicArn", "", "its topic is not among those of the configuration"),
            (
                "Timestamp",
                "2026-11-20T00:00:00.000Z",
                "its time is more than a week away from this machine's",
            ),
            (
                "Timestamp",
                "2026-12-20T00:00:00.000Z",
                "its time is more than a week away from this machine's",
            ),
            ("Timestamp", "soon", "it has no time"),
            ("Type", "Other", "its type is none of SNS"),
            ("SignatureVersion", "3", "its signature is of an unknown version"),
            ("Signature", "!", "it is not signed"),
            (
                "SigningCertURL",
                "https://sns.eu-west-1.amazonaws.com/a.pem?b",
                "the address of its certificate is not that of SNS",
            ),
            (
                "SigningCertURL",
                "https://sns.eu-west-1.amazonaws.com/a.crt",
                "the address of its certificate is not that of SNS",
            ),
        ] {
            assert_eq!(with(key, value), Some(why), "{key} {value}");
        }
        for (key, path) in
            [("SigningCertURL", "/a.pem"), ("SubscribeURL", "/?Action=ConfirmSubscription&Token=1")]
        {
            for origin in [
                "http://sns.eu-west-1.amazonaws.com",
                "https://sns.eu-west-1.amazonaws.com.example.com",
                "https://sns.eu-west-1.amazonaws.com:8443",
                "https://user@sns.eu-west-1.amazonaws.com",
                "https://sns.a.b.amazonaws.com",
                "https://sns.eu.amazonaws.com",
                "https://sns..amazonaws.com",
                "https://sns.amazonaws.com",
                "https://evil.s3.amazonaws.com",
                "https://127.0.0.1",
                "https://localhost",
                "file://sns.eu-west-1.amazonaws.com",
                "//sns.eu-west-1.amazonaws.com",
            ] {
                assert_eq!(
                    with(key, &format!("{origin}{path}")),
                    Some("an address in it is not that of SNS"),
                    "{origin}"
                );
            }
            for origin in
                ["https://sns.us-gov-west-1.amazonaws.com", "https://sns.cn-north-1.amazonaws.com.cn"]
            {
                assert_eq!(with(key, &format!("{origin}{path}")), None, "{origin}");
            }
        }
        assert!(Signed::of(&json!({ "TopicArn": TOPIC }), &topics(), at()).is_err());
    }
}
