//! All end-to-end tests, as one program: each further one would be linked with the whole of the clients again, which took a third of
//! the build. A file is one subject.

/// A file that is not a module here is compiled by nobody, and its tests never run.
#[test]
fn each_file_of_tests_is_a_part_of_the_program() {
    let here = include_str!("main.rs");
    let files = std::fs::read_dir(tests::find::repository().join("tests/tests")).expect("the tests' folder");
    for file in files {
        let path = file.expect("a file").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        let is_test = path.extension().is_some_and(|extension| extension == "rs") && name != "main";
        assert!(!is_test || here.contains(&format!("\nmod {name};\n")), "{name} has no line in main.rs");
    }
}

mod accounts;
mod backup;
mod bots;
mod bridge;
mod calendar;
mod certificates;
mod chats;
mod chef;
mod commands;
mod containers;
mod delivery;
mod devices;
mod examples;
mod explain;
mod fakes;
mod faults;
mod fleet;
mod fuzz;
mod gone;
mod graphs;
mod greedy;
mod guides;
mod harness;
mod killed;
mod matrix;
mod monitoring;
mod monitors;
mod mqtt;
mod nats_users;
mod neighbours;
mod operator;
mod oracle;
mod page;
mod permissions;
mod refusals;
mod release;
mod reminders;
mod schedules;
mod secrets;
mod shutdown;
mod slack;
mod slack_chat;
mod snippets;
mod storage;
mod structure;
mod systemd;
mod takeover;
mod up;
mod webhooks;
mod webhooks_alertmanager;
mod webhooks_apprise;
mod webhooks_gallery;
mod webhooks_killed;
mod webhooks_memory;
mod xmpp;
