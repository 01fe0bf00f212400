//! Every subject, stream and bucket name on the bus, made from one prefix.

use crate::tag::{Tag, is_token};

/// The default prefix of every subject.
pub const DEFAULT_PREFIX: &str = "hal";

/// Names on the bus for one prefix, so that several environments can share a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

/// A parsed subject of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// `hal.ops.<source>.<tag…>`, both unchecked. A subject that ends after the source has an empty tag.
    Ops {
        /// The token the publisher's credentials allow.
        source: &'a str,
        /// The rest of the subject.
        tag: &'a str,
    },
    /// `hal.ctl.<kind>`: the relay's own entries, which change the engine as messages do.
    Ctl(&'a str),
}

impl Default for Names {
    fn default() -> Self {
        Names { prefix: DEFAULT_PREFIX.into() }
    }
}

impl Names {
    /// Names under `prefix`, which must be one token.
    pub fn new(prefix: &str) -> Result<Self, String> {
        if is_token(prefix) {
            Ok(Names { prefix: prefix.into() })
        } else {
            Err(format!("prefix {prefix:?} is not one word of A-Z a-z 0-9 _ -, such as hal"))
        }
    }

    /// The prefix itself.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `hal.ops.<source>.<tag>`.
    pub fn ops(&self, source: &str, tag: &Tag) -> String {
        format!("{}.ops.{source}.{tag}", self.prefix)
    }

    /// `hal.ops.>`: every message.
    pub fn all_ops(&self) -> String {
        format!("{}.ops.>", self.prefix)
    }

    /// `hal.ctl.<kind>`.
    pub fn ctl(&self, kind: &str) -> String {
        format!("{}.ctl.{kind}", self.prefix)
    }

    /// `hal.ctl.>`.
    pub fn all_ctl(&self) -> String {
        format!("{}.ctl.>", self.prefix)
    }

    /// `hal.sent.<room>`.
    pub fn sent(&self, room: &str) -> String {
        format!("{}.sent.{room}", self.prefix)
    }

    /// `hal.dead.<room>`.
    pub fn dead(&self, room: &str) -> String {
        format!("{}.dead.{room}", self.prefix)
    }

    /// `hal.cmd.<name>`: a chat command, for one of those that serve it.
    pub fn cmd(&self, name: &str) -> String {
        format!("{}.cmd.{name}", self.prefix)
    }

    /// `hal.cmd._each.<name>`: the same, for all that serve it.
    pub fn each(&self, name: &str) -> String {
        format!("{}.cmd._each.{name}", self.prefix)
    }

    /// The command that is asked on a subject; `None` for a subject of no command.
    pub fn command<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let name = subject.strip_prefix(&self.prefix)?.strip_prefix(".cmd.")?;
        is_token(name).then_some(name)
    }

    /// `hal.ask.page`: lines from the page's command box.
    pub fn ask_page(&self) -> String {
        format!("{}.ask.page", self.prefix)
    }

    /// `hal.ask.bridges`: requests of bridges to each other.
    pub fn ask_bridges(&self) -> String {
        format!("{}.ask.bridges", self.prefix)
    }

    /// `hal.audit.<kind>.<command>`.
    pub fn audit(&self, kind: &str, command: &str) -> String {
        format!("{}.audit.{kind}.{command}", self.prefix)
    }

    /// `hal.audit.>`.
    pub fn all_audit(&self) -> String {
        format!("{}.audit.>", self.prefix)
    }

    /// The stream of everything that was asked, allowed, approved and done in chats: `HAL_AUDIT`.
    pub fn audit_stream(&self) -> String {
        self.upper("AUDIT")
    }

    /// The bucket of the events that a bridge took: `HAL_CLAIMS`.
    pub fn claims_bucket(&self) -> String {
        self.upper("CLAIMS")
    }

    /// The bucket of all that a bridge must not forget: `HAL_BRIDGE`.
    pub fn bridge_bucket(&self) -> String {
        self.upper("BRIDGE")
    }

    /// The log: `HAL_OPS`.
    pub fn ops_stream(&self) -> String {
        self.upper("OPS")
    }

    /// The outbox of early relays, which is no longer used: `HAL_OUT`.
    pub fn out_stream(&self) -> String {
        self.upper("OUT")
    }

    /// Receipts: `HAL_SENT`.
    pub fn sent_stream(&self) -> String {
        self.upper("SENT")
    }

    /// Dead letters: `HAL_DEAD`.
    pub fn dead_stream(&self) -> String {
        self.upper("DEAD")
    }

    /// The bucket of leases: `HAL_STATE`.
    pub fn state_bucket(&self) -> String {
        self.upper("STATE")
    }

    /// The object store of snapshots and configurations: `HAL_FILES`.
    pub fn files_bucket(&self) -> String {
        self.upper("FILES")
    }

    /// Parses a subject of the log; `None` for any other subject.
    pub fn parse<'a>(&self, subject: &'a str) -> Option<Subject<'a>> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix('.')?;
        if let Some(kind) = rest.strip_prefix("ctl.") {
            return Some(Subject::Ctl(kind));
        }
        let rest = rest.strip_prefix("ops.")?;
        let (source, tag) = rest.split_once('.').unwrap_or((rest, ""));
        Some(Subject::Ops { source, tag })
    }

    fn upper(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix.to_ascii_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_taken_apart_as_they_are_put_together() {
        let names = Names::new("dev").unwrap();
        let tag: Tag = "backup.mysql".parse().unwrap();
        let subject = names.ops("db1", &tag);
        assert_eq!(subject, "dev.ops.db1.backup.mysql");
        assert_eq!(names.parse(&subject), Some(Subject::Ops { source: "db1", tag: "backup.mysql" }));
        assert_eq!(names.parse("dev.ops.db1"), Some(Subject::Ops { source: "db1", tag: "" }));
        assert_eq!(names.parse("dev.ctl.tick"), Some(Subject::Ctl("tick")));
        assert_eq!(names.parse("hal.ops.db1.x"), None);
        assert_eq!(names.parse("dev.out.ops"), None);
        assert_eq!(names.ops_stream(), "DEV_OPS");
        assert_eq!(names.command(&names.cmd("deploy")), Some("deploy"));
        assert_eq!((names.command(&names.each("deploy")), names.command("hal.cmd.deploy")), (None, None));
        assert!(Names::new("a.b").is_err());
    }
}
