//! Pages that must answer, and certificates that end.

use tellhal::message::Status;
use tests::wait::SOON;
use tests::{Answer, Bridge, Certificates, Flaw, TlsFront, WebhookSink, wait_until};

use super::scene::{Log, monitor};

#[tokio::test]
async fn a_page_must_answer() {
    let (mut log, page) = (Log::start().await, WebhookSink::start().await);
    page.always(Answer::Refuse(tests::Reply::text(200, "ready")));
    let kind = format!("[monitors.http]\nurl = \"http://{}/shop/?all=1\"\nbody = \"^ready\"", page.addr());
    let _bridge = Bridge::start(&log.server.url(), &monitor("page", "", &kind)).await;
    wait_until("a first look", SOON, async || !page.requests().is_empty()).await;
    assert_eq!(page.requests()[0].path, "/shop/?all=1");
    page.always(Answer::status(503));
    let told = log.wait_for(1).await.remove(0);
    assert_eq!(told.text, "page: answered 503 Service Unavailable");
    page.always(Answer::Reset);
    wait_until("a further look", SOON, async || page.requests().len() > 3).await;
    page.always(Answer::Refuse(tests::Reply::text(200, "ready")));
    let told = log.wait_for(2).await.remove(1);
    assert!(told.text.starts_with("page: answered 200 OK in ") && told.status == Some(Status::Resolved));
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_told() {
    let (mut log, page) = (Log::start().await, WebhookSink::start().await);
    page.always(Answer::Refuse(tests::Reply::text(200, "ready")));
    let dir = tempfile::tempdir().unwrap();
    // It ends in 30 days.
    let certificates = Certificates::create(dir.path(), Flaw::None);
    let front = TlsFront::of(&certificates, page.addr()).await;
    let https = |least: &str| {
        let ca = certificates.ca.display();
        format!(
            "[monitors.http]\nurl = \"https://{}\"\ntls_ca = \"{ca}\"\ncertificate = \"{least}\"",
            front.addr()
        )
    };
    let text = monitor("late", "", &https("40d")) + &monitor("good", "", &https("14d"));
    let bridge = Bridge::start(&log.server.url(), &text).await;
    let told = log.wait_for(1).await.remove(0);
    assert_eq!(told.text, "late: its certificate ends in 29 days");
    let good = "hal_bridge_observations_total{kind=\"http\",outcome=\"good\"}";
    wait_until("the other looks too", SOON, async || bridge.get("/metrics").await.1.contains(good)).await;
    log.wait_for(1).await;
}
