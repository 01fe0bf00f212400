//! The picture of a graph in the message of a change to wrong, and its absence.

use tellhal::Message;
use tellhal::message::Status;
use tests::graphite::png;
use tests::{Answer, Bridge, FakeGraphite};

use super::scene::{Log, graphite, monitor};

const MISSING: &str = "the picture of the graph stuck is missing: ";

/// A graph that the fake draws.
fn graph(name: &str, server: &FakeGraphite) -> String {
    format!("[graphs.{name}]\nurl = \"http://{}\"\ntargets = [{{ target = \"a.b\" }}]\n", server.addr())
}

#[tokio::test]
async fn a_change_to_wrong_has_the_picture_of_that_time() {
    let (mut log, server) = (Log::start().await, FakeGraphite::start().await);
    server.set("a.b", &[Some(60.0)]);
    let text = format!("page_url = \"https://hal.example.com\"\n{}", graph("load", &server))
        + &monitor("ab", "graph = \"load\"", &graphite(&server, "a.b", ""));
    let _bridge = Bridge::start(&log.server.url(), &text).await;
    let told = log.wait_for(1).await.remove(0);
    assert_eq!(told.text, "ab: 60, above 50");
    let file = &told.files[0];
    assert_eq!((file.name.as_str(), file.picture), ("load.png", true));
    assert_eq!(file.object, format!("answer-{}-0", told.id));
    assert_eq!(log.server.file(&file.object).await, png(800, 400));
    assert_eq!(told.links[0].url, format!("https://hal.example.com/api/files/{}", file.object));

    server.set("a.b", &[Some(1.0)]);
    let told = log.wait_for(2).await.remove(1);
    assert_eq!((told.status, &told.files[..]), (Some(Status::Resolved), &[][..]));
}

#[tokio::test]
async fn a_picture_that_does_not_come_keeps_no_message() {
    let (mut log, server, stuck) =
        (Log::start().await, FakeGraphite::start().await, FakeGraphite::start().await);
    server.set("a.b", &[Some(60.0)]);
    stuck.always(Answer::Never);
    let text = graph("stuck", &stuck) + &monitor("ab", "graph = \"stuck\"", &graphite(&server, "a.b", ""));
    let _bridge = Bridge::start(&log.server.url(), &text).await;
    let lines = |told: &Message| -> Vec<String> { told.text.lines().map(str::to_owned).collect() };
    let told = log.wait_for(1).await.remove(0);
    let late = format!("{MISSING}it did not come within 5s");
    assert_eq!(lines(&told), ["ab: 60, above 50".to_owned(), late]);
    assert!(told.files.is_empty() && told.links.is_empty(), "{told:?}");

    stuck.always(Answer::status(404));
    server.set("a.b", &[Some(1.0)]);
    log.wait_for(2).await;
    server.set("a.b", &[Some(70.0)]);
    let told = log.wait_for(3).await.remove(2);
    let refused = format!("{MISSING}stuck: 127.0.0.1: answered 404 Not Found");
    assert!(lines(&told).pop().unwrap().starts_with(&refused), "{told:?}");
}
