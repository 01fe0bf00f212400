//! Slack: the Web API with a bot's token, incoming webhooks, and what is said in a workspace, by Socket Mode or by signed requests.
//!
//! No call has an idempotency key, so one whose answer is lost is ambiguous. A line has two names that never change, channel and
//! time, by which it is known however often and in whatever way it is delivered.

mod answer;
mod client;
mod config;
mod event;
mod markup;
mod message;
mod signature;
mod socket;
mod upload;

pub use answer::{Posted, Webhook};
pub use client::{Client, Us};
pub use config::{Api, channel_problem};
pub use event::{Delivery, Heard, command_form, event, slash_answer};
pub use markup::{links, read_markup};
pub use message::{Attachment, Message, block, escape};
pub use signature::{Refusal, SIGNATURE, TIMESTAMP, verify};
pub use socket::{Incoming, Socket};
pub use upload::{NotUploaded, Uploaded, Uploads};
