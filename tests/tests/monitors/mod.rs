//! Monitors of the bridge: what is observed becomes messages. A file a kind, and what they have in common.

mod changes;
mod command;
mod expect;
mod graphite;
mod http;
mod logstash;
mod pictures;
mod prometheus;
mod removed;
mod scene;
mod settings;
mod sql;
