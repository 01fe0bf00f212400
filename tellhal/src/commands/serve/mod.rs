//! `tellhal serve`: this machine answers chat commands, each by a program.
//!
//! The bridge decides who may ask; here it is only checked that the bridge has asked. Each request runs at most once.

mod argv;
mod describe;
mod folder;
mod job;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tellhal::Publisher;
use tellhal::command::{Answer, Gate, Metadata, Request};
use tellhal::handler::{Asked, Handler};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::block_on;
use super::stop::{self, Stop};
use crate::cli::Serve as Args;
use crate::config::{Flags, Serve, Settings, load};
use crate::exit::{Exit, Failure, Outcome, say};

/// The name of the NATS service.
const SERVICE: &str = "tellhal-serve";

pub(crate) fn serve(args: &Args, flags: &Flags) -> Outcome {
    let mut settings = load(flags);
    if let Some(broken) = settings.broken() {
        return Err(Failure::new(Exit::CONFIG, broken));
    }
    let mut commands = commands(args, &mut settings)?;
    for serve in &mut commands {
        let described = describe::describe(serve);
        described
            .map_err(|what| Failure::new(Exit::CONFIG, format!("{}: --hal-describe: {what}", serve.name)))?;
    }
    if !args.bridge_keys.is_empty() {
        settings.bridge_keys.clone_from(&args.bridge_keys);
    }
    if settings.bridge_keys.is_empty() && !settings.nats.is_local() {
        let what = "without the bridge's key, everybody on the server could run these commands";
        let hint = "name it with --bridge-key, or bridge_keys in the configuration; hal-bridge key prints it";
        return Err(Failure::new(Exit::CONFIG, format!("{what}: {hint}")));
    }
    block_on(answer(commands, args.parallel, &settings))?
}

/// The commands of the command line, or of the configuration.
fn commands(args: &Args, settings: &mut Settings) -> Result<Vec<Serve>, Failure> {
    let Some(name) = &args.name else {
        let none =
            "there is nothing to serve: tellhal serve NAME --exec COMMAND, or [[serve]] in the configuration";
        let commands = std::mem::take(&mut settings.serve);
        return if commands.is_empty() { Err(Failure::usage(none)) } else { Ok(commands) };
    };
    let exec = args.exec.as_deref().unwrap_or_default();
    let exec = split(exec).map_err(|what| Failure::usage(format!("--exec: {what}")))?;
    let declared = (!args.args.is_empty()).then(|| args.args.clone());
    let help = args.about.clone().unwrap_or_default();
    let serve = Serve { name: name.clone(), exec, help, describe: args.describe, args: declared };
    match serve.problems().into_iter().next() {
        Some((key, what)) => Err(Failure::usage(format!("{key}: {what}"))),
        None => Ok(vec![serve]),
    }
}

/// The words of a command line; quotes hold words together. Nothing else is special, since there is no shell.
fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match quote {
        Some(quote) => Err(format!("the quote {quote} is not closed")),
        None => Ok(words),
    }
}

async fn answer(commands: Vec<Serve>, parallel: usize, settings: &Settings) -> Outcome {
    let deadline = Instant::now() + settings.timeout;
    let publisher = Publisher::connect(&settings.nats, "tellhal serve", deadline).await?;
    let mut denials = publisher.denials();
    let (signals, mut stop) = Stop::new();
    let served: Vec<(String, Metadata)> =
        commands.iter().map(|serve| (serve.name.clone(), about(serve))).collect();
    let gate = Gate::new(settings.bridge_keys.clone());
    let handler =
        Handler::start(publisher.client(), publisher.names(), (SERVICE, &settings.source), &served, gate);
    let handler = handler.await.map_err(|what| Failure::new(Exit::TEMPORARY, what))?;
    say(format!(
        "serves {} on {}",
        served.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
        publisher.server()
    ));
    if settings.bridge_keys.is_empty() {
        say(
            "takes requests of everybody who reaches this machine's server: --bridge-key would take only the bridge's",
        );
    }
    let jobs = Jobs { commands, parallel: Arc::new(Semaphore::new(parallel)), running: Arc::default() };
    tokio::select! {
        () = jobs.run(handler, &mut stop) => Ok(Exit::OK),
        denial = denials.recv() => Err(lacking(&denial.unwrap_or_default())),
        never = report(&publisher) => match never {},
        never = stop::watch(&signals) => match never {},
    }
}

fn about(serve: &Serve) -> Metadata {
    Metadata { usage: argv::usage(serve), help: serve.help.clone() }
}

fn lacking(denial: &str) -> Failure {
    let needs = "serving needs a handler's credentials: subscribe to its commands and to $SRV, and answer";
    Failure::new(Exit::NOT_PERMITTED, format!("the server says {denial}; {needs}"))
}

/// Says when the connection is lost and when it is back.
async fn report(publisher: &Publisher) -> std::convert::Infallible {
    let (mut link, server) = (publisher.link(), publisher.server());
    loop {
        if link.wait_for(|link| !link.up).await.is_err() {
            return std::future::pending().await;
        }
        say(format!("the connection to {server} is lost; trying to connect again"));
        let _ = link.wait_for(|link| link.up).await;
        say("connected again");
    }
}

/// The programs that run.
#[derive(Clone)]
struct Jobs {
    commands: Vec<Serve>,
    parallel: Arc<Semaphore>,
    /// The requests that run, each with the way to cancel it.
    running: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
}

impl Jobs {
    /// Handles requests until tellhal is to end, and waits for the programs, which end too.
    async fn run(&self, mut handler: Handler, stop: &mut Stop) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                next = handler.next() => match next {
                    Some(Ok(asked)) => {
                        let (jobs, stop) = (self.clone(), stop.clone());
                        tasks.spawn(async move { jobs.handle(asked, stop).await });
                    }
                    Some(Err(refused)) => say(refused),
                    None => break,
                },
                () = stop.requested() => break,
                Some(_) = tasks.join_next() => {}
            }
        }
        handler.stop().await;
        while tasks.join_next().await.is_some() {}
    }

    async fn handle(&self, asked: Asked, mut stop: Stop) {
        let request = &asked.request;
        if let Some(id) = &request.cancel {
            // Another instance may have it, so only the one that has it answers.
            if let Some(cancel) = self.running().get(id) {
                cancel.notify_one();
            }
            return;
        }
        let Some(serve) = self.commands.iter().find(|serve| serve.name == request.command) else { return };
        let answer = match (argv::argv(serve, &request.args), self.parallel.try_acquire()) {
            (Err(what), _) => Answer::failed(what),
            (_, Err(_)) => Answer::failed("this machine runs as many commands as it may; try again later"),
            (Ok(argv), Ok(_permit)) => {
                say(begun(request));
                let cancel = Arc::new(Notify::new());
                self.running().insert(request.id.clone(), cancel.clone());
                let answer = job::run(&argv, &asked, &cancel, &mut stop).await;
                self.running().remove(&request.id);
                answer
            }
        };
        asked.answer(answer).await;
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Notify>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line for the log. Arguments are left out: some may be secret.
fn begun(request: &Request) -> String {
    let person = request.person.as_deref().unwrap_or("somebody unknown");
    format!("runs {} for {person} in {} ({})", request.command, request.room, request.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_without_a_shell() {
        let words = |text: &str| split(text).map(|words| words.join("|"));
        assert_eq!(words("uptime").unwrap(), "uptime");
        assert_eq!(words("sh -c 'a \"b\" $x' \"\" c'd e'f").unwrap(), "sh|-c|a \"b\" $x||cd ef");
        assert_eq!(words("  ").unwrap(), "");
        assert!(words("a 'b").is_err());
    }
}
