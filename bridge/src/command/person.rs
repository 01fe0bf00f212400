//! The people who may give commands. A person is known by accounts that a platform vouches for, never by a nick or a
//! display name, which everybody can choose.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One person, on however many platforms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) roles: BTreeSet<String>,
}

/// An account, as its platform identifies it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Account {
    /// An account with an IRC network's services. Each network is a world of its own: the chat says which.
    Irc { chat: String, account: String },
    /// A workspace's id and a user's id: neither alone is one person.
    Slack { team: String, user: String },
    /// A full Matrix user id.
    Matrix(String),
    /// A bare JID.
    Xmpp(String),
    /// The name of a token of the relay's page.
    Page(String),
    /// A schedule of this configuration, by its name: it acts for the person.
    Schedule(String),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::Irc { chat, account } => write!(f, "irc {chat}/{account}"),
            Account::Slack { team, user } => write!(f, "slack {team}/{user}"),
            Account::Matrix(id) => write!(f, "matrix {id}"),
            Account::Xmpp(jid) => write!(f, "xmpp {jid}"),
            Account::Page(token) => write!(f, "page {token}"),
            Account::Schedule(name) => write!(f, "schedule {name}"),
        }
    }
}

impl Account {
    /// An account of the platform `kind` as it is written in the configuration. `chats` are the names of the IRC chats. The
    /// error is the problem and a hint.
    pub(crate) fn parse(kind: &str, text: &str, chats: &[String]) -> Result<Account, (String, String)> {
        let bad = |hint: &str| Err((format!("{text:?} is no account of {kind}"), hint.to_owned()));
        match (kind, text.split_once('/')) {
            ("irc", _) => irc(text, chats),
            ("slack", Some((team, user))) if is_id(team, &['T', 'E']) && is_id(user, &['U', 'W']) => {
                Ok(Account::Slack { team: team.into(), user: user.into() })
            }
            ("slack", _) => bad("the workspace's id and the user's, such as T024BE7LD/U2147483697"),
            ("matrix", _)
                if text.starts_with('@')
                    && text[1..]
                        .split_once(':')
                        .is_some_and(|(user, server)| is_word(user) && is_word(server)) =>
            {
                Ok(Account::Matrix(text.into()))
            }
            ("matrix", _) => bad("the whole user id, such as @oncall:example.com"),
            ("xmpp", None)
                if text.split_once('@').is_some_and(|(user, server)| is_word(user) && is_word(server)) =>
            {
                Ok(Account::Xmpp(text.to_lowercase()))
            }
            ("xmpp", _) => bad("a JID without a resource, such as oncall@example.com"),
            ("page", None) if is_word(text) => Ok(Account::Page(text.into())),
            ("schedule", None) if is_word(text) => Ok(Account::Schedule(text.into())),
            ("schedule", _) => bad("the name of a schedule"),
            _ => bad("the name of one of the page's tokens, such as oncall"),
        }
    }
}

/// `account`, if there is at most one IRC chat, or `chat/account`.
fn irc(text: &str, chats: &[String]) -> Result<Account, (String, String)> {
    let (chat, account) = match (text.split_once('/'), chats) {
        (Some((chat, account)), _) => (chat, account),
        (None, []) => ("irc", text),
        (None, [only]) => (only.as_str(), text),
        (None, [first, ..]) => {
            let what = format!("{text:?} may be another person on each of the IRC networks");
            return Err((what, format!("say which: {first}/{text}")));
        }
    };
    if !is_word(account) || !is_word(chat) {
        let hint = "an account of the network's services, such as oncall or libera/oncall";
        return Err((format!("{text:?} is no account of irc"), hint.into()));
    }
    if !chats.is_empty() && !chats.iter().any(|known| known == chat) {
        let hint = tellhal::nearest::hint(chat, chats.iter().map(String::as_str));
        return Err((format!("there is no IRC chat {chat}"), hint));
    }
    // RFC 1459: nicks and accounts are the same in both cases.
    Ok(Account::Irc { chat: chat.into(), account: account.to_ascii_lowercase() })
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == '/')
}

fn is_id(text: &str, first: &[char]) -> bool {
    text.len() > 1
        && text.starts_with(first)
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

/// All people, by name and by account.
#[derive(Clone, Debug, Default)]
pub(crate) struct People {
    pub(crate) by_name: BTreeMap<String, Person>,
    pub(crate) by_account: BTreeMap<Account, String>,
}

impl People {
    pub(crate) fn named(&self, name: &str) -> Option<&Person> {
        self.by_name.get(name)
    }

    /// The person whose account it is.
    pub(crate) fn of(&self, account: &Account) -> Option<&Person> {
        self.named(self.by_account.get(account)?)
    }

    /// All roles that somebody has.
    pub(crate) fn roles(&self) -> BTreeSet<&str> {
        self.by_name.values().flat_map(|person| person.roles.iter().map(String::as_str)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_as_platforms_write_them() {
        let main = ["main".to_owned()];
        let read =
            |kind: &str, text: &str| Account::parse(kind, text, &main).map(|account| account.to_string());
        for (kind, text, want) in [
            ("irc", "OnCall", "irc main/oncall"),
            ("irc", "main/oncall", "irc main/oncall"),
            ("slack", "T024BE7LD/U2147483697", "slack T024BE7LD/U2147483697"),
            ("slack", "E1/W2", "slack E1/W2"),
            ("matrix", "@oncall:example.com", "matrix @oncall:example.com"),
            ("matrix", "@oncall:example.com:8448", "matrix @oncall:example.com:8448"),
            ("xmpp", "OnCall@example.com", "xmpp oncall@example.com"),
            ("page", "oncall", "page oncall"),
        ] {
            assert_eq!(read(kind, text).unwrap(), want);
        }
    }

    #[test]
    fn names_that_anybody_can_choose_are_no_accounts() {
        let main = ["main".to_owned()];
        for (kind, text) in [
            ("irc", ""),
            ("irc", "on call"),
            ("irc", "main/"),
            ("irc", "mian/oncall"),
            ("slack", "U2147483697"),
            ("slack", "T1/oncall"),
            ("slack", "@oncall"),
            ("matrix", "oncall"),
            ("matrix", "@oncall"),
            ("matrix", "On Call:example.com"),
            ("xmpp", "oncall"),
            ("xmpp", "ops@conference.example.com/oncall"),
            ("page", ""),
            ("page", "on call"),
        ] {
            assert!(Account::parse(kind, text, &main).is_err(), "{kind} {text:?}");
        }
    }

    #[test]
    fn an_irc_account_says_its_network_if_there_are_several() {
        let both = ["libera".to_owned(), "oftc".to_owned()];
        let (what, hint) = Account::parse("irc", "oncall", &both).unwrap_err();
        assert!(
            what.contains("another person on each") && hint == "say which: libera/oncall",
            "{what}: {hint}"
        );
        assert!(Account::parse("irc", "oftc/oncall", &both).is_ok());
    }
}
