//! Addresses of HTTP endpoints as they are written in a configuration: private or public, plain or over TLS. Never
//! shows one, since it may contain a token.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use crate::config::KeyProblem;

/// True if the host is a private IP address; names are checked when they are resolved.
pub(super) fn is_private_literal(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']').parse().is_ok_and(is_private)
}

/// True if an address is not one of the public Internet.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || a >= 224
        || (a, b & 0xc0) == (100, 64)
        || (a, b, c) == (192, 0, 0)
        || (a, b & 0xfe) == (198, 18)
}

/// Also addresses that contain a private IPv4 address: mapped, compatible, NAT64, 6to4; and all of Teredo.
fn is_private_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_private_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 1, ..] => true,
        [0x2002, high, low, ..] => v4(high, low),
        [0x2001, 0 | 0xdb8, ..] => true,
        [first, ..] => first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80 || first & 0xff00 == 0xff00,
    }
}

/// True if a host that is written in a configuration is this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The mistake in an address that is written in a configuration. Never shows the address: it may contain a token.
pub fn address_problem(key: &'static str, address: &str, allow_private: bool) -> Option<KeyProblem> {
    let Ok(url) = Url::parse(address) else {
        return Some(KeyProblem::new(key, "it is not an address", "write https://host/path"));
    };
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        _ if host.is_empty() => Some(KeyProblem::new(key, "it has no host", "write https://host/path")),
        "https" => None,
        "http" if allow_private || is_loopback(host) => None,
        "http" => Some(KeyProblem::new(
            key,
            format!("posts to {host} would go in the clear"),
            "write https, or allow_private = true for a network you trust",
        )),
        scheme => {
            Some(KeyProblem::new(key, format!("{scheme} is not http or https"), "write https://host/path"))
        }
    }
}

/// As [`address_problem`], and an address that names this machine or a private network is a problem too.
pub fn public_problem(key: &'static str, address: &str) -> Option<KeyProblem> {
    let private = |url: &Url| is_private_literal(url) || is_loopback(url.host_str().unwrap_or_default());
    if Url::parse(address).is_ok_and(|url| private(&url)) {
        let what = "it is this machine's address or a private network's";
        return Some(KeyProblem::new(key, what, "write allow_private = true to allow it"));
    }
    address_problem(key, address, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_recognized_in_every_form() {
        let private = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.19.0.1",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "::127.0.0.1",
            "2001::1",
        ];
        for address in private {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in
            ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
        {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        let what = |address, allow| address_problem("url", address, allow).map(|problem| problem.what);
        for fine in ["https://a.b/c", "http://127.0.0.1:9/x", "http://[::1]/", "http://localhost"] {
            assert_eq!(what(fine, false), None, "{fine}");
        }
        assert_eq!(what("http://a.b/token", false).unwrap(), "posts to a.b would go in the clear");
        assert_eq!(what("http://a.b/token", true), None);
        assert_eq!(what("ftp://a.b", true).unwrap(), "ftp is not http or https");
        assert_eq!(what("a.b/token", true).unwrap(), "it is not an address");
    }
}
