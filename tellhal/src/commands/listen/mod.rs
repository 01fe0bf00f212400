//! `tellhal listen PATTERN`: prints messages as they arrive, or runs a command for each.
//! Without --durable or --since it gets the messages that are published while it runs; with them it reads
//! the log through a consumer of its own, and a message whose command fails comes again.

mod api;
mod connection;
mod consumer;
mod delivery;
mod durables;
mod exec;
mod show;
mod unreadable;

use std::time::Duration;

use futures_util::StreamExt;
use tellhal::message::{Received, read};
use tellhal::subject::Subject;
use tellhal::{Names, Pattern, Publisher, Timestamp};
use tokio::sync::broadcast;
use tokio::time::Instant;

use self::api::{Api, Trouble, lacking};
use self::consumer::{Consumer, Wanted};
use self::delivery::Delivery;
use super::block_on;
use super::stop::{self, Stop};
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
    let (signals, mut stop) = Stop::new();
    let is_log = args.durable.is_some() || args.since.is_some();
    let work = async {
        match &args.pattern {
            _ if args.list => durables::list(args.json, settings, &publisher).await,
            None => durables::remove(args.remove.as_deref().unwrap_or_default(), settings, &publisher).await,
            Some(pattern) if is_log => log(args, pattern, settings, &publisher, &mut stop).await,
            Some(pattern) => live(args, pattern, &publisher, &mut stop).await,
        }
    };
    tokio::select! {
        outcome = work => outcome,
        denial = lacks(&publisher, &mut denials) => Err(lacking(&denial)),
        never = connection::report(&publisher, !is_log) => match never {},
        never = stop::watch(&signals) => match never {},
    }
}

/// Waits for the server's error about a permission without which there is no listening.
async fn lacks(publisher: &Publisher, denials: &mut broadcast::Receiver<String>) -> String {
    let question = unreadable::question(&publisher.names().ops_stream());
    let optional = format!("{}.{question}", publisher.api());
    loop {
        match denials.recv().await {
            Ok(denial) if api::concerns(&denial, &optional) => {}
            denial => return denial.unwrap_or_default(),
        }
    }
}

/// Handles messages that are published from now on.
async fn live(args: &Listen, pattern: &Pattern, publisher: &Publisher, stop: &mut Stop) -> Outcome {
    let names = publisher.names();
    let failed = |error: String| Failure::new(Exit::TEMPORARY, format!("cannot listen: {error}"));
    let subscribed = publisher.client().subscribe(filter(names, pattern)).await;
    let mut messages = subscribed.map_err(|error| failed(error.to_string()))?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let message = tokio::select! {
            biased;
            () = stop.requested() => break,
            message = messages.next() => message.ok_or_else(|| failed("the connection was closed".into()))?,
        };
        let Some(received) = understand(names, &message.subject, &message.payload, 0, Timestamp::now())
        else {
            continue;
        };
        left -= 1;
        if let Err(why) = handle(args, &received, stop).await {
            say(format!("{}: {why}; it is not run again without --durable", received.message.tag));
        }
    }
    Ok(Exit::OK)
}

/// Handles messages of the log, from where this listener stopped.
async fn log(
    args: &Listen,
    pattern: &Pattern,
    settings: &Settings,
    publisher: &Publisher,
    stop: &mut Stop,
) -> Outcome {
    let names = publisher.names();
    let wanted = wanted(args, pattern, settings, names);
    let failed = |trouble| match trouble {
        Trouble::Reads(filter) => taken(args.durable.as_deref().unwrap_or_default(), &filter, names),
        trouble => trouble.into_failure(publisher),
    };
    // One at a time: a message that waits here while a command runs would exceed its acknowledgement time.
    let api = Api::new(publisher, settings.timeout);
    let mut consumer = Consumer::make(api, &names.ops_stream(), &wanted).await.map_err(failed)?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let delivery = tokio::select! {
            biased;
            () = stop.requested() => break,
            delivery = consumer.next() => delivery.map_err(failed)?,
        };
        if one(args, names, &delivery, stop).await {
            consumer.handled(delivery.sequence);
            left -= 1;
        }
    }
    // The last acknowledgement is on its way when tellhal ends.
    let _ = publisher.client().flush().await;
    Ok(Exit::OK)
}

/// The refusal to let a durable listener read something else: one that runs would no longer get its messages.
fn taken(name: &str, filter: &str, names: &Names) -> Failure {
    let every = format!("{}.ops.*.", names.prefix());
    let pattern = filter.strip_prefix(&every).unwrap_or(filter);
    let change =
        format!("to change it, end its listeners and forget its position: tellhal listen --remove {name}");
    Failure::usage(format!("durable {name} listens to '{pattern}'; use another name, or {change}"))
}

fn wanted(args: &Listen, pattern: &Pattern, settings: &Settings, names: &Names) -> Wanted {
    let passing = uuid::Uuid::now_v7().simple().to_string();
    let ago = |since| std::time::SystemTime::now().checked_sub(since).map(Timestamp::from);
    Wanted {
        name: format!("{}{}", durables::prefix(settings), args.durable.as_deref().unwrap_or(&passing)),
        durable: args.durable.is_some(),
        filter: filter(names, pattern),
        since: args.since.map(|since| ago(since).unwrap_or_default()),
        ack_wait: ACK_WAIT,
        forgotten: args.durable.is_none().then_some(FORGOTTEN),
    }
}

/// Handles one message of the log and acknowledges it, or asks for it again. True if it was handled.
async fn one(args: &Listen, names: &Names, delivery: &Delivery, stop: &mut Stop) -> bool {
    let message = &delivery.message;
    let Some(received) =
        understand(names, &message.subject, &message.payload, delivery.sequence, delivery.at)
    else {
        let _ = delivery.done().await;
        return false;
    };
    let result = {
        let mut handling = std::pin::pin!(handle(args, &received, stop));
        loop {
            match tokio::time::timeout(ACK_WAIT / 3, &mut handling).await {
                Ok(result) => break result,
                Err(_) => {
                    let _ = delivery.in_progress().await;
                }
            }
        }
    };
    let handled = result.is_ok();
    let answered = match result {
        Ok(()) => delivery.done().await,
        Err(why) if stop.is_requested() => {
            say(format!("{}: {why}; it comes again to the next listener", received.message.tag));
            delivery.again_in(Duration::ZERO).await
        }
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
    handled
}

async fn handle(args: &Listen, received: &Received, stop: &mut Stop) -> Result<(), String> {
    match &args.exec {
        Some(command) => exec::run(command, &received.message, args.exec_timeout, stop).await,
        None => {
            show::print(received, args.json);
            Ok(())
        }
    }
}

fn filter(names: &Names, pattern: &Pattern) -> String {
    format!("{}.ops.*.{pattern}", names.prefix())
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
