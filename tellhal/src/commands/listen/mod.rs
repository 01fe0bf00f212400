//! `tellhal listen PATTERN`: prints messages as they arrive, or runs a command for each.
//! Without --durable or --since it gets the messages that are published while it runs; with them it reads
//! the log through a consumer of its own, and a message whose command fails comes again.

mod consumer;
mod exec;
mod show;

use std::time::Duration;

use futures_util::StreamExt;
use signal_hook::consts::SIGINT;
use tellhal::message::{Received, read};
use tellhal::refusal::Refusal;
use tellhal::subject::Subject;
use tellhal::{Names, Publisher, Timestamp};
use tokio::time::Instant;

use self::consumer::{Consumer, Delivery, Trouble, Wanted};
use super::block_on;
use crate::cli::Listen;
use crate::config::{Flags, Settings, load};
use crate::exit::{Exit, Failure, Outcome, say};

/// The server delivers a message again if it is neither acknowledged nor extended within this time.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// The first and the longest wait until a message whose command failed comes again.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
/// The server removes a consumer without --durable after this long without a request.
const FORGOTTEN: Duration = Duration::from_secs(300);

pub(crate) fn listen(args: &Listen, flags: &Flags) -> Outcome {
    let settings = load(flags);
    if let Some(broken) = settings.broken() {
        return Err(Failure::new(Exit::CONFIG, broken));
    }
    block_on(hear(args, &settings))?
}

async fn hear(args: &Listen, settings: &Settings) -> Outcome {
    // A first connection that fails is reported at once; later ones are retried without end.
    let deadline = Instant::now() + settings.timeout;
    let publisher = Publisher::connect(&settings.nats, "tellhal listen", deadline).await?;
    let mut denials = publisher.denials();
    let listening = async {
        match args.durable.is_some() || args.since.is_some() {
            true => log(args, settings, &publisher).await,
            false => live(args, &publisher).await,
        }
    };
    tokio::select! {
        outcome = listening => outcome,
        denial = denials.recv() => {
            Err(lacking(&denial.unwrap_or_default()))
        }
        () = interrupted() => Ok(Exit::OK),
    }
}

/// Waits for Ctrl-C. Without tokio's signals: every start of tellhal would set those up.
async fn interrupted() {
    let interrupted = std::os::unix::net::UnixStream::pair().and_then(|(ours, theirs)| {
        signal_hook::low_level::pipe::register(SIGINT, theirs)?;
        ours.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(ours)
    });
    match interrupted {
        Ok(interrupted) => drop(interrupted.readable().await),
        // Then Ctrl-C ends tellhal as it ends any process.
        Err(_) => std::future::pending().await,
    }
}

fn lacking(denial: &str) -> Failure {
    let what = "listening needs a listener's credentials; a host's may only publish";
    Failure::new(Exit::NOT_PERMITTED, format!("not permitted: {denial}; {what}"))
}

/// Handles messages that are published from now on.
async fn live(args: &Listen, publisher: &Publisher) -> Outcome {
    let client = publisher.client();
    let failed = |error: String| Failure::new(Exit::TEMPORARY, format!("cannot listen: {error}"));
    let subject = filter(publisher.names(), args);
    let mut messages = client.subscribe(subject).await.map_err(|error| failed(error.to_string()))?;
    while let Some(message) = messages.next().await {
        let Some(received) =
            understand(publisher.names(), &message.subject, &message.payload, 0, Timestamp::now())
        else {
            continue;
        };
        if let Err(why) = handle(args, &received).await {
            say(format!("{}: {why}; it is not run again without --durable", received.message.tag));
        }
    }
    Err(failed("the connection was closed".into()))
}

/// Handles messages of the log, from where this listener stopped.
async fn log(args: &Listen, settings: &Settings, publisher: &Publisher) -> Outcome {
    let names = publisher.names();
    let stream = names.ops_stream();
    let failed = |trouble: Trouble| match trouble {
        Trouble::NoStream => {
            Failure::from(Refusal::NoStream { subject: names.all_ops(), stream: stream.clone() })
        }
        Trouble::Gone => Failure::new(Exit::TEMPORARY, format!("the consumer on {stream} is gone")),
        Trouble::Other(why) if why.contains("no responders") => {
            Failure::from(Refusal::NoStream { subject: names.all_ops(), stream: stream.clone() })
        }
        Trouble::Other(why) => {
            let what = format!("cannot read {stream}: {why}; listening needs a listener's credentials");
            Failure::new(Exit::TEMPORARY, what)
        }
    };
    let wanted = wanted(args, settings, names);
    // One at a time: a message that waits here while a command runs would exceed its acknowledgement time.
    let made = Consumer::make(publisher.client(), &stream, &wanted, settings.timeout).await;
    let mut consumer = made.map_err(failed)?.map_err(|filter| {
        let name = &wanted.name;
        Failure::usage(format!("durable {name} listens to {filter}; another pattern needs another name"))
    })?;
    loop {
        let delivery = consumer.next().await.map_err(failed)?;
        one(args, names, &delivery).await;
    }
}

fn wanted(args: &Listen, settings: &Settings, names: &Names) -> Wanted {
    let user = settings.nats.user.clone().or_else(super::user).unwrap_or_default();
    let user = tellhal::tag::legal_token(&user);
    // A listener's credentials allow only consumers with its user's name.
    let passing = uuid::Uuid::now_v7().simple().to_string();
    let ago = |since| std::time::SystemTime::now().checked_sub(since).map(Timestamp::from);
    Wanted {
        name: format!("listen-{user}-{}", args.durable.as_deref().unwrap_or(&passing)),
        durable: args.durable.is_some(),
        filter: filter(names, args),
        since: args.since.map(|since| ago(since).unwrap_or_default()),
        ack_wait: ACK_WAIT,
        forgotten: args.durable.is_none().then_some(FORGOTTEN),
    }
}

/// Handles one message of the log and acknowledges it, or asks for it again.
async fn one(args: &Listen, names: &Names, delivery: &Delivery) {
    let message = &delivery.message;
    let Some(received) =
        understand(names, &message.subject, &message.payload, delivery.sequence, delivery.at)
    else {
        let _ = delivery.done().await;
        return;
    };
    let handling = handle(args, &received);
    let mut handling = std::pin::pin!(handling);
    let result = loop {
        match tokio::time::timeout(ACK_WAIT / 3, &mut handling).await {
            Ok(result) => break result,
            Err(_) => {
                let _ = delivery.in_progress().await;
            }
        }
    };
    let answered = match result {
        Ok(()) => delivery.done().await,
        Err(why) => {
            let times = u32::try_from(delivery.tries.saturating_sub(1)).unwrap_or(10).min(10);
            let wait = (RETRY.0 * 2_u32.pow(times)).min(RETRY.1);
            let wait_shown = humantime::format_duration(wait);
            say(format!("{}: {why}; it comes again in {wait_shown}", received.message.tag));
            delivery.again_in(wait).await
        }
    };
    if let Err(error) = answered {
        say(format!("{}: cannot acknowledge: {error}", received.message.tag));
    }
}

async fn handle(args: &Listen, received: &Received) -> Result<(), String> {
    match &args.exec {
        Some(command) => exec::run(command, &received.message).await,
        None => {
            show::print(received, args.json);
            Ok(())
        }
    }
}

fn filter(names: &Names, args: &Listen) -> String {
    format!("{}.ops.*.{}", names.prefix(), args.pattern)
}

fn understand(
    names: &Names,
    subject: &str,
    payload: &[u8],
    sequence: u64,
    at: Timestamp,
) -> Option<Received> {
    match names.parse(subject)? {
        Subject::Ops { source, tag } => Some(read(source, tag, payload, sequence, at)),
        Subject::Ctl(_) => None,
    }
}
