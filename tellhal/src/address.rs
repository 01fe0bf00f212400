//! Addresses of NATS servers, and mistakes in them. No text of a mistake shows a user, password or token.

use async_nats::ServerAddr;

/// The mistake in `url` and how to correct it; `None` for the address of a server.
pub fn problem(url: &str) -> Option<String> {
    // An unescaped / ? or # ends the address early: the rest of the password, and the server, would be lost.
    let (login, _) = rest(url).rsplit_once('@').unwrap_or_default();
    if let Some(sign) = login.chars().find(|sign| matches!(sign, '/' | '?' | '#')) {
        return Some(format!("the password in it holds an unescaped {sign}; write %{:02X}", u32::from(sign)));
    }
    if !url.is_empty() && url.parse::<ServerAddr>().is_ok() {
        return None;
    }
    let mistake = format!("{:?} is not an address of a server", crate::refusal::redact(url));
    match rest(url).contains(':') {
        true => Some(format!("{mistake}; in a password write %40 for @, %2F for /, %2C for a comma")),
        false => Some(mistake),
    }
}

/// A warning about `url`, which works: the last @ ends the login.
pub fn warning(url: &str) -> Option<String> {
    let (login, _) = rest(url).rsplit_once('@')?;
    login.contains('@').then(|| "the password in it holds an unescaped @; write %40".into())
}

fn rest(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_an_address_is_named_and_its_secret_is_not() {
        for good in
            ["nats://h", "h:4222", "tls://bob:p%40ss@h:1", "nats://token@[::1]:4222", "nats://bob:s3cret@@h"]
        {
            assert_eq!(problem(good), None, "{good}");
        }
        for (url, words) in [
            ("nats://bob:s3/cret@h:4222", "an unescaped /; write %2F"),
            ("bob:s3/cret@h:4222", "an unescaped /; write %2F"),
            ("nats://bob:12/s3cret@h", "an unescaped /; write %2F"),
            ("nats://bob:s3cret?x@h", "an unescaped ?; write %3F"),
            ("nats://s3#cret@h", "an unescaped #; write %23"),
            ("nats://bob:s3cret", "%2C for a comma"),
            ("http://h", "\"http://h\" is not an address of a server"),
            ("", "is not an address of a server"),
        ] {
            let problem = problem(url).unwrap();
            assert!(problem.contains(words), "{url}: {problem}");
            assert!(!problem.contains("s3"), "{url}: {problem}");
        }
        assert!(warning("nats://bob:s3@cret@h").unwrap().contains("write %40"));
        assert_eq!(warning("nats://bob:s3cret@h"), None);
    }
}
