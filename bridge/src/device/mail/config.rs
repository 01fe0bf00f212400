//! The settings of a mail listener, checked, and the tags of its addresses. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tellhal::message::Severity;
use tellhal::tag::{Pattern, Tag};

use crate::device::networks::Networks;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) allow: Networks,
    /// The domain whose addresses name tags, in lower case.
    pub(crate) domain: Option<String>,
    /// The tags that they may name.
    pub(crate) tags: Vec<Pattern>,
    /// Addresses with a tag of their own, in lower case.
    pub(crate) addresses: BTreeMap<String, Tag>,
    /// The severity of a mail that does not tell it.
    pub(crate) severity: Severity,
    /// The severities of words in subjects, in lower case.
    pub(crate) severities: Vec<(String, Severity)>,
}

/// The reason why a mail to an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// The domain is ours, the address is not.
    Address,
    /// Both are of others: the mail would have to be relayed.
    Domain,
}

impl Config {
    /// The tag of mails to `address`.
    pub(crate) fn tag(&self, address: &str) -> Result<Tag, Unknown> {
        let lower = address.to_lowercase();
        if let Some(tag) = self.addresses.get(&lower) {
            return Ok(tag.clone());
        }
        let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
        let domain = domain.to_lowercase();
        if self.domain.as_ref() == Some(&domain) {
            let named =
                [local.to_owned(), local.to_lowercase()].into_iter().filter_map(|local| local.parse().ok());
            let mut allowed = named.filter(|tag| self.tags.iter().any(|pattern| pattern.matches(tag)));
            return allowed.next().ok_or(Unknown::Address);
        }
        let suffix = format!("@{domain}");
        let is_ours = self.addresses.keys().any(|address| address.ends_with(&suffix));
        Err(if is_ours && !domain.is_empty() { Unknown::Address } else { Unknown::Domain })
    }
}

#[cfg(test)]
pub(super) fn example() -> Config {
    let mut allow = Networks::default();
    allow.add("192.0.2.0/24").unwrap();
    Config {
        listen: ([127, 0, 0, 1], 25).into(),
        allow,
        domain: Some("hal.example.com".into()),
        tags: vec!["backup.>".parse().unwrap(), "printer".parse().unwrap()],
        addresses: [("ups@site.example".into(), "power.ups".parse().unwrap())].into(),
        severity: Severity::Notice,
        severities: vec![("failed".into(), Severity::Error), ("ok".into(), Severity::Info)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_the_tags_that_are_allowed_or_refused() {
        let config = example();
        for (address, tag) in [
            ("backup.mysql@hal.example.com", Ok("backup.mysql")),
            ("Backup.MySQL@HAL.example.com", Ok("backup.mysql")),
            ("printer@hal.example.com", Ok("printer")),
            ("UPS@site.example", Ok("power.ups")),
            ("printer.x@hal.example.com", Err(Unknown::Address)),
            ("backup@hal.example.com", Err(Unknown::Address)),
            ("backup.>@hal.example.com", Err(Unknown::Address)),
            ("backup..x@hal.example.com", Err(Unknown::Address)),
            ("backup.a%b.example@hal.example.com", Err(Unknown::Address)),
            ("\"backup.x@b.example\"@hal.example.com", Err(Unknown::Address)),
            ("other@site.example", Err(Unknown::Address)),
            ("ups@site.example.org", Err(Unknown::Domain)),
            ("backup.x@hal.example.com.evil.example", Err(Unknown::Domain)),
            ("backup.x@hal.example.com@evil.example", Err(Unknown::Domain)),
            ("backup.x", Err(Unknown::Domain)),
            ("", Err(Unknown::Domain)),
        ] {
            assert_eq!(config.tag(address).as_ref().map(Tag::as_str).map_err(|why| *why), tag, "{address}");
        }
    }
}
