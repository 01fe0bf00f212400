//! hal-bridge: the command line.
//!
//! Messages of other systems become messages on the bus: sources are one file each under `source/`, and only `outbox`
//! publishes. Commands that people give in a chat (`chat/`, one file each) are checked and asked of handlers (`command/`); the
//! bridge runs none itself, and speaks in a chat only when spoken to.

mod acl;
mod api;
mod bus;
mod chat;
mod command;
mod config;
mod denials;
mod device;
mod graph;
mod hash;
mod health;
mod jobs;
mod means;
mod memory;
mod metrics;
mod monitor;
mod mqtt;
mod once;
mod outbox;
mod reload;
mod reminder;
mod run;
mod schedule;
mod source;
mod webhook;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;
use service::config::{Configuration as _, check_command};
use service::process::{print, print_json};

use config::Config;

/// Answers chat commands, and publishes messages of other systems on the bus.
#[derive(Parser)]
#[command(name = "hal-bridge", version = tellhal::VERSION, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Receive messages of other systems and publish them, until stopped
    Run {
        #[command(flatten)]
        path: ConfigPath,
    },
    /// Check the configuration and print all problems
    Check {
        #[command(flatten)]
        path: ConfigPath,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show who may give which chat command
    Acl {
        #[command(subcommand)]
        action: Acl,
    },
    /// List the schedules: when they are due, and how they went last
    ///
    /// hal-bridge jobs
    /// hal-bridge jobs scrum --next 10
    #[command(verbatim_doc_comment)]
    Jobs {
        #[command(flatten)]
        path: ConfigPath,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        asked: jobs::Asked,
    },
    /// Try out webhooks
    Webhooks {
        #[command(subcommand)]
        action: Webhooks,
    },
    /// Try out mail listeners
    Mail {
        #[command(subcommand)]
        action: Mail,
    },
    /// Try out syslog listeners
    Syslog {
        #[command(subcommand)]
        action: Syslog,
    },
    /// Look at a monitor
    Monitors {
        #[command(subcommand)]
        action: Monitors,
    },
    /// List the graphs, or let one be drawn
    #[command(args_conflicts_with_subcommands = true)]
    Graphs {
        #[command(flatten)]
        path: ConfigPath,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        action: Option<Graphs>,
    },
    /// Try out topics of MQTT
    Mqtt {
        #[command(subcommand)]
        action: Mqtt,
    },
    /// Print the public key that handlers know the bridge by, for tellhal serve --bridge-key
    Key {
        #[command(flatten)]
        path: ConfigPath,
    },
    /// Print the JSON Schema of the configuration
    Schema,
}

#[derive(Subcommand)]
enum Webhooks {
    /// Show the messages that a payload becomes
    ///
    /// hal-bridge webhooks test github payload.json --header 'X-GitHub-Event: push'
    #[command(verbatim_doc_comment)]
    Test(Trial<webhook::tried::Payload>),
}

#[derive(Subcommand)]
enum Mail {
    /// Show the message that a mail becomes
    ///
    /// hal-bridge mail test devices mail.eml --to backup.mysql@hal.example.com
    #[command(verbatim_doc_comment)]
    Test(Trial<device::mail::tried::Mail>),
}

#[derive(Subcommand)]
enum Syslog {
    /// Show the message that a line becomes
    ///
    /// hal-bridge syslog test net '<34>Oct 11 22:14:15 web1 su: failed'
    #[command(verbatim_doc_comment)]
    Test(Trial<device::syslog::tried::Line>),
}

#[derive(Subcommand)]
enum Monitors {
    /// Look once, and show the data and the verdict; nothing is told or stored
    Test {
        #[command(flatten)]
        path: ConfigPath,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
        /// The monitor's name
        name: String,
    },
}

#[derive(Subcommand)]
enum Graphs {
    /// Let a graph be drawn once, and say what came; nothing is told or kept
    ///
    /// hal-bridge graphs test load 8 hours big --output load.png
    #[command(verbatim_doc_comment)]
    Test(Trial<graph::test_command::Asked>),
}

#[derive(Subcommand)]
enum Mqtt {
    /// Show the message that a payload on a topic becomes; nothing is told
    ///
    /// echo 81 | hal-bridge mqtt test plant plant/oven/alarm
    #[command(verbatim_doc_comment)]
    Test(Trial<mqtt::tried::Given>),
}

#[derive(Subcommand)]
enum Acl {
    /// Say whether a person may give a command, and which line of the configuration decides
    ///
    /// hal-bridge acl explain oncall main/#ops deploy production
    #[command(verbatim_doc_comment)]
    Explain {
        #[command(flatten)]
        path: ConfigPath,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        asked: acl::Asked,
    },
}

#[derive(clap::Args)]
struct Trial<A: clap::Args> {
    #[command(flatten)]
    path: ConfigPath,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    given: A,
}

#[derive(clap::Args)]
struct ConfigPath {
    /// Configuration: a file, or a folder of *.toml files
    #[arg(long, value_name = "PATH", env = "HAL_BRIDGE_CONFIG", default_value = "/etc/tellhal/bridge.d")]
    config: PathBuf,
}

fn main() -> ExitCode {
    service::process::main(|cli: Cli| async {
        match cli.command {
            Command::Run { path } => run::run(path.config).await,
            Command::Check { path, json } => check_command(&path.config, json, Listeners::of),
            Command::Acl { action: Acl::Explain { path, json, asked } } => {
                acl::explain(&path.config, &asked, json)
            }
            Command::Jobs { path, json, asked } => jobs::list(&path.config, &asked, json).await,
            Command::Webhooks { action: Webhooks::Test(Trial { path, json, given }) } => {
                let webhooks = Config::load(&path.config)?.webhooks;
                webhook::tried::test(&webhooks, &given, json)
            }
            Command::Mail { action: Mail::Test(Trial { path, json, given }) } => {
                device::mail::tried::test(&Config::load(&path.config)?.mail, &given, json)
            }
            Command::Syslog { action: Syslog::Test(Trial { path, json, given }) } => {
                device::syslog::tried::test(&Config::load(&path.config)?.syslog, &given, json)
            }
            Command::Monitors { action: Monitors::Test { path, json, name } } => {
                monitor::test_command::test(&path.config, &name, json).await
            }
            Command::Graphs { path, json, action: None } => graph::test_command::list(&path.config, json),
            Command::Graphs { action: Some(Graphs::Test(Trial { path, json, given })), .. } => {
                graph::test_command::test(&path.config, &given, json).await
            }
            Command::Mqtt { action: Mqtt::Test(Trial { path, json, given }) } => {
                mqtt::tried::test(&Config::load(&path.config)?.mqtt, given, json)
            }
            Command::Key { path } => {
                let key = Config::load(&path.config)?.signing_key.read()?;
                Ok(print(&format!("{}\n", key.public_key()))?)
            }
            Command::Schema => print_json(&Config::schema()),
        }
    })
}

/// The addresses of a good configuration.
#[derive(Serialize)]
struct Listeners {
    http: String,
    tcp: Option<String>,
    ntfy: Option<String>,
    webhooks: Vec<String>,
    syslog: Vec<String>,
    mail: Vec<String>,
    mqtt: Vec<String>,
    chats: Vec<String>,
    schedules: usize,
}

impl Listeners {
    fn of(config: &Config) -> Self {
        Listeners {
            http: config.http.to_string(),
            tcp: config.tcp.map(|address| address.to_string()),
            ntfy: config.ntfy.as_ref().map(|ntfy| ntfy.listen.to_string()),
            webhooks: config.webhooks.keys().cloned().collect(),
            syslog: config.syslog.keys().cloned().collect(),
            mail: config.mail.keys().cloned().collect(),
            mqtt: config.mqtt.keys().cloned().collect(),
            chats: config.chats.keys().cloned().collect(),
            schedules: config.schedules.len(),
        }
    }
}

impl fmt::Display for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "health on {}", self.http)?;
        if let Some(tcp) = &self.tcp {
            write!(f, ", old scripts on {tcp}")?;
        }
        match self.schedules {
            0 => {}
            1 => write!(f, ", 1 schedule")?,
            several => write!(f, ", {several} schedules")?,
        }
        if let Some(ntfy) = &self.ntfy {
            write!(f, ", ntfy's clients on {ntfy}")?;
        }
        if !self.webhooks.is_empty() {
            write!(f, ", webhooks {}", self.webhooks.join(", "))?;
        }
        if !self.syslog.is_empty() {
            write!(f, ", syslog {}", self.syslog.join(", "))?;
        }
        if !self.mail.is_empty() {
            write!(f, ", mail {}", self.mail.join(", "))?;
        }
        if !self.mqtt.is_empty() {
            write!(f, ", topics of {}", self.mqtt.join(", "))?;
        }
        match self.chats.as_slice() {
            [] => f.write_str(", commands on the page alone"),
            chats => write!(f, ", commands on the page and in {}", chats.join(", ")),
        }
    }
}
