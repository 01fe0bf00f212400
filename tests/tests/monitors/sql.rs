//! Numbers of a real PostgreSQL.

use tellhal::Message;
use tellhal::message::Status;
use tests::Bridge;
use tests::postgres::Postgres;

use super::scene::{Log, monitor};

const PASSWORD: &str = "m0nitor-s3cret";

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_a_database_is_read_in_a_session_that_cannot_write() {
    let (mut log, postgres) = tokio::join!(Log::start(), Postgres::start());
    postgres
        .run(&format!(
            "CREATE ROLE monitor LOGIN PASSWORD '{PASSWORD}'; CREATE TABLE jobs (state text); CREATE SEQUENCE made; \
             GRANT ALL ON jobs, made TO monitor"
        ))
        .await;
    let of = |password: &str, query: &str| {
        let url = postgres.url("monitor", password);
        format!("[monitors.sql]\nurl = \"{url}\"\nquery = \"{query}\"\nabove = 0")
    };
    let ours = |name: &str, query: &str| monitor(name, "misses = 1", &of(PASSWORD, query));
    let text = ours("jobs", "SELECT count(*) FROM jobs WHERE state = 'failed';")
        + &ours("empty", "SELECT 1 WHERE false")
        + &ours("null", "SELECT null::int")
        + &ours("sum", "SELECT 2.5::numeric, 'more' -- a remark")
        + &ours("writes", "SELECT nextval('made')")
        + &ours("deletes", "DELETE FROM jobs RETURNING 1")
        + &ours("rows", "SELECT generate_series(1, 1000000000)")
        + &ours("text", "SELECT 'many'")
        + &ours("slow", "SELECT 1 FROM pg_sleep(60)")
        + &monitor("stranger", "misses = 1", &of("wr0ng-s3cret", "SELECT 1"));
    let bridge = Bridge::start(&log.server.url(), &text).await;
    let mut told = log.wait_for(9).await;
    told.sort_by_key(|message| message.key.clone());
    let first = |message: &Message| message.text.lines().next().unwrap().to_owned();
    let unseen = |name: &str, why: &str| format!("monitor {name} cannot be observed: {why}");
    let want = [
        unseen("deletes", "the server says: syntax error at or near \"FROM\""),
        "empty: no data".into(),
        "null: no data".into(),
        unseen("rows", "the query gives more than one row"),
        unseen("slow", "the server says: canceling statement due to statement timeout"),
        unseen("stranger", "the server says: password authentication failed for user \"monitor\""),
        "sum: 2.5, above 0".into(),
        unseen("text", "the server says: invalid input syntax for type double precision: \"many\""),
        unseen("writes", "the server says: cannot execute nextval() in a read-only transaction"),
    ];
    assert_eq!(told.iter().map(first).collect::<Vec<_>>(), want);
    postgres.run("INSERT INTO jobs VALUES ('failed'), ('done')").await;
    assert_eq!(first(&log.wait_for(10).await[9]), "jobs: 1, above 0");
    postgres.run("DELETE FROM jobs").await;
    let told = log.wait_for(11).await.remove(10);
    assert_eq!((told.status, first(&told).as_str()), (Some(Status::Resolved), "jobs: 0, not above 0"));
    for secret in [PASSWORD, "wr0ng-s3cret"] {
        assert!(!bridge.log().contains(secret), "{}", bridge.log());
    }
}
