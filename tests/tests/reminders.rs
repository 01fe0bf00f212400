//! Reminders end to end, said in a room of a real IRC server by whichever bridge speaks there.

#![expect(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use tests::wait::SOON;
use tests::{Bridge, IrcClient, NatsServer, Ngircd, ask, wait_until};

fn config(irc: &Ngircd) -> String {
    format!(
        "zone = \"Europe/Berlin\"\n\
         [chat.main.irc]\nserver = \"{}\"\ntls = false\nnick = \"hal\"\nchannels = [\"#ops\"]\n\
         [[people]]\nname = \"ann\"\nroles = [\"operator\"]\npage = \"ann\"\n\
         [[people]]\nname = \"bob\"\nroles = [\"operator\"]\npage = \"bob\"\n\
         [[commands]]\nname = \"remind\"\nallow = [\"operator\"]\nrooms = [\"page/private\", \"main/#ops\"]\n\
         [[commands]]\nname = \"*\"\nallow = [\"operator\"]\n",
        irc.addr()
    )
}

/// The id in `…; forget ID drops it`.
fn id(answer: &str) -> String {
    answer.split("forget ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_reminder_outlives_the_bridge_that_was_asked() {
    let (nats, irc) = (NatsServer::start().await, Ngircd::start().await);
    nats.create_log().await;
    let mut first = Bridge::start(&nats.url(), &config(&irc)).await;
    let ann = IrcClient::join(irc.addr(), "ann", "#ops").await;
    let second = Bridge::start(&nats.url(), &config(&irc)).await;
    let (kept, failed) = ask(&nats, "ann", "remind main/#ops in 3s to look at the backup").await;
    assert!(!failed && kept.contains(" CE"), "{kept}");
    first.process().kill();
    ann.hears("reminder of ann: look at the backup").await;
    let is_said = async || ask(&nats, "ann", "reminders").await.0 == "you have asked for no reminder";
    wait_until("it is over", SOON, is_said).await;
    assert_eq!(ann.texts().iter().filter(|text| text.contains("reminder of ann")).count(), 1);
    drop(second);
}

#[tokio::test]
async fn reminders_are_listed_and_forgotten_by_those_who_asked() {
    let (nats, irc) = (NatsServer::start().await, Ngircd::start().await);
    nats.create_log().await;
    let _bridge = Bridge::start(&nats.url(), &config(&irc)).await;
    let kept = ask(&nats, "ann", "remind main/#ops every mon-fri 10:30 to text scrum").await.0;
    let id = id(&kept);
    let listed = ask(&nats, "ann", "reminders").await.0;
    assert!(listed.contains("every mon-fri 10:30  main/#ops  text scrum"), "{listed}");
    assert!(ask(&nats, "bob", "reminders").await.0.contains("no reminder"));
    assert!(ask(&nats, "bob", &format!("forget {id}")).await.1);
    assert_eq!(ask(&nats, "ann", &format!("forget {id}")).await, (format!("{id} is forgotten"), false));

    for (line, why) in [
        ("remind me in 2h to look", "the page cannot be reminded"),
        ("remind main/#secret in 2h to look", "you may not give remind in main/#secret"),
        ("remind other/#ops in 2h to look", "you may not give remind in other/#ops"),
        ("remind main/#ops in 2h", "it is remind me|ROOM"),
    ] {
        let (answer, failed) = ask(&nats, "ann", line).await;
        assert!(failed && answer.contains(why), "{line}: {answer}");
    }
}
