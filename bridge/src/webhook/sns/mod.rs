//! The proof of SNS's messages, and the confirmation of subscriptions: the only requests that a webhook leads to. They go to
//! addresses of SNS alone (`signed`), one at a time and within bounds, and a subscription's only once its message is proven and its topic
//! is one of the configuration's.

mod signed;
#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::{Method, Url};
use serde_json::Value;
use service::http::{Bounds, Call, Endpoint, Reach};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::request::Refusal;
use signed::Signed;

/// The longest time for a request to Amazon; SNS waits 15 s for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The largest answer, in bytes; a certificate has about 2 KiB.
const LARGEST: usize = 16 << 10;
/// The most certificates that are kept. Amazon has one a region, and a new one every year.
const CERTIFICATES: usize = 16;

/// The way to Amazon: the body behind an address. Tests have another one.
type Get = Box<dyn Fn(Url) -> BoxFuture<'static, anyhow::Result<Vec<u8>>> + Send + Sync>;

/// The certificates that have proven a message, and the way to further ones.
pub(crate) struct Sns {
    get: Get,
    kept: Mutex<Vec<(Url, Arc<[u8]>)>>,
}

impl Sns {
    pub(crate) fn new() -> Sns {
        Sns::by(Box::new(|url| Box::pin(get(url))))
    }

    fn by(get: Get) -> Sns {
        Sns { get, kept: Mutex::default() }
    }

    /// `Ok` if a message is Amazon's and of one of the `topics`. A subscription is confirmed. `now` is in seconds since 1970.
    pub(crate) async fn prove(&self, message: &Value, topics: &[String], now: u64) -> Result<(), Refusal> {
        let signed = Signed::of(message, topics, now).map_err(Refusal::Unproven)?;
        let mut kept = self.kept.lock().await;
        let known = kept.iter().find(|(url, _)| *url == signed.certificate).map(|(_, pem)| pem.clone());
        let pem = match &known {
            Some(pem) => pem.clone(),
            None => self.fetch(signed.certificate.clone(), "the certificate of SNS").await?.into(),
        };
        signed.verify(&pem, now).map_err(Refusal::Unproven)?;
        if known.is_none() {
            if kept.len() == CERTIFICATES {
                kept.remove(0);
            }
            kept.push((signed.certificate, pem));
        }
        drop(kept);
        if let Some(url) = signed.subscribe {
            self.fetch(url, "the address that confirms the subscription").await?;
        }
        Ok(())
    }

    async fn fetch(&self, url: Url, what: &'static str) -> Result<Vec<u8>, Refusal> {
        (self.get)(url).await.map_err(|error| {
            tracing::warn!(%error, "{what} cannot be fetched");
            Refusal::Later(what)
        })
    }
}

async fn get(url: Url) -> anyhow::Result<Vec<u8>> {
    let endpoint = Endpoint::new(url.as_str(), &Reach { public_only: true, ..Reach::default() })?;
    let bounds = Bounds { deadline: Instant::now() + PATIENCE, rest: PATIENCE, limit: LARGEST };
    let (path, query, body) = (Vec::new(), Vec::new(), Vec::new());
    let call = Call { method: Method::GET, path, query, body, media_type: None, bounds };
    let answer = endpoint.fetch(call).await?;
    anyhow::ensure!(
        answer.status.is_success(),
        "{}",
        endpoint.reason(&format!("answered {}", answer.status))
    );
    anyhow::ensure!(answer.complete, "{}", endpoint.reason("its answer is too long or too slow"));
    Ok(answer.body)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Plain;

    use super::testing::{Signer, at, message, topics};
    use super::*;

    type Asked = Arc<Plain<Vec<String>>>;

    /// An Amazon that has `pem` at every address, and the addresses that it was asked for.
    fn amazon(pem: &[u8]) -> (Sns, Asked) {
        let (pem, asked) = (pem.to_vec(), Asked::default());
        let noted = asked.clone();
        let get = move |url: Url| -> BoxFuture<'static, anyhow::Result<Vec<u8>>> {
            noted.lock().unwrap().push(url.to_string());
            let pem = pem.clone();
            Box::pin(async { if pem.is_empty() { anyhow::bail!("gone") } else { Ok(pem) } })
        };
        (Sns::by(Box::new(get)), asked)
    }

    #[tokio::test]
    async fn a_certificate_is_fetched_once_and_a_proven_subscription_is_confirmed() {
        let signer = Signer::new(30);
        let (sns, asked) = amazon(&signer.certificate);
        for kind in ["Notification", "Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"] {
            let signed = signer.sign(message(kind), "2");
            assert_eq!(sns.prove(&signed, &topics(), at()).await, Ok(()), "{kind}");
        }
        assert_eq!(
            *asked.lock().unwrap(),
            [
                "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
                "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37",
            ]
        );
    }

    #[tokio::test]
    async fn nothing_is_fetched_for_what_is_not_proven() {
        let (signer, other) = (Signer::new(30), Signer::new(30));
        let (sns, asked) = amazon(&signer.certificate);
        let subscription = signer.sign(message("SubscriptionConfirmation"), "1");
        let mut elsewhere = subscription.clone();
        elsewhere["SigningCertURL"] = "https://sns.example.com/a.pem".into();
        for (message, topics) in [(&subscription, vec![]), (&elsewhere, topics())] {
            assert!(matches!(sns.prove(message, &topics, at()).await, Err(Refusal::Unproven(_))));
        }
        assert_eq!(*asked.lock().unwrap(), [""; 0]);
        let forged = other.sign(message("SubscriptionConfirmation"), "1");
        for _ in 0..2 {
            assert_eq!(
                sns.prove(&forged, &topics(), at()).await,
                Err(Refusal::Unproven("its signature is wrong"))
            );
        }
        let asked: Vec<String> = asked.lock().unwrap().clone();
        assert!(
            asked.len() == 2 && asked.iter().all(|url| url.ends_with(".pem")),
            "no certificate is kept that proves nothing: {asked:?}"
        );
    }

    #[tokio::test]
    async fn without_amazon_the_sender_is_told_to_come_again() {
        let (signer, (sns, _)) = (Signer::new(30), amazon(b""));
        let signed = signer.sign(message("Notification"), "2");
        assert_eq!(sns.prove(&signed, &topics(), at()).await, Err(Refusal::Later("the certificate of SNS")));
    }

    #[tokio::test]
    async fn of_many_certificates_the_newest_are_kept() {
        let signer = Signer::new(30);
        let (sns, asked) = amazon(&signer.certificate);
        for number in 0..40 {
            let mut message = message("Notification");
            message["SigningCertURL"] = format!("https://sns.eu-west-1.amazonaws.com/{number}.pem").into();
            sns.prove(&signer.sign(message, "2"), &topics(), at()).await.unwrap();
        }
        assert_eq!(asked.lock().unwrap().len(), 40);
        assert_eq!(sns.kept.lock().await.len(), CERTIFICATES);
    }
}
