//! The words of others where a connection listens. Pure.

use super::line::{Line, fold, is_channel};

/// A line of somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The nick, which proves nothing: everybody can take a free one.
    pub nick: String,
    /// The account that the network's services vouch for, from the server's `account` tag (IRCv3 account-tag).
    pub account: Option<String>,
    /// The channel; `None` if it was said to us alone.
    pub channel: Option<String>,
    /// The server's id of the line, if it has any.
    pub id: Option<String>,
    pub text: String,
}

impl Heard {
    /// The words of a PRIVMSG to us, whose nick is `ours`; `None` for what is not somebody's own words of this moment: CTCP, what
    /// a server sends of earlier lines (in a batch), and other robots (IRCv3 bot-mode).
    pub(super) fn of(line: &Line<'_>, ours: &str) -> Option<Heard> {
        let (target, text) = (line.param(0), line.last());
        let is_theirs = line.params.len() >= 2 && !line.nick().is_empty() && line.prefix.contains('!');
        let is_live = line.tag("batch").is_none() && line.tag("bot").is_none();
        // A channel with a prefix, such as @#ops, is for its operators alone; an answer would be for all.
        let is_ours = is_channel(target) || fold(target) == fold(ours);
        (is_theirs && is_live && is_ours && !text.starts_with('\x01')).then(|| Heard {
            nick: line.nick().to_owned(),
            account: line.tag("account").filter(|account| !account.is_empty()).map(str::to_owned),
            channel: is_channel(target).then(|| target.to_owned()),
            id: line.tag("msgid").filter(|id| !id.is_empty()).map(str::to_owned),
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Option<Heard> {
        Heard::of(&Line::parse(text), "hal")
    }

    #[test]
    fn only_the_servers_account_tag_says_who_speaks() {
        let line = heard("@account=oncall;msgid=x1;time=t :nick!u@h PRIVMSG #ops :!status").unwrap();
        assert_eq!((line.account.as_deref(), line.id.as_deref()), (Some("oncall"), Some("x1")));
        assert_eq!(
            (line.nick.as_str(), line.channel.as_deref(), line.text.as_str()),
            ("nick", Some("#ops"), "!status")
        );
        // A tag with + is the client's own.
        let forged = heard("@+account=oncall;account= :oncall!u@h PRIVMSG HAL :!status").unwrap();
        assert_eq!((forged.account, forged.channel), (None, None));
    }

    #[test]
    fn what_is_not_said_now_by_a_person_is_not_heard() {
        for line in [
            ":nick!u@h PRIVMSG #ops :\x01ACTION !status\x01",
            "@batch=1 :nick!u@h PRIVMSG #ops :!status",
            "@bot :nick!u@h PRIVMSG #ops :!status",
            ":irc.example.com PRIVMSG #ops :!status",
            ":nick!u@h PRIVMSG @#ops :!status",
            ":nick!u@h PRIVMSG other :!status",
            ":nick!u@h PRIVMSG #ops",
        ] {
            assert_eq!(heard(line), None, "{line}");
        }
    }
}
