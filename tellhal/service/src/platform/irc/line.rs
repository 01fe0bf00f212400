//! One line of IRC: read into its parts, and channel names compared the way servers do. Pure.

/// A line a server sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line<'a> {
    tags: &'a str,
    /// `nick!user@host` or a server's name.
    pub prefix: &'a str,
    /// A word in capitals or a number of three digits.
    pub command: &'a str,
    pub params: Vec<&'a str>,
}

impl<'a> Line<'a> {
    /// Reads a line without its end; an empty one gives an empty command.
    pub fn parse(text: &'a str) -> Line<'a> {
        let mut line = Line::default();
        let mut rest = text.trim_end_matches(['\r', '\n']);
        if let Some(tagged) = rest.strip_prefix('@') {
            (line.tags, rest) = tagged.split_once(' ').unwrap_or((tagged, ""));
            rest = rest.trim_start_matches(' ');
        }
        if let Some(prefixed) = rest.strip_prefix(':') {
            (line.prefix, rest) = prefixed.split_once(' ').unwrap_or((prefixed, ""));
        }
        let (command, mut rest) =
            rest.trim_start_matches(' ').split_once(' ').unwrap_or((rest.trim_start_matches(' '), ""));
        line.command = command;
        loop {
            rest = rest.trim_start_matches(' ');
            if let Some(last) = rest.strip_prefix(':') {
                line.params.push(last);
                return line;
            }
            if rest.is_empty() {
                return line;
            }
            let (param, next) = rest.split_once(' ').unwrap_or((rest, ""));
            line.params.push(param);
            rest = next;
        }
    }

    /// A tag's value as it stands.
    pub fn tag(&self, name: &str) -> Option<&'a str> {
        let mut tags = self.tags.split(';').map(|tag| tag.split_once('=').unwrap_or((tag, "")));
        tags.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The nick the line comes from.
    pub fn nick(&self) -> &'a str {
        self.prefix.split(['!', '@']).next().unwrap_or_default()
    }

    pub fn param(&self, index: usize) -> &'a str {
        self.params.get(index).copied().unwrap_or_default()
    }

    /// The last parameter: the text for a person.
    pub fn last(&self) -> &'a str {
        self.params.last().copied().unwrap_or_default()
    }

    /// The number of a numeric reply.
    pub fn number(&self) -> Option<u16> {
        (self.command.len() == 3).then(|| self.command.parse().ok()).flatten()
    }
}

/// True for the name of a channel; any other target is a nick.
pub fn is_channel(target: &str) -> bool {
    target.starts_with(['#', '&', '+', '!'])
}

/// The longest channel name: with it and a long own mask a line still has room for text.
const LONGEST_CHANNEL: usize = 64;

/// True for a name that a channel can have.
pub fn is_channel_name(name: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || c == ',' || c == ':';
    name.len() > 1 && name.len() <= LONGEST_CHANNEL && is_channel(name) && !name.contains(bad)
}

/// A line's limit, its end included.
const LIMIT: usize = 512;
/// The longest user and host that a server gives a client, used until our own are known.
const USER: usize = 11;
const HOST: usize = 63;
/// The number of characters that are added to a nick that is in use.
const NICK_GROWTH: usize = 3;

/// The number of bytes of text in a line that others receive whole. `mask` is the length of the longest `nick!user@host` of ours
/// that was seen. It leaves room for the longest usual one, so that a line that was made before a reconnection still fits
/// after it.
pub fn budget(verb: &str, target: &str, nick: &str, mask: usize) -> usize {
    let mask = mask.max(nick.len() + NICK_GROWTH + 1 + USER + 1 + HOST);
    let around = ":".len() + mask + " ".len() + verb.len() + " ".len() + target.len() + " :".len() + 2;
    LIMIT.saturating_sub(around).max(64)
}

/// A nick or channel for comparison, by the widest of the rules that servers use (`rfc1459`).
pub fn fold(name: &str) -> String {
    let fold = |c: char| match c {
        '{' => '[',
        '}' => ']',
        '|' => '\\',
        '^' => '~',
        c => c.to_ascii_lowercase(),
    };
    name.chars().map(fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_servers_send() {
        let line = Line::parse("@label=x1;msgid=a:b :hal!~h@h.example PRIVMSG #ops :hi: there\r\n");
        assert_eq!((line.tag("label"), line.tag("msgid"), line.tag("time")), (Some("x1"), Some("a:b"), None));
        assert_eq!((line.nick(), line.command), ("hal", "PRIVMSG"));
        assert_eq!(line.params, ["#ops", "hi: there"]);
        let line = Line::parse(":irc.a 404 hal  #ops :Cannot send");
        assert_eq!((line.number(), line.param(1), line.last()), (Some(404), "#ops", "Cannot send"));
        assert_eq!(Line::parse("PING :x y").params, ["x y"]);
        assert_eq!(Line::parse("PING x").params, ["x"]);
        assert_eq!(Line::parse(":a JOIN :").params, [""]);
        assert_eq!(fold("#Ops{}"), fold("#opS[]"));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC{0,80}") {
            Line::parse(&text);
        }
    }
}
