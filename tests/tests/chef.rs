//! The Chef cookbook in `deploy/chef`, as far as plain Ruby can run it: its handler of Chef runs, with recorded runs of Chef 17
//! and 18, and the configurations that it renders. Chef itself is not here.

use std::path::Path;
use std::process::Command;

use tests::{NatsOptions, NatsServer, find};

/// A test in the cookbook's `spec`, with Debian's minitest.
async fn ruby(test: &str, env: &[(&str, &Path)], url: &str) {
    let spec = find::repository().join("deploy/chef/spec");
    let mut command = Command::new(find::theirs("ruby"));
    command.arg("-I").arg(spec.join("handler/stub")).arg(spec.join(test));
    command.envs(env.iter().copied()).env("TELLHAL_URL", url);
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("ruby");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains(" 0 skips"), "nothing is left out: {printed}");
}

#[tokio::test]
async fn the_handler_tells_how_runs_end() {
    // The test sends as a host and reads as an operator at one address.
    let server = NatsServer::with(NatsOptions { open: true, ..NatsOptions::default() }).await;
    let config = async_nats::jetstream::stream::Config {
        name: "HAL_OPS".into(),
        subjects: vec!["hal.ops.>".into()],
        ..Default::default()
    };
    server.jetstream().await.create_stream(config).await.expect("a stream");
    ruby("handler/handler_test.rb", &[("TELLHAL", &find::ours("tellhal"))], &server.url()).await;
}

#[tokio::test]
async fn what_the_cookbook_renders_is_what_our_programs_read() {
    let (tellhal, relay, bridge) = (find::ours("tellhal"), find::ours("hal-relay"), find::ours("hal-bridge"));
    let programs: [(&str, &Path); 3] =
        [("TELLHAL", &tellhal), ("HAL_RELAY", &relay), ("HAL_BRIDGE", &bridge)];
    ruby("toml_test.rb", &programs, "").await;
}
