//! The networks that may use a listener. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks(Vec<IpNet>);

impl Networks {
    /// Adds a network, such as `192.0.2.0/24`, or a single address. The error is the problem.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let network: IpNet = network.ok_or_else(|| format!("{text:?} is no network"))?;
        if network.addr() != network.network() {
            return Err(format!("{text} is an address with a length; its network is {}", network.trunc()));
        }
        self.0.push(network);
        Ok(())
    }

    /// True if `address` is in one of them.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// The first network that is every address.
    pub(crate) fn everywhere(&self) -> Option<String> {
        self.0.iter().find(|network| network.prefix_len() == 0).map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_networks_that_are_written() {
        let mut networks = Networks::default();
        for text in ["192.0.2.0/24", "2001:db8::/32", "127.0.0.1"] {
            networks.add(text).unwrap();
        }
        for (address, is_in) in [
            ("192.0.2.255", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.3.0", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("::1", false),
        ] {
            assert_eq!(networks.contain(address.parse().unwrap()), is_in, "{address}");
        }
        assert_eq!(networks.everywhere(), None);
        networks.add("0.0.0.0/0").unwrap();
        assert_eq!(networks.everywhere().as_deref(), Some("0.0.0.0/0"));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "here", "192.0.2.1/24", "192.0.2.0/33", "192.0.2", "example.com/24"] {
            assert!(Networks::default().add(text).is_err(), "{text}");
        }
    }
}
