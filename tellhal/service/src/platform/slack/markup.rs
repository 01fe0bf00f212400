//! Texts as people read them: Slack sends mentions, links and three escaped characters in a form of its own. Pure.

use super::client::Us;

/// The text of a message. A mention of the bot is its name; one of others is their id, which nobody can choose. A link is its text.
pub(super) fn plain(text: &str, us: &Us) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('<') {
        plain += &unescape(before);
        rest = match after.split_once('>') {
            Some((reference, after)) => {
                plain += &shown(reference, us);
                after
            }
            None => {
                plain.push('<');
                after
            }
        };
    }
    plain + &unescape(rest)
}

/// The same of a text that is for nobody in particular.
pub fn read_markup(text: &str) -> String {
    plain(text, &Us::default())
}

/// The links of a text: address and label, which may be empty.
pub fn links(text: &str) -> Vec<(String, String)> {
    let references = text.split('<').skip(1).filter_map(|after| Some(after.split_once('>')?.0));
    let links = references.filter(|reference| reference.starts_with("http"));
    let parts = links.map(|link| link.split_once('|').unwrap_or((link, "")));
    parts.map(|(address, label)| (unescape(address), unescape(label))).collect()
}

/// The text that is shown for the reference `<reference>`.
fn shown(reference: &str, us: &Us) -> String {
    let (target, label) = reference.split_once('|').unwrap_or((reference, ""));
    if target.strip_prefix('@').is_some_and(|user| user == us.user) {
        return format!("@{}", us.name);
    }
    match target.strip_prefix('!') {
        _ if target.starts_with(['@', '#']) => target.to_owned(),
        Some(word) if label.is_empty() => format!("@{}", word.split('^').next().unwrap_or_default()),
        None if label.is_empty() => unescape(target),
        _ => unescape(label),
    }
}

/// Slack escapes these three characters, and no others.
fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_have_an_address_and_a_label() {
        let text =
            "see <https://x.example/?a&amp;b|the &lt;run&gt;>, <http://y.example> and <@U1> <https://cut";
        let want = [("https://x.example/?a&b", "the <run>"), ("http://y.example", "")];
        assert_eq!(links(text), want.map(|(address, label)| (address.to_owned(), label.to_owned())));
    }

    #[test]
    fn people_read_names_links_and_plain_characters() {
        let us = Us { team: "T1".into(), user: "U0001".into(), name: "hal".into() };
        for (text, want) in [
            ("<@U0001> deploy web", "@hal deploy web"),
            ("<@U0001|evil>: deploy", "@hal: deploy"),
            ("page <@U2> <@U2|oncall> in <#C1|general>", "page @U2 @U2 in #C1"),
            ("<!here> <!subteam^S1|@dba> <!subteam^S1> <!date^1^{date}|today>", "@here @dba @subteam today"),
            (
                "see <http://x.example/a?b&amp;c> <https://x.example|x.example>",
                "see http://x.example/a?b&c x.example",
            ),
            ("<mailto:a@b.example|a@b.example>", "a@b.example"),
            ("a &lt;b&gt; &amp;&amp; &amp;lt; &quot;", "a <b> && &lt; &quot;"),
            ("&lt;@U0001&gt; deploy", "<@U0001> deploy"),
            ("1 < 2", "1 < 2"),
            ("<> <|> <!", "  <!"),
        ] {
            assert_eq!(plain(text, &us), want, "{text}");
        }
    }
}
