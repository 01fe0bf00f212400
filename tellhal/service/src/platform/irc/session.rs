//! A registered connection: joins channels, writes lines, and matches the server's answers with the lines that wait.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::hear::Heard;
use super::line::{Line, fold, is_channel};
use super::register::Registered;
use super::say::Say;
use super::settings::{Channel, Settings};
use super::stream::Stream;
use crate::platform::{Failure, Sent};

/// The interval between checks for silence.
const LOOK: Duration = Duration::from_secs(5);
/// The silence after which the server gets a PING; after twice as long the connection is lost.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest wait for a line's confirmation before the connection is given up.
const UNCONFIRMED: Duration = Duration::from_secs(10);
/// The pause after a server says that lines come too fast.
const TOO_FAST: Duration = Duration::from_secs(30);
/// The interval between attempts to enter a channel that we are to listen in.
const ENTER: Duration = Duration::from_secs(20);
/// The number of late confirmations that are kept.
const LATE: usize = 32;

pub(super) struct Session<'a> {
    settings: &'a Settings,
    stream: Stream,
    nick: String,
    /// The server labels its answers and echoes our lines.
    labels: bool,
    mask: &'a AtomicUsize,
    joined: HashSet<String>,
    /// The channels among them in which a line was refused as if we were not in it. Before the next line we join once more, but
    /// do not wait for an answer: a server that still has us in the channel gives none.
    doubted: HashSet<String>,
    /// Lines that wait for their channel.
    joining: BTreeMap<String, Vec<Say>>,
    /// Lines that were written, oldest first.
    written: VecDeque<Written>,
    /// Lines that were confirmed after their sender gave up: their retry is not written again.
    late: VecDeque<(Say, Sent)>,
    /// The labelled batch that is open, as reference and token.
    batch: Option<(String, String)>,
    ears: Option<mpsc::Sender<Heard>>,
    /// The channels that we are to listen in and asked to enter last.
    asked_at: Option<Instant>,
    count: u64,
    last_line: Instant,
}

struct Written {
    token: String,
    channel: String,
    /// The server's id of the line.
    id: Option<String>,
    at: Instant,
    say: Say,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        stream: Stream,
        registered: Registered,
        mask: &'a AtomicUsize,
        ears: Option<mpsc::Sender<Heard>>,
    ) -> Self {
        let labels = ["labeled-response", "echo-message", "batch"];
        Session {
            settings,
            stream,
            nick: registered.nick,
            labels: labels.iter().all(|cap| registered.caps.contains(*cap)),
            mask,
            joined: HashSet::new(),
            doubted: HashSet::new(),
            joining: BTreeMap::new(),
            written: VecDeque::new(),
            late: VecDeque::new(),
            batch: None,
            ears,
            asked_at: None,
            count: 0,
            last_line: Instant::now(),
        }
    }

    /// Runs until the connection or its last room is gone; returns the reason why it ended.
    pub(super) async fn run<T>(mut self, mut says: mpsc::Receiver<Say>, rooms: &watch::Sender<T>) -> Failure {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut done = self.enter().await;
        let ended = loop {
            if let Err(failure) = done {
                break failure;
            }
            done = tokio::select! {
                line = self.stream.line() => match line {
                    Ok(line) => self.hear(&line).await,
                    Err(error) => Err(self.settings.lost(&error)),
                },
                Some(say) = says.recv() => self.say(say).await,
                _ = look.tick() => self.look().await,
                () = rooms.closed() => {
                    // Out of politeness: the connection ends in either case.
                    let _ = self.stream.write(&["QUIT"]).await;
                    break self.settings.transient("no room uses it any more");
                }
            };
        };
        says.close();
        while let Ok(say) = says.try_recv() {
            self.joining.entry(String::new()).or_default().push(say);
        }
        self.fail_all(&ended.to_string());
        ended
    }

    /// Asks to enter the channels that we are to listen in and are not in.
    async fn enter(&mut self) -> Result<(), Failure> {
        if self.asked_at.is_some_and(|at| at.elapsed() < ENTER) {
            return Ok(());
        }
        let missing =
            self.settings.listen.iter().filter(|channel| !self.joined.contains(&fold(&channel.name)));
        let key = |channel: &Channel| {
            channel.key.as_ref().map(|key| format!(" {}", key.reveal())).unwrap_or_default()
        };
        let joins: Vec<String> =
            missing.map(|channel| format!("JOIN {}{}", channel.name, key(channel))).collect();
        if joins.is_empty() {
            return Ok(());
        }
        self.asked_at = Some(Instant::now());
        let joins: Vec<&str> = joins.iter().map(String::as_str).collect();
        self.write(&joins).await
    }

    /// Another's words. They are lost, with a warning, while too much waits to be read.
    fn overhear(&mut self, line: &Line<'_>) {
        let Some(ears) = &self.ears else { return };
        if let Some(heard) = Heard::of(line, &self.nick)
            && ears.try_send(heard).is_err()
        {
            tracing::warn!(server = self.settings.host, "lines come faster than they are read; one is lost");
        }
    }

    async fn write(&mut self, lines: &[&str]) -> Result<(), Failure> {
        self.stream.write(lines).await.map_err(|error| self.settings.lost(&error))
    }

    /// Writes a line, or joins its channel first. A retry of a line that a slow server already has is not written.
    async fn say(&mut self, say: Say) -> Result<(), Failure> {
        let again = |other: &Say| {
            (&other.id, &other.channel, &other.line) == (&say.id, &say.channel, &say.line)
                && other.reply.is_closed()
        };
        if let Some(at) = self.late.iter().position(|(late, _)| again(late)) {
            if let Some((_, sent)) = self.late.remove(at) {
                let _ = say.reply.send(Ok(sent));
            }
            return Ok(());
        }
        if let Some(waits) = self.written.iter_mut().find(|waits| again(&waits.say)) {
            if say.stage.write() {
                waits.say = say;
            }
            return Ok(());
        }
        let channel = fold(&say.channel);
        let key = say.key.as_ref().map(|key| format!(" {}", key.reveal())).unwrap_or_default();
        let join = format!("JOIN {}{key}", say.channel);
        // A nick is nothing to enter.
        if self.joined.contains(&channel) || !is_channel(&say.channel) {
            if self.doubted.remove(&channel) {
                self.write(&[&join]).await?;
            }
            return self.put(channel, say).await;
        }
        let waiting = self.joining.entry(channel).or_default();
        // A line that was given up is retried as a new one, and the channel is asked for again.
        waiting.retain(|say| !say.reply.is_closed());
        waiting.push(say);
        if waiting.len() == 1 { self.write(&[&join]).await } else { Ok(()) }
    }

    async fn put(&mut self, channel: String, say: Say) -> Result<(), Failure> {
        if say.reply.is_closed() || !say.stage.write() {
            return Ok(());
        }
        self.count += 1;
        let token = format!("hal{}", self.count);
        let line = say.line.clone();
        let waits = Written { token: token.clone(), channel, id: None, at: Instant::now(), say };
        self.written.push_back(waits);
        if self.labels {
            return self.write(&[&format!("@label={token} {line}")]).await;
        }
        self.write(&[&line, &format!("PING :{token}")]).await
    }

    async fn hear(&mut self, text: &str) -> Result<(), Failure> {
        self.last_line = Instant::now();
        let line = Line::parse(text);
        let ours = fold(line.nick()) == fold(&self.nick);
        match line.command {
            "PING" => return self.write(&[&format!("PONG :{}", line.last())]).await,
            "PONG" => self.confirm(line.last(), None),
            "ERROR" => return Err(self.settings.transient(line.last())),
            "JOIN" if ours => return self.entered(&line).await,
            "PART" if ours => self.left(line.param(0)),
            "KICK" if fold(line.param(1)) == fold(&self.nick) => self.left(line.param(0)),
            "NICK" if ours => self.nick = line.param(0).to_owned(),
            "BATCH" => self.batch(&line),
            "PRIVMSG" | "NOTICE" if ours => self.echo(&line),
            "PRIVMSG" => self.overhear(&line),
            "ACK" => {
                if let Some(token) = self.token(&line) {
                    self.confirm(&token, None);
                }
            }
            "FAIL" => self.failed(&line),
            _ => self.refused(&line),
        }
        Ok(())
    }

    /// We are in a channel: the lines that waited for it are written.
    async fn entered(&mut self, line: &Line<'_>) -> Result<(), Failure> {
        self.mask.fetch_max(line.prefix.len(), Ordering::Relaxed);
        let channel = fold(line.param(0));
        self.joined.insert(channel.clone());
        for say in self.joining.remove(&channel).unwrap_or_default() {
            self.put(channel.clone(), say).await?;
        }
        Ok(())
    }

    fn left(&mut self, channel: &str) {
        self.joined.remove(&fold(channel));
        self.doubted.remove(&fold(channel));
    }

    fn batch(&mut self, line: &Line) {
        let reference = line.param(0);
        match (reference.strip_prefix('+'), line.tag("label")) {
            (Some(reference), Some(label)) => self.batch = Some((reference.to_owned(), label.to_owned())),
            _ => self.batch = None,
        }
    }

    /// The token a line answers, by its label or its batch's.
    fn token(&self, line: &Line) -> Option<String> {
        let batch = || self.batch.as_ref().filter(|(open, _)| line.tag("batch") == Some(open));
        line.tag("label").map(str::to_owned).or_else(|| batch().map(|(_, token)| token.clone()))
    }

    fn echo(&mut self, line: &Line) {
        let id = line.tag("msgid").map(str::to_owned);
        match self.token(line) {
            Some(token) => self.confirm(&token, id),
            // Without labels the echo only tells the id; the PONG behind it confirms.
            None => {
                let channel = fold(line.param(0));
                let waits =
                    self.written.iter_mut().find(|waits| waits.channel == channel && waits.id.is_none());
                if let Some(waits) = waits {
                    waits.id = id;
                }
            }
        }
    }

    fn confirm(&mut self, token: &str, id: Option<String>) {
        if let Some(waits) = self.take(|waits| waits.token == token) {
            let post = id.or(waits.id);
            let how = if post.is_some() { "echoed" } else { "confirmed" };
            let sent = Sent { answer: self.settings.reason(how), post, ..Sent::default() };
            if waits.say.reply.is_closed() {
                self.late.truncate(LATE - 1);
                self.late.push_front((waits.say, sent));
            } else {
                let _ = waits.say.reply.send(Ok(sent));
            }
        }
    }

    /// A standard reply `FAIL`, which has no number.
    fn failed(&mut self, line: &Line) {
        let Some(token) = self.token(line) else { return };
        if let Some(waits) = self.take(|waits| waits.token == token) {
            let reason = self.settings.reason(line.last());
            let _ = waits.say.reply.send(Err(Failure::Permanent { reason }));
        }
    }

    fn take(&mut self, wanted: impl Fn(&Written) -> bool) -> Option<Written> {
        let at = self.written.iter().position(wanted)?;
        self.written.remove(at)
    }

    /// An error of the server's: about a channel we want to enter, or about a line of ours.
    fn refused(&mut self, line: &Line) {
        let Some(number) = line.number().filter(|number| *number == 263 || *number >= 400) else { return };
        let failure = self.failure(number, line);
        if let Some(token) = self.token(line) {
            if let Some(waits) = self.take(|waits| waits.token == token) {
                self.doubt(number, &waits.channel);
                let _ = waits.say.reply.send(Err(failure));
            }
            return;
        }
        let channel = fold(line.param(1));
        if self.settings.listen.iter().any(|known| fold(&known.name) == channel)
            && !self.joined.contains(&channel)
        {
            tracing::warn!(reason = %failure, "cannot enter a channel to listen in");
        }
        if let Some(says) = self.joining.remove(&channel) {
            for say in says {
                let _ = say.reply.send(Err(failure.clone()));
            }
            return;
        }
        // Some errors name the command or nothing: then it is the oldest line that waits.
        let named = self.written.iter().any(|waits| waits.channel == channel);
        let oldest = matches!(number, 411 | 412 | 417 | 461) && self.joining.is_empty();
        if named || oldest {
            self.doubt(number, &channel);
            if let Some(waits) = self.take(|waits| !named || waits.channel == channel) {
                let _ = waits.say.reply.send(Err(failure));
            }
        }
    }

    /// After "not on channel" or "cannot send" we may be out of the channel without having been told, or the line was refused
    /// for what is in it.
    fn doubt(&mut self, number: u16, channel: &str) {
        if matches!(number, 401 | 403 | 404 | 442) && self.joined.contains(channel) {
            self.doubted.insert(channel.to_owned());
        }
    }

    fn failure(&self, number: u16, line: &Line) -> Failure {
        let about = line.params.iter().skip(1).copied().collect::<Vec<_>>().join(" ");
        let reason = self.settings.reason(&format!("{number} {about}"));
        match number {
            263 | 439 | 707 => Failure::Transient { reason, wait: Some(TOO_FAST), ambiguous: false },
            437 | 442 => Failure::transient(reason),
            407 | 411 | 412 | 417 | 421 | 461 => Failure::Permanent { reason },
            _ => Failure::Auth { reason },
        }
    }

    /// Checks that the server answers and confirms, and asks for the configured nick and for missing channels again.
    async fn look(&mut self) -> Result<(), Failure> {
        self.enter().await?;
        let late = self.written.front().is_some_and(|waits| waits.at.elapsed() > UNCONFIRMED);
        if late || self.last_line.elapsed() > SILENCE * 2 {
            return Err(self.settings.transient("the server stopped answering"));
        }
        if self.last_line.elapsed() <= SILENCE {
            return Ok(());
        }
        if fold(&self.nick) != fold(&self.settings.nick) {
            let nick = format!("NICK {}", self.settings.nick);
            self.write(&[&nick]).await?;
        }
        self.write(&["PING :hal"]).await
    }

    fn fail_all(&mut self, reason: &str) {
        let joining = std::mem::take(&mut self.joining).into_values().flatten();
        for say in self.written.drain(..).map(|waits| waits.say).chain(joining) {
            let ambiguous = say.stage.is_written();
            let failure = Failure::Transient { reason: reason.to_owned(), wait: None, ambiguous };
            let _ = say.reply.send(Err(failure));
        }
    }
}
