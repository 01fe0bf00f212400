//! `tellhal status`: the configuration in force, the state of server and log, and the contents of the spool.
//! Read only: it neither changes nor sends anything.

use std::io::Write;
use std::path::Path;

use async_nats::client::RequestErrorKind;
use serde::Serialize;
use tellhal::refusal::redact;
use tellhal::spool::Usage;
use tellhal::{Publisher, Refusal, Spool};
use tokio::time::Instant;

use super::{block_on, no_jetstream};
use crate::cli::Json;
use crate::config::{Flags, Settings, load};
use crate::exit::{Exit, Failure, Outcome};

#[derive(Serialize)]
struct Status {
    source: String,
    host: String,
    configuration: Vec<String>,
    problems: Vec<String>,
    servers: Vec<String>,
    server: Server,
    spool: Kept,
    /// The user's own folder, if messages that the spool could not take were ever kept there.
    #[serde(skip_serializing_if = "Option::is_none")]
    second_spool: Option<Kept>,
}

#[derive(Default, Serialize)]
struct Server {
    reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// `there`, `missing`, or `unknown` when the credentials do not allow a look, as a host's do not.
    stream: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    exit: Option<Exit>,
}

#[derive(Default, Serialize)]
struct Kept {
    path: String,
    #[serde(flatten)]
    usage: Usage,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) fn status(args: &Json, flags: &Flags) -> Outcome {
    let settings = load(flags);
    let server = match settings.broken() {
        Some(_) => Server { stream: "unknown", exit: Some(Exit::CONFIG), ..Server::default() },
        None => block_on(look(&settings))?,
    };
    let status = Status {
        spool: spool(settings.spool.as_deref().map_err(Clone::clone)),
        second_spool: settings
            .second_spool
            .as_deref()
            .filter(|path| path.exists())
            .map(|path| spool(Ok(path))),
        source: settings.source,
        host: settings.host,
        configuration: settings.read,
        problems: settings.problems.iter().map(ToString::to_string).collect(),
        servers: settings.nats.servers().iter().map(|url| redact(url)).collect(),
        server,
    };
    let text = if args.json {
        serde_json::to_string_pretty(&status).map_err(|error| Failure::new(Exit::TEMPORARY, error))?
    } else {
        shown(&status)
    };
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(status.server.exit.unwrap_or(Exit::OK))
}

async fn look(settings: &Settings) -> Server {
    let deadline = Instant::now() + settings.timeout;
    let publisher = match Publisher::connect(&settings.nats, "tellhal status", deadline).await {
        Ok(publisher) => publisher,
        Err(refusal) => return unreachable(&refusal),
    };
    let mut server = Server {
        reachable: true,
        version: Some(publisher.client().server_info().version),
        stream: "unknown",
        ..Server::default()
    };
    let name = publisher.names().ops_stream();
    let mut denials = publisher.denials();
    let subject = format!("{}.STREAM.INFO.{name}", publisher.api());
    let question = publisher.client().request(subject, "".into());
    tokio::select! {
        answer = question => match answer {
            Ok(answer) => {
                let there = serde_json::from_slice::<serde_json::Value>(&answer.payload);
                let there = there.is_ok_and(|info| info.get("config").is_some());
                server.stream = if there { "there" } else { "missing" };
            }
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                server.stream = "missing";
                server.error = Some(no_jetstream(&publisher));
            }
            Err(_) => {}
        },
        _ = denials.recv() => {}
        () = tokio::time::sleep_until(deadline) => {}
    }
    if server.stream == "missing" {
        let created = || format!("there is no stream {name}; hal-relay creates it when it starts");
        server.error.get_or_insert_with(created);
        server.exit = Some(Exit::CONFIG);
    }
    server
}

fn unreachable(refusal: &Refusal) -> Server {
    Server {
        stream: "unknown",
        error: Some(refusal.to_string()),
        exit: Some(Exit::of(refusal)),
        ..Server::default()
    }
}

fn spool(path: Result<&Path, String>) -> Kept {
    let path = match path {
        Ok(path) => path,
        Err(error) => return Kept { error: Some(error), ..Kept::default() },
    };
    let shown = path.display().to_string();
    match Spool::existing(path).and_then(|spool| spool.as_ref().map(Spool::usage).transpose()) {
        Ok(usage) => Kept { path: shown, usage: usage.unwrap_or_default(), error: None },
        Err(error) => Kept { path: shown, error: Some(error.to_string()), ..Kept::default() },
    }
}

fn shown(status: &Status) -> String {
    let mut lines = Vec::new();
    let read = match status.configuration.as_slice() {
        [] => "no file, so the defaults".to_owned(),
        files => files.join(", "),
    };
    lines.push(format!("configuration  {read}"));
    lines.extend(status.problems.iter().map(|problem| format!("  problem      {problem}")));
    lines.push(format!("source         {}", status.source));
    let server = &status.server;
    let answer = match (&server.version, &server.error) {
        (Some(version), _) => format!("answers (nats-server {version})"),
        (None, Some(error)) => error.clone(),
        (None, None) => "not asked".into(),
    };
    lines.push(format!("server         {}: {answer}", status.servers.join(", ")));
    lines.push(match server.stream {
        "unknown" => {
            "stream         unknown: the credentials do not allow a look, or the server did not answer".into()
        }
        stream => format!("stream         {stream}"),
    });
    if let (true, Some(error)) = (server.reachable, &server.error) {
        lines.push(format!("  problem      {error}"));
    }
    for spool in std::iter::once(&status.spool).chain(&status.second_spool) {
        let Usage { waiting, bad, bytes, .. } = spool.usage;
        lines.push(format!("spool          {}: {waiting} waiting, {bad} in bad/, {bytes} bytes", spool.path));
        lines.extend(spool.error.iter().map(|error| format!("  problem      {error}")));
    }
    lines.join("\n")
}
