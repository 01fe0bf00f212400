//! `hal-bridge syslog test`: shows the message that a line becomes. Nothing is published, and no network is asked for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use tellhal::Message;

use super::config::Config;
use super::line::{Transport, read};
use crate::device::listeners::Listen as _;
use crate::device::tried;

/// A line as it is given on the command line.
#[derive(clap::Args)]
pub(crate) struct Line {
    /// The name of the listener in the configuration
    name: String,
    /// The line, such as '<34>Oct 11 22:14:15 host su: failed'
    #[arg(allow_hyphen_values = true)]
    line: String,
    /// The address that it comes from
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
}

pub(crate) fn test(listeners: &BTreeMap<String, Config>, given: &Line, json: bool) -> anyhow::Result<()> {
    let config = tried::named(Config::SECTION, listeners, &given.name)?;
    let message =
        read(config, &format!("in-{}", given.name), given.line.as_bytes(), Transport::Tcp, given.from);
    let none = |why| match why {
        "below" => format!("no message: it is less severe than {}\n", config.severity),
        _ => "no message: the line is empty\n".to_owned(),
    };
    let note =
        (!config.allow.contain(given.from)).then(|| format!("{} may not use this listener\n", given.from));
    let (messages, why): (Vec<Message>, _) = match message {
        Ok(message) => (vec![message], String::new()),
        Err(why) => (Vec::new(), none(why)),
    };
    tried::show(&messages, &(why + &note.unwrap_or_default()), json)
}
