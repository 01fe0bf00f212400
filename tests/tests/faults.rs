//! A short fault run with few processes; `tests/faults` is the long one.

use std::time::Duration;

use tests::faults::{Kind, Options, run};

#[tokio::test(flavor = "multi_thread")]
async fn no_promise_is_broken_by_some_seconds_of_faults() {
    let seed = std::env::var("FAULTS_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("FAULTS_SEED={seed}");
    // A purge of the log takes messages away that nobody can be blamed for.
    let without = vec![Kind::LogPurged, Kind::LogDeleted];
    let time = Duration::from_secs(20);
    let options = Options { time, seed, servers: 1, relays: 2, producers: 2, without, logs: None };
    let verdict = run(&options).await;
    println!("{verdict}");
    assert!(verdict.kept() > 0 && verdict.holds(), "seed {seed}\n{verdict}");
}
