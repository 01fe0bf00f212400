//! The listeners for devices as they are written, and their checks.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{Checks, KeyProblem, OneOrMany, listen_address};
use tellhal::message::Severity;
use tellhal::tag::{BadTag, Pattern, Tag};

use super::named::{Named, named};
use crate::device::mail::config::Config as MailConfig;
use crate::device::networks::Networks;
use crate::device::syslog::config::{Config as SyslogConfig, PARTS};
use crate::webhook::template::Template;

/// The messages of one address in a second.
const RATE: u32 = 100;
const MOST: u32 = 100_000;

/// A listener for syslog: `[syslog.NAME]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Syslog {
    /// Address and port for datagrams, such as `10.1.0.5:514`. Their senders can be forged: these messages have the field
    /// `unauthenticated`.
    udp: Option<String>,
    /// Address and port for connections, with a message in each line or its length before it.
    tcp: Option<String>,
    /// The networks that may use it, such as `10.1.0.0/16`. Required.
    allow: Option<OneOrMany>,
    /// The tag, in which `{facility}`, `{severity}`, `{app}` and `{host}` stand for parts of the message, as one word each;
    /// `syslog.{facility}` when absent.
    tag: Option<String>,
    /// The key of the thing that a message is about, such as `{host}/{app}`; none when absent.
    key: Option<String>,
    /// This severity and above are told; `notice` when absent.
    severity: Option<Severity>,
    /// The messages of one address in a second, on the average of ten; 100 when absent. Further datagrams are dropped and counted; a
    /// connection waits.
    rate: Option<u32>,
}

/// A listener for mail: `[mail.NAME]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mail {
    /// Address and port; `127.0.0.1:2525` when absent.
    listen: Option<String>,
    /// The networks that may use it, such as `10.1.0.0/16`. Required.
    allow: Option<OneOrMany>,
    /// The domain whose addresses name tags: a mail to `backup.mysql@DOMAIN` has the tag `backup.mysql`.
    domain: Option<String>,
    /// The tags that these addresses may name, such as `backup.>`.
    tags: Option<OneOrMany>,
    /// Addresses with a tag of their own, for devices that cannot mail to others.
    addresses: BTreeMap<String, String>,
    /// The severity of a mail that does not tell it by its importance or a word of `severities`; `notice` when absent.
    severity: Option<Severity>,
    /// Words of subjects with their severities, such as `{ failed = "error" }`. The worst counts.
    severities: BTreeMap<String, Severity>,
}

/// The syslog listeners of all files, which `of` finds in one.
pub(super) fn syslog<F>(
    checks: &mut Checks<'_, F>,
    of: impl Fn(&F) -> &BTreeMap<String, Syslog>,
) -> BTreeMap<String, SyslogConfig> {
    each(checks, "syslog", of, Syslog::checked)
}

/// The mail listeners of all files, which `of` finds in one.
pub(super) fn mail<F>(
    checks: &mut Checks<'_, F>,
    of: impl Fn(&F) -> &BTreeMap<String, Mail>,
) -> BTreeMap<String, MailConfig> {
    each(checks, "mail", of, Mail::checked)
}

/// The listeners of a section in all files.
fn each<'d, F, R: 'd, C>(
    checks: &mut Checks<'d, F>,
    section: &'static str,
    of: impl Fn(&F) -> &BTreeMap<String, R>,
    checked: impl Fn(&R, &mut Vec<KeyProblem>) -> (C, Networks),
) -> BTreeMap<String, C> {
    let mut configs = BTreeMap::new();
    for Named { document, key, name, raw } in named(checks, section, of) {
        let mut problems = Vec::new();
        let (config, networks) = checked(raw, &mut problems);
        checks.take(document, &key, problems, Vec::new());
        if let Some(network) = networks.everywhere() {
            let what = format!("every machine that reaches this listener is in {network}");
            let key = format!("{key}.allow");
            checks.problems.push(document.warning(&key, what, "name the devices' networks"));
        }
        configs.insert(name, config);
    }
    configs
}

impl Syslog {
    fn checked(&self, problems: &mut Vec<KeyProblem>) -> (SyslogConfig, Networks) {
        let allow = networks(&self.allow, problems);
        if self.udp.is_none() && self.tcp.is_none() {
            problems.push(KeyProblem::new(
                "udp",
                "there is neither udp nor tcp",
                "such as udp = \"127.0.0.1:5514\"",
            ));
        }
        let rate = self.rate.unwrap_or(RATE);
        if rate == 0 || rate > MOST {
            problems.push(KeyProblem::new(
                "rate",
                format!("{rate} is out of range"),
                format!("from 1 to {MOST}"),
            ));
        }
        let config = SyslogConfig {
            udp: self.udp.as_ref().and_then(|text| address("udp", text, problems)),
            tcp: self.tcp.as_ref().and_then(|text| address("tcp", text, problems)),
            allow: allow.clone(),
            tag: tag(self.tag.as_deref().unwrap_or("syslog.{facility}"), problems),
            key: self.key.as_ref().and_then(|text| template("key", text, problems)),
            severity: self.severity.unwrap_or(Severity::Notice),
            rate,
        };
        (config, allow)
    }
}

impl Mail {
    fn checked(&self, problems: &mut Vec<KeyProblem>) -> (MailConfig, Networks) {
        let allow = networks(&self.allow, problems);
        let listen = address("listen", self.listen.as_deref().unwrap_or("127.0.0.1:2525"), problems);
        if self.tags.as_ref().is_none_or(OneOrMany::is_empty) && self.addresses.is_empty() {
            let hint = "such as tags = [\"backup.>\"] and domain = \"hal.example.com\", or addresses";
            problems.push(KeyProblem::new(
                "tags",
                "no address has a tag, so that nothing could be sent",
                hint,
            ));
        }
        if self.tags.is_some() != self.domain.is_some() {
            let hint = "write both, such as domain = \"hal.example.com\" and tags = [\"backup.>\"]";
            problems.push(KeyProblem::new("domain", "domain and tags belong together", hint));
        }
        let is_domain = |domain: &String| {
            !domain.is_empty()
                && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
        };
        if let Some(domain) = self.domain.as_ref().filter(|domain| !is_domain(domain)) {
            problems.push(KeyProblem::new(
                "domain",
                format!("{domain:?} is no domain"),
                "such as hal.example.com",
            ));
        }
        if self.severities.keys().any(String::is_empty) {
            problems.push(KeyProblem::new("severities", "a word is empty", "such as { failed = \"error\" }"));
        }
        let config = MailConfig {
            listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            allow: allow.clone(),
            domain: self.domain.as_ref().map(|domain| domain.to_lowercase()),
            tags: self.patterns(problems),
            addresses: self.addresses(problems),
            severity: self.severity.unwrap_or(Severity::Notice),
            severities: self
                .severities
                .iter()
                .map(|(word, severity)| (word.to_lowercase(), *severity))
                .collect(),
        };
        (config, allow)
    }

    fn patterns(&self, problems: &mut Vec<KeyProblem>) -> Vec<Pattern> {
        let mut patterns = Vec::new();
        for (_, text) in self.tags.iter().flat_map(OneOrMany::items) {
            match text.parse() {
                Ok(pattern) => patterns.push(pattern),
                Err(bad) => problems.push(bad_tag("tags", bad)),
            }
        }
        patterns
    }

    fn addresses(&self, problems: &mut Vec<KeyProblem>) -> BTreeMap<String, Tag> {
        let mut addresses = BTreeMap::new();
        for (address, tag) in &self.addresses {
            if !address.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
            {
                let what = format!("{address:?} is no address");
                problems.push(KeyProblem::new("addresses", what, "such as ups@hal.example.com"));
            }
            match tag.parse() {
                Ok(tag) => drop(addresses.insert(address.to_lowercase(), tag)),
                Err(bad) => problems.push(bad_tag("addresses", bad)),
            }
        }
        addresses
    }
}

fn bad_tag(key: &'static str, bad: BadTag) -> KeyProblem {
    KeyProblem::new(key, bad.what, bad.hint)
}

fn address(key: &'static str, text: &str, problems: &mut Vec<KeyProblem>) -> Option<SocketAddr> {
    let read = listen_address(text, "127.0.0.1:5514");
    read.map_err(|(what, hint)| problems.push(KeyProblem::new(key, what, hint))).ok()
}

/// The networks that may use a listener. There are none unless they are written.
fn networks(written: &Option<OneOrMany>, problems: &mut Vec<KeyProblem>) -> Networks {
    let hint = "such as allow = [\"10.1.0.0/16\"]";
    let mut networks = Networks::default();
    for (_, text) in written.iter().flat_map(OneOrMany::items) {
        if let Err(what) = networks.add(text) {
            problems.push(KeyProblem::new("allow", what, hint));
        }
    }
    if written.as_ref().is_none_or(OneOrMany::is_empty) {
        problems.push(KeyProblem::new("allow", "the networks that may use it are missing", hint));
    }
    networks
}

fn tag(text: &str, problems: &mut Vec<KeyProblem>) -> Template {
    let Some(template) = template("tag", text, problems) else { return Template::default() };
    if template.fill(|_| "x".into()).parse::<Tag>().is_err() {
        let what = format!("{text:?} does not give a tag");
        problems.push(KeyProblem::new("tag", what, "words joined by dots, such as syslog.{facility}"));
    }
    template
}

fn template(key: &'static str, text: &str, problems: &mut Vec<KeyProblem>) -> Option<Template> {
    let read = Template::read(text).and_then(|template| {
        let unknown = template.places().find(|place| !PARTS.contains(place)).map(str::to_owned);
        unknown.map_or(Ok(template), |place| Err(format!("there is no {{{place}}} in a message")))
    });
    let hint = || format!("there are {{{}}}", PARTS.join("}, {"));
    read.map_err(|what| problems.push(KeyProblem::new(key, what, hint()))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syslog_listener_has_addresses_networks_and_a_tag_that_can_be() {
        for (json, wrong) in [
            (r#"{"udp":"0.0.0.0:514","allow":"10.0.0.0/8"}"#, &[][..]),
            (
                r#"{"tcp":"[::]:514","allow":["10.0.0.0/8","::1"],"tag":"net.{host}.{app}","key":"{host}","severity":"warning","rate":1}"#,
                &[],
            ),
            (r#"{"tcp":"127.0.0.1:1"}"#, &["allow"]),
            (r#"{"tcp":"127.0.0.1:1","allow":[]}"#, &["allow"]),
            (r#"{"allow":"10.0.0.0/8"}"#, &["udp"]),
            (r#"{"udp":"everywhere","allow":["10.0.0.1/8","x"]}"#, &["allow", "allow", "udp"]),
            (
                r#"{"udp":"0.0.0.0:1","allow":"::/0","tag":"a.{x}","key":"{","rate":0}"#,
                &["rate", "tag", "key"],
            ),
            (r#"{"udp":"0.0.0.0:1","allow":"::/0","tag":"a..{app}"}"#, &["tag"]),
            (r#"{"udp":"0.0.0.0:1","allow":"::/0","tag":""}"#, &["tag"]),
        ] {
            let syslog: Syslog = serde_json::from_str(json).unwrap();
            let mut problems = Vec::new();
            syslog.checked(&mut problems);
            assert_eq!(problems.iter().map(|problem| problem.key).collect::<Vec<_>>(), wrong, "{json}");
        }
    }

    #[test]
    fn a_mail_listener_has_networks_and_addresses_with_tags() {
        for (json, wrong) in [
            (r#"{"allow":"10.0.0.0/8","domain":"Hal.example.com","tags":["backup.>","ups"]}"#, &[][..]),
            (
                r#"{"allow":"10.0.0.0/8","addresses":{"ups@x.example":"power.ups"},"severity":"warning","severities":{"Failed":"error"}}"#,
                &[],
            ),
            (r#"{}"#, &["allow", "tags"]),
            (r#"{"allow":"10.0.0.0/8","tags":"x"}"#, &["domain"]),
            (
                r#"{"allow":"10.0.0.0/8","domain":"x@y","tags":["a..b"],"listen":"here"}"#,
                &["listen", "domain", "tags"],
            ),
            (
                r#"{"allow":"10.0.0.0/8","addresses":{"ups":"a..b"},"severities":{"":"error"}}"#,
                &["severities", "addresses", "addresses"],
            ),
        ] {
            let mail: Mail = serde_json::from_str(json).unwrap();
            let mut problems = Vec::new();
            mail.checked(&mut problems);
            assert_eq!(problems.iter().map(|problem| problem.key).collect::<Vec<_>>(), wrong, "{json}");
        }
    }
}
