//! The signature of Slack's requests: HMAC-SHA256 with the app's secret, over the time and the body as it came. Pure.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::secret::Secret;

/// The headers of a signed request.
pub const TIMESTAMP: &str = "x-slack-request-timestamp";
pub const SIGNATURE: &str = "x-slack-signature";
/// The age of a request, in seconds, from which on it is not taken; also the age of one from the future.
const WINDOW: u64 = 300;

/// The reason why a request is not Slack's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Unsigned,
    Stale,
    Wrong,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Unsigned => "it is not signed",
            Refusal::Stale => "its time is more than five minutes away from this machine's",
            Refusal::Wrong => "its signature is wrong",
        })
    }
}

/// True if `body` was signed with `secret`, by the values of the two headers. `now` is in seconds since 1970.
pub fn verify(
    secret: &Secret,
    timestamp: Option<&str>,
    signature: Option<&str>,
    body: &[u8],
    now: u64,
) -> Result<(), Refusal> {
    let (timestamp, signature) = timestamp.zip(signature).ok_or(Refusal::Unsigned)?;
    let is_near = timestamp.parse::<u64>().is_ok_and(|at| now.abs_diff(at) <= WINDOW);
    if !is_near {
        return Err(Refusal::Stale);
    }
    let right = sign(secret, timestamp, body).ok_or(Refusal::Wrong)?;
    bool::from(right.as_bytes().ct_eq(signature.as_bytes())).then_some(()).ok_or(Refusal::Wrong)
}

fn sign(secret: &Secret, timestamp: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).ok()?;
    [b"v0:", timestamp.as_bytes(), b":", body].iter().for_each(|part| mac.update(part));
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("v0={hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in Slack's documentation.
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const AT: u64 = 1_531_420_618;
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const RIGHT: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    fn check(at: &str, signature: &str, body: &str, now: u64) -> Result<(), Refusal> {
        verify(&Secret::new(SECRET), Some(at), Some(signature), body.as_bytes(), now)
    }

    #[test]
    fn the_documented_example_verifies_within_five_minutes() {
        let at = AT.to_string();
        for now in [AT, AT + WINDOW, AT - WINDOW] {
            assert_eq!(check(&at, RIGHT, BODY, now), Ok(()));
        }
        for now in [AT + WINDOW + 1, AT - WINDOW - 1, 0, u64::MAX] {
            assert_eq!(check(&at, RIGHT, BODY, now), Err(Refusal::Stale));
        }
        for wrong in ["", "-1", "1e9", "soon", "99999999999999999999"] {
            assert_eq!(check(wrong, RIGHT, BODY, AT), Err(Refusal::Stale), "{wrong}");
        }
    }

    #[test]
    fn anything_else_is_wrong() {
        let at = AT.to_string();
        let other = Secret::new("another app's secret");
        assert_eq!(verify(&other, Some(&at), Some(RIGHT), BODY.as_bytes(), AT), Err(Refusal::Wrong));
        assert_eq!(check(&at, RIGHT, &BODY.replace("text=", "text=%20"), AT), Err(Refusal::Wrong));
        assert_eq!(check(&(AT + 1).to_string(), RIGHT, BODY, AT), Err(Refusal::Wrong));
        for wrong in [
            "",
            "v0=",
            &RIGHT[..40],
            &RIGHT.to_uppercase(),
            &RIGHT.replace("v0=", "v1="),
            &format!("{RIGHT}0"),
        ] {
            assert_eq!(check(&at, wrong, BODY, AT), Err(Refusal::Wrong), "{wrong}");
        }
        let unsigned = [(None, Some(RIGHT)), (Some(at.as_str()), None)];
        for (at, signature) in unsigned {
            assert_eq!(verify(&other, at, signature, b"", AT), Err(Refusal::Unsigned));
        }
    }
}
