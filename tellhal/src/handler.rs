//! Answers chat commands: a NATS service whose endpoints are commands, each found by `help` while it runs.
//!
//! Takes requests that the bridge signed and refuses others; what a command does is the caller's.

use async_nats::service::endpoint::Endpoint;
use async_nats::service::{Service, ServiceExt as _};
use async_nats::{Client, Subject};
use futures_util::StreamExt as _;
use futures_util::stream::{SelectAll, select_all};

use crate::command::{Answer, Gate, Metadata, Progress, Request, VERSION};
use crate::subject::Names;
use crate::timestamp::Timestamp;

/// A running NATS service that answers commands.
#[expect(missing_debug_implementations, reason = "the client's endpoints have none")]
pub struct Handler {
    service: Service,
    endpoints: SelectAll<Endpoint>,
    gate: Gate,
    client: Client,
    host: String,
}

/// A request, and the way back to the one who asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request.
    pub request: Request,
    reply: Subject,
    client: Client,
    host: String,
}

/// A message on a command's subject that is not handled.
#[derive(Debug, thiserror::Error)]
#[error("a request on {subject} is refused: {why}")]
pub struct Refused {
    /// The subject that it came on.
    pub subject: String,
    /// The reason.
    pub why: String,
}

impl Handler {
    /// Serves `commands` as the NATS service `name`, and takes what `gate` takes. `host` names this machine in answers.
    pub async fn start(
        client: &Client,
        names: &Names,
        (name, host): (&str, &str),
        commands: &[(String, Metadata)],
        gate: Gate,
    ) -> Result<Handler, String> {
        let failed = |error: async_nats::Error| format!("cannot serve commands: {error}");
        let metadata = [("host".to_owned(), host.to_owned())].into();
        let service = client.service_builder().description("answers chat commands").metadata(metadata);
        let service = service.start(name, env!("CARGO_PKG_VERSION")).await.map_err(failed)?;
        let id = service.info().await.id;
        let mut endpoints = Vec::new();
        for (command, about) in commands {
            let metadata = || {
                let Metadata { usage, help } = about.clone();
                [("usage".to_owned(), usage), ("help".to_owned(), help)].into()
            };
            let shared = service.endpoint_builder().name(command).metadata(metadata());
            endpoints.push(shared.add(names.cmd(command)).await.map_err(failed)?);
            // A queue group of its own is none: every instance gets the request.
            let each = service.endpoint_builder().name(format!("{command}_each")).metadata(metadata());
            endpoints.push(each.queue_group(&id).add(names.each(command)).await.map_err(failed)?);
        }
        client.flush().await.map_err(|error| format!("cannot serve commands: {error}"))?;
        Ok(Handler {
            service,
            endpoints: select_all(endpoints),
            gate,
            client: client.clone(),
            host: host.to_owned(),
        })
    }

    /// The next request; `None` once the connection has ended. A refused one is answered with the reason.
    pub async fn next(&mut self) -> Option<Result<Asked, Refused>> {
        loop {
            let message = self.endpoints.next().await?.message;
            let subject = message.subject.to_string();
            let taken =
                self.gate.take(&subject, message.headers.as_ref(), &message.payload, Timestamp::now());
            // Without a reply subject there is nobody who would see what comes of it.
            let Some(reply) = message.reply else { continue };
            let asked = |request| Asked {
                request,
                reply: reply.clone(),
                client: self.client.clone(),
                host: self.host.clone(),
            };
            return Some(match taken {
                Ok(request) => Ok(asked(request)),
                Err(why) => {
                    let text = format!("the handler on {} refuses the request: {why}", self.host);
                    let answer = Answer { host: Some(self.host.clone()), ..Answer::failed(text) };
                    send(&self.client, reply, &answer).await;
                    Err(Refused { subject, why })
                }
            });
        }
    }

    /// Takes no further request.
    pub async fn stop(self) {
        let _ = self.service.stop().await;
    }
}

impl Asked {
    /// Says how far the command is, in one line.
    pub async fn progress(&self, line: &str) {
        let progress = Progress { v: VERSION, progress: line.to_owned() };
        send(&self.client, self.reply.clone(), &progress).await;
    }

    /// Gives the answer, which is the last reply.
    pub async fn answer(&self, answer: Answer) {
        let answer = Answer { host: Some(self.host.clone()), ..answer };
        send(&self.client, self.reply.clone(), &answer).await;
        // So that it is on its way even if the process ends now.
        let _ = self.client.flush().await;
    }
}

async fn send(client: &Client, reply: Subject, body: &impl serde::Serialize) {
    if let Ok(payload) = serde_json::to_vec(body) {
        // An error means that the connection is gone, and with it the one who waits.
        let _ = client.publish(reply, payload.into()).await;
    }
}
