//! Thresholds on the values of Graphite, of a fake and of a real one.

use tellhal::message::{Severity, Status};
use tests::{Answer, Bridge, FakeGraphite, GraphiteWeb};

use super::scene::{Log, graphite, looks, monitor};

#[tokio::test]
async fn a_value_beyond_its_threshold_is_told_once_and_resolved_with_the_same_key() {
    let (mut log, graphite_server) = (Log::start().await, FakeGraphite::start().await);
    graphite_server.set("stats.signup.failed", &[Some(1.0), Some(2.0), None]);
    let more =
        "severity = \"error\"\nclear = 40\nlabel = \"failed signups\"\nlink = \"https://g.example.com/s\"";
    let kind = graphite(&graphite_server, "stats.signup.failed", "unit = \"per minute\"");
    let bridge = Bridge::start(&log.server.url(), &monitor("signups", more, &kind)).await;
    looks(&graphite_server, 2).await;
    assert_eq!(log.messages().await, []);

    graphite_server.set("stats.signup.failed", &[Some(2.0), Some(61.5), None, None]);
    let told = log.wait_for(1).await.remove(0);
    assert_eq!(told.text.lines().next().unwrap(), "failed signups: 61.5 per minute, above 50");
    assert_eq!(
        (told.tag.as_str(), told.severity, told.status),
        ("monitor.signups", Severity::Error, Some(Status::Failed))
    );
    assert_eq!((told.key.as_deref(), told.fields["value"].as_str()), (Some("monitor/signups"), "61.5"));
    assert_eq!((told.source.as_str(), told.links[0].url.as_str()), ("bridge", "https://g.example.com/s"));

    // Still wrong, and then not wrong but not clear either.
    looks(&graphite_server, 2).await;
    graphite_server.set("stats.signup.failed", &[Some(45.0)]);
    looks(&graphite_server, 2).await;
    graphite_server.set("stats.signup.failed", &[Some(0.0)]);
    let told = log.wait_for(2).await.remove(1);
    assert!(told.text.starts_with("failed signups: 0 per minute, not above 50"), "{}", told.text);
    assert_eq!((told.status, told.key.as_deref()), (Some(Status::Resolved), Some("monitor/signups")));
    assert_eq!(told.severity, Severity::Error, "the rooms that got the failure get its end");

    let metrics = bridge.get("/metrics").await.1;
    for outcome in ["good", "wrong"] {
        let line = format!("hal_bridge_observations_total{{kind=\"graphite\",outcome=\"{outcome}\"}}");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn no_data_and_a_source_without_answers_are_told_apart_from_zero() {
    let (mut log, graphite_server) = (Log::start().await, FakeGraphite::start().await);
    let kind = graphite(&graphite_server, "a.b", "");
    let bridge = Bridge::start(&log.server.url(), &monitor("ab", "misses = 2", &kind)).await;
    let told = log.wait_for(1).await.remove(0);
    assert_eq!((told.text.as_str(), told.status), ("ab: no data", Some(Status::Failed)));
    graphite_server.set("a.b", &[Some(0.0)]);
    let told = log.wait_for(2).await.remove(1);
    assert!(told.text.starts_with("ab: 0, not above 50"), "{}", told.text);
    assert_eq!((told.status, told.key.as_deref()), (Some(Status::Resolved), Some("monitor/ab")));

    let page = "<html><body><h1>Server\nError</h1></body></html>";
    graphite_server.always(Answer::Refuse(tests::Reply::text(500, page)));
    let told = log.wait_for(3).await.remove(2);
    let reason = "127.0.0.1: answered 500 Internal Server Error: Server Error";
    assert_eq!(told.text, format!("monitor ab cannot be observed: {reason}"));
    assert_eq!((told.status, told.key.as_deref()), (Some(Status::Failed), Some("monitor/ab observed")));
    assert_eq!(bridge.get("/readyz").await.0, 200, "a source that fails is not the bridge's health");
    looks(&graphite_server, 3).await;
    graphite_server.always(Answer::Normal);
    let told = log.wait_for(4).await.remove(3);
    assert!(told.text.starts_with("monitor ab is observed again"), "{}", told.text);
    assert_eq!((told.status, told.key.as_deref()), (Some(Status::Resolved), Some("monitor/ab observed")));
}

#[tokio::test]
async fn several_series_have_a_message_each_or_one() {
    let (mut log, graphite_server) = (Log::start().await, FakeGraphite::start().await);
    for (name, value) in [("db.a.lag", 60.0), ("db.b.lag", 70.0), ("db.c.lag", 1.0)] {
        graphite_server.set(name, &[Some(value)]);
    }
    let kind = graphite(&graphite_server, "db.*.lag", "");
    let text = monitor("each", "", &kind) + &monitor("one", "each = false", &kind);
    let _bridge = Bridge::start(&log.server.url(), &text).await;
    let mut told: Vec<(String, String)> =
        log.wait_for(3).await.into_iter().map(|message| (message.key.unwrap(), message.text)).collect();
    told.sort();
    let want = [
        ("monitor/each/db.a.lag", "each db.a.lag: 60, above 50"),
        ("monitor/each/db.b.lag", "each db.b.lag: 70, above 50"),
        ("monitor/one", "one: 2 of 3 series: db.a.lag 60, above 50; db.b.lag 70, above 50"),
    ];
    assert_eq!(told, want.map(|(key, text)| (key.to_owned(), text.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_graphite_is_read() {
    let (mut log, graphite_web) = (Log::start().await, GraphiteWeb::start().await);
    graphite_web.write("db.a.lag", &[(5, 1.0)]);
    graphite_web.write("db.b.lag", &[(5, 1.0), (3, 61.0)]);
    let of = |target: &str| {
        let url = graphite_web.url();
        format!("[monitors.graphite]\nurl = \"{url}\"\ntarget = \"{target}\"\nabove = 50\nwindow = \"2m\"")
    };
    let text = monitor("lag", "", &of("db.*.lag"))
        + &monitor("gone", "misses = 1", &of("no.such"))
        + &monitor("broken", "misses = 1", &of("nosuchfn(a)"));
    let _bridge = Bridge::start(&log.server.url(), &text).await;
    let mut told: Vec<(String, String)> =
        log.wait_for(3).await.into_iter().map(|message| (message.key.unwrap(), message.text)).collect();
    told.sort();
    assert!(
        told[0].1.contains("400 Bad Request: Invalid parameters (Received request for unknown function"),
        "{told:?}"
    );
    assert_eq!(told[1], ("monitor/gone".into(), "gone: no data".into()));
    assert_eq!(told[2], ("monitor/lag/db.b.lag".into(), "lag db.b.lag: 61, above 50".into()));
    graphite_web.write("db.b.lag", &[(0, 2.0)]);
    let told = log.wait_for(4).await.remove(3);
    assert!(told.text.starts_with("lag db.b.lag: 2, not above 50"), "{}", told.text);
    assert_eq!(told.status, Some(Status::Resolved));
}
