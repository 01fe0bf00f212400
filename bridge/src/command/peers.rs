//! Bridges ask each other to cancel a command, which may run on another one than the one that hears `cancel`, and to say something in a
//! chat that another one has. Requests are signed
//! with the bridges' own key, so that nobody else can send one.

use std::time::Duration;

use futures_util::StreamExt as _;
use tellhal::Timestamp;
use tellhal::command::{Answer, FRESH, Gate, Reply, Request, VERSION};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Commands, Given};

/// The name of the request to say something in a chat.
const SAY: &str = "say";
/// The wait for the bridge on which the command runs.
const PATIENCE: Duration = Duration::from_secs(2);

impl Commands {
    /// Answers the other bridges until `stop`.
    pub(crate) async fn answer_peers(self, stop: CancellationToken) {
        let bus = &self.bus;
        let subject = bus.names.ask_bridges();
        let mut requests = loop {
            match bus.client.subscribe(subject.clone()).await {
                Ok(requests) => break requests,
                Err(error) => tracing::error!(%error, "other bridges cannot be heard"),
            }
            tokio::select! {
                () = sleep(PATIENCE) => {}
                () = stop.cancelled() => return,
            }
        };
        let mut gate = Gate::new(vec![bus.public_key()]);
        loop {
            let message = tokio::select! {
                message = requests.next() => message,
                () = stop.cancelled() => return,
            };
            let Some(message) = message else { return };
            let request = gate.take(&subject, message.headers.as_ref(), &message.payload, Timestamp::now());
            match (request, message.reply) {
                (Ok(Request { command, args, .. }), Some(reply)) if command == SAY => {
                    if let [chat, to, text] = args.as_slice()
                        && self.speakers.say(chat, to, &Answer::done(text))
                    {
                        bus.reply(reply, &Answer::done("")).await;
                    }
                }
                (Ok(Request { cancel: Some(id), person, room, .. }), Some(to)) => {
                    // The one that does not run it says nothing: another one does.
                    if let Some(answer) = self.cancel_here(person.as_deref(), &room, &id) {
                        bus.reply(to, &answer).await;
                    }
                }
                (Err(why), _) => tracing::warn!(why, "a request of another bridge is not taken"),
                _ => {}
            }
        }
    }

    /// Ends a command that runs on any bridge, for the person who gave it or one who may give it.
    pub(super) async fn cancel(&self, given: &Given<'_>, id: &str) -> Answer {
        let person = given.person().map(|person| person.name.clone());
        if let Some(answer) = self.cancel_here(person.as_deref(), &given.line.place(), id) {
            return answer;
        }
        let request =
            Request { person, cancel: Some(id.to_owned()), ..self.to_peers(&given.id, &given.command) };
        let request = Request { room: given.line.place(), ..request };
        match timeout(PATIENCE, self.asked_peers(&request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::error!(id, %error, "other bridges cannot be asked");
                Answer::failed("NATS does not answer; try again later")
            }
            Err(_) => Answer::failed(format!("no command {id} runs")),
        }
    }

    /// Says something in a chat, by the bridge that speaks there; `id` is the request that it is about. False if no bridge does.
    pub(crate) async fn say(&self, id: &str, chat: &str, to: &str, text: String) -> bool {
        if self.speakers.say(chat, to, &Answer::done(&text)) {
            return true;
        }
        let args = vec![chat.to_owned(), to.to_owned(), text];
        let request = Request { args, ..self.to_peers(&format!("{id}-{SAY}-{}", super::new_id()), SAY) };
        let is_said = matches!(timeout(PATIENCE, self.asked_peers(&request)).await, Ok(Ok(_)));
        if !is_said {
            tracing::warn!(id, chat, "nothing can be said in the chat: no bridge speaks there");
        }
        is_said
    }

    fn to_peers(&self, id: &str, command: &str) -> Request {
        Request {
            v: VERSION,
            id: id.to_owned(),
            subject: self.bus.names.ask_bridges(),
            command: command.to_owned(),
            args: Vec::new(),
            named: Default::default(),
            person: None,
            roles: Vec::new(),
            room: String::new(),
            expires: Timestamp::now().plus(FRESH),
            timeout_ms: u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX),
            cancel: None,
        }
    }

    async fn asked_peers(&self, request: &Request) -> anyhow::Result<Answer> {
        let client = &self.bus.client;
        let (payload, headers) = self.bus.signed(request)?;
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await?;
        let subject = request.subject.clone();
        client.publish_with_reply_and_headers(subject, inbox, headers, payload.into()).await?;
        let reply = replies.next().await;
        let reply = reply.ok_or_else(|| anyhow::anyhow!("the connection has ended"))?;
        match Reply::read(reply.headers.as_ref(), &reply.payload) {
            Reply::Answer(answer) => Ok(answer),
            Reply::Progress(_) => anyhow::bail!("a bridge gives no answer"),
        }
    }

    /// Ends a command that runs here; `None` if it does not.
    fn cancel_here(&self, person: Option<&str>, room: &str, id: &str) -> Option<Answer> {
        let running = self.running();
        let command = running.get(id)?;
        let is_own = person.is_some() && person == command.person.as_deref();
        let policy = self.policy.borrow();
        let known = person.and_then(|person| policy.people.named(person));
        if !is_own && !policy.may(known, room, &command.command) {
            return Some(Answer::failed(format!(
                "only a person who may give {} may cancel it",
                command.command
            )));
        }
        command.cancelled.notify_one();
        Some(Answer::done(format!("{} {id} is asked to end", command.command)))
    }
}
