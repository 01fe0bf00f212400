//! Asks a handler and waits for its answer: signed, once, with progress, a time limit and a way to cancel. Never asks again.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::StatusCode;
use async_trait::async_trait;
use futures_util::StreamExt as _;
use service::text::{cut, one_line};
use tellhal::Timestamp;
use tellhal::command::{Answer, FRESH, Reply, Request, VERSION};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::line::Out;
use crate::bus::Bus;

/// The wait for further answers when all who serve a command are asked, after the first one.
const OTHERS: Duration = Duration::from_secs(2);
/// The wait beyond a command's time: its handler ends the program then, and says so.
const ENDING: Duration = Duration::from_secs(7);
/// The most answers of one gathered answer.
const MOST: usize = 200;
/// The wait for the answer to a command that was cancelled: the program has some seconds to end.
const CANCEL: Duration = Duration::from_secs(10);

/// The end of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered(Answer),
    /// The command is served nowhere, so it has not run.
    NoHandler,
    /// It may have run.
    Unknown(String),
}

/// A request on its way.
pub(super) struct Dispatch<'a> {
    pub(super) bus: &'a Bus,
    pub(super) request: Request,
    /// The number of instances that are to answer, if all are asked.
    pub(super) each: Option<usize>,
    pub(super) cancelled: &'a Notify,
}

impl Dispatch<'_> {
    /// Asks, and tells `out` how far it is.
    pub(super) async fn ask(&self, out: &dyn Out) -> End {
        match self.exchange(out).await {
            Ok(end) => end,
            Err(error) => End::Unknown(format!("the connection to NATS failed: {error:#}")),
        }
    }

    async fn exchange(&self, out: &dyn Out) -> anyhow::Result<End> {
        let client = &self.bus.handlers;
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await?;
        let (payload, headers) = self.bus.signed(&self.request)?;
        let subject = self.request.subject.clone();
        client.publish_with_reply_and_headers(subject, inbox, headers, payload.into()).await?;
        let begun = Instant::now();
        let mut until = begun + Duration::from_millis(self.request.timeout_ms) + ENDING;
        let (mut answers, mut is_cancelled, mut last_line) = (Vec::new(), false, String::new());
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                reply = replies.next() => {
                    let Some(reply) = reply else { return Ok(End::Unknown("the connection has ended".into())) };
                    if reply.status == Some(StatusCode::NO_RESPONDERS) {
                        return Ok(End::NoHandler);
                    }
                    match (Reply::read(reply.headers.as_ref(), &reply.payload), self.each) {
                        (Reply::Progress(line), _) => {
                            last_line = cut(&one_line(&line), 200);
                            out.progress(&self.request.id, &last_line).await;
                        }
                        (Reply::Answer(answer), None) => return Ok(End::Answered(answer)),
                        (Reply::Answer(answer), Some(instances)) => {
                            answers.push(answer);
                            if answers.len() >= instances.clamp(1, MOST) {
                                return Ok(End::Answered(gathered(answers, instances)));
                            }
                            until = until.min(Instant::now() + OTHERS);
                        }
                    }
                }
                _ = tick.tick() => out.progress(&self.request.id, &last_line).await,
                () = self.cancelled.notified(), if !is_cancelled => {
                    is_cancelled = true;
                    until = Instant::now() + CANCEL;
                    self.cancel().await?;
                }
                () = sleep_until(until) => {
                    return Ok(match (self.each, answers.is_empty()) {
                        (Some(instances), false) => End::Answered(gathered(answers, instances)),
                        _ if is_cancelled => End::Unknown("it was cancelled, and its handler says nothing".into()),
                        _ => {
                            let waited = humantime::format_duration(Duration::from_millis(self.request.timeout_ms));
                            End::Unknown(format!("no answer within {waited}"))
                        }
                    });
                }
            }
        }
    }

    /// Asks all who serve the command to end this request; the one that runs it answers the request itself.
    async fn cancel(&self) -> anyhow::Result<()> {
        let request = Request {
            v: VERSION,
            id: format!("{}-cancel", self.request.id),
            subject: self.bus.names.each(&self.request.command),
            expires: Timestamp::now().plus(FRESH),
            cancel: Some(self.request.id.clone()),
            ..self.request.clone()
        };
        let (payload, headers) = self.bus.signed(&request)?;
        let client = &self.bus.handlers;
        let nowhere = client.new_inbox();
        client
            .publish_with_reply_and_headers(request.subject.clone(), nowhere, headers, payload.into())
            .await?;
        Ok(client.flush().await?)
    }
}

/// Asks the handler of a command for the bridge itself: `place` stands where a chat's room does. Nobody has typed it, so that
/// there is no policy and no audit; the configuration names it. An error is one line.
pub(crate) async fn ask_for_itself(
    bus: &Bus,
    place: String,
    command: &str,
    args: &[String],
    patience: Duration,
) -> Result<Answer, String> {
    let request = Request {
        v: VERSION,
        id: format!("{:032x}", fastrand::u128(..)),
        subject: bus.names.cmd(command),
        command: command.to_owned(),
        args: args.to_vec(),
        named: BTreeMap::new(),
        person: None,
        roles: Vec::new(),
        room: place,
        expires: Timestamp::now().plus(patience.min(FRESH)),
        timeout_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
        cancel: None,
    };
    let never = Notify::new();
    match (Dispatch { bus, request, each: None, cancelled: &never }).ask(&Silent).await {
        End::Answered(answer) => Ok(answer),
        End::NoHandler => Err(format!("nobody answers {command} now")),
        End::Unknown(why) => Err(format!("{command}: {why}")),
    }
}

/// Hears nothing of how far a command is.
struct Silent;

#[async_trait]
impl Out for Silent {
    async fn progress(&self, _: &str, _: &str) {}

    async fn answer(&self, _: &Answer) {}
}

/// One answer of those of all machines, in the order of their names.
fn gathered(mut answers: Vec<Answer>, instances: usize) -> Answer {
    answers.sort_by(|a, b| a.host.cmp(&b.host));
    let failed = answers.iter().any(|answer| answer.failed);
    let count = answers.len();
    let one = |answer: &Answer| {
        let host = cut(&one_line(answer.host.as_deref().unwrap_or("?")), 60);
        let text = answer.answer.trim_end();
        if text.contains('\n') { format!("{host}:\n{text}") } else { format!("{host}: {text}") }
    };
    let mut text = answers.iter().map(one).collect::<Vec<_>>().join("\n");
    if count < instances {
        text += &format!("\n{count} of {instances} answered");
    }
    Answer { failed: failed || count < instances, fixed_width: true, ..Answer::done(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_all_machines_are_one_answer() {
        let from = |host: &str, text: &str| Answer { host: Some(host.into()), ..Answer::done(text) };
        let answers = vec![from("web2", "81 %\n"), from("web1", "12 %"), Answer::done("a\nb")];
        let all = gathered(answers.clone(), 3);
        assert_eq!((all.answer.as_str(), all.failed), ("?:\na\nb\nweb1: 12 %\nweb2: 81 %", false));
        let some = gathered(answers, 4);
        assert!(some.failed && some.answer.ends_with("\n3 of 4 answered"), "{some:?}");
    }
}
