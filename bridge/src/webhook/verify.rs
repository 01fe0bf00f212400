//! The proof that a request comes from the right sender: a signature over the body as it came, or a shared token. Comparisons take
//! the same time whatever differs. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use service::secret::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::request::Request;

/// The age of a signed time, in seconds, beyond which a request is not taken; also the age of one from the future.
const WINDOW: u64 = 300;
/// The least a token must have, in bits.
const BITS: usize = 128;

/// A way to prove it. A kind of intake has one or several, of which one must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// HMAC-SHA256 over the body, in hexadecimal behind `prefix`; of several between commas, one must be right.
    Hmac { header: &'static str, prefix: &'static str },
    /// Standard Webhooks, which signs an id and a time too.
    Standard,
    /// The secret itself in a header of this name.
    Header(&'static str),
    /// The secret itself in the address, as a bearer's token, or as a password.
    Token,
}

impl Proof {
    /// The secret is sent as it is, so that its length alone keeps others from guessing it.
    pub(crate) fn is_token(self) -> bool {
        matches!(self, Proof::Header(_) | Proof::Token)
    }
}

/// `Ok` if one of the `proofs` is there and right.
pub(crate) fn verify(proofs: &[Proof], secret: &Secret, request: &Request<'_>) -> Result<(), &'static str> {
    let mut refusal = "it is not signed and shows no token";
    for proof in proofs {
        match tried(*proof, secret, request) {
            Some(Ok(())) => return Ok(()),
            Some(Err(why)) => refusal = why,
            None => {}
        }
    }
    Err(refusal)
}

/// `None` if the request does not try this proof.
fn tried(proof: Proof, secret: &Secret, request: &Request<'_>) -> Option<Result<(), &'static str>> {
    let (shown, wrong) = match proof {
        Proof::Hmac { header, prefix } => {
            let given = Some(request.header(header)).filter(|given| !given.is_empty())?;
            return Some(hmac(secret, given, prefix, request.body));
        }
        Proof::Standard => return standard(secret, request),
        Proof::Header(name) => (Some(request.header(name).to_owned()), "its token is wrong"),
        Proof::Token => (request.shown_token(), "its token is wrong"),
    };
    let shown = shown.filter(|shown| !shown.is_empty())?;
    Some(is_same(&shown, secret.reveal()).then_some(()).ok_or(wrong))
}

/// Equal texts, compared in a time that tells neither the place of a difference nor the length.
pub(crate) fn is_same(a: &str, b: &str) -> bool {
    Sha256::digest(a.as_bytes()).ct_eq(&Sha256::digest(b.as_bytes())).into()
}

fn hmac(secret: &Secret, given: &str, prefix: &str, body: &[u8]) -> Result<(), &'static str> {
    let wrong = "its signature is wrong";
    let digest = keyed(secret.reveal().as_bytes(), &[body]).ok_or(wrong)?;
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let given = given.split(',').filter_map(|one| one.trim().strip_prefix(prefix));
    let is_right = given.take(16).any(|one| one.as_bytes().ct_eq(hex.as_bytes()).into());
    is_right.then_some(()).ok_or(wrong)
}

fn standard(secret: &Secret, request: &Request<'_>) -> Option<Result<(), &'static str>> {
    let named = |name: &str| {
        let svix = request.header(&format!("svix-{name}"));
        if svix.is_empty() { request.header(&format!("webhook-{name}")) } else { svix }
    };
    let (id, time, signatures) = (named("id"), named("timestamp"), named("signature"));
    if signatures.is_empty() {
        return None;
    }
    if !time.parse::<u64>().is_ok_and(|at| request.now.abs_diff(at) <= WINDOW) {
        return Some(Err("its time is more than five minutes away from this machine's"));
    }
    let key = secret.reveal();
    let key = BASE64_STANDARD.decode(key.strip_prefix("whsec_").unwrap_or(key)).unwrap_or_default();
    let wrong = "its signature is wrong";
    let Some(digest) = (!key.is_empty() && !id.is_empty())
        .then(|| keyed(&key, &[id.as_bytes(), b".", time.as_bytes(), b".", request.body]))
        .flatten()
    else {
        return Some(Err(wrong));
    };
    let right = format!("v1,{}", BASE64_STANDARD.encode(digest));
    let is_right = signatures.split(' ').take(16).any(|one| one.as_bytes().ct_eq(right.as_bytes()).into());
    Some(is_right.then_some(()).ok_or(wrong))
}

/// The id of an event's message: the same at every bridge and however often the event is delivered, and known to nobody who does not
/// know the intake's secret, since the log drops a message whose id it has seen.
pub(crate) fn message_id(secret: &Secret, intake: &str, event: &str) -> String {
    let parts = [&b"tellhal message id\0"[..], intake.as_bytes(), b"\0", event.as_bytes()];
    let digest = keyed(secret.reveal().as_bytes(), &parts).unwrap_or_default();
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().to_vec())
}

/// The mistake of a token that could be guessed: it can have at most as many bits as its characters allow.
pub(crate) fn token_problem(token: &Secret) -> Option<String> {
    let token = token.reveal();
    let hex = token.chars().filter(char::is_ascii_hexdigit).count();
    let is_hex = token.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let bits = if is_hex { 4 * hex } else { token.len() * 6 };
    let distinct = token.chars().collect::<std::collections::BTreeSet<char>>().len();
    let is_weak = bits < BITS || distinct < 8;
    is_weak.then(|| format!("a token of at least {BITS} random bits is needed, and this one has fewer"))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName};

    use super::*;

    const HUB: Proof = Proof::Hmac { header: "x-hub-signature-256", prefix: "sha256=" };

    fn check(
        proofs: &[Proof],
        secret: &str,
        headers: &[(&'static str, &str)],
        body: &str,
        now: u64,
    ) -> Result<(), &'static str> {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let headers: HeaderMap = headers.collect();
        verify(
            proofs,
            &Secret::new(secret),
            &Request { headers: &headers, body: body.as_bytes(), token: None, path: "", query: "", now },
        )
    }

    #[test]
    fn the_body_as_it_came_is_signed() {
        // GitHub's own example.
        let (secret, hex) = (
            "It's a Secret to Everybody",
            "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        );
        let right = format!("sha256={hex}");
        let hub = |given: &str, body: &str| check(&[HUB], secret, &[("x-hub-signature-256", given)], body, 0);
        assert_eq!(hub(&right, "Hello, World!"), Ok(()));
        assert_eq!(hub(&format!("sha256=00, {right}"), "Hello, World!"), Ok(()));
        assert_eq!(hub(&right, "Hello, World! "), Err("its signature is wrong"));
        for wrong in [
            hex,
            &right[..40],
            "sha256=",
            &right.to_uppercase(),
            &format!("{right}0"),
            &right.replace("256", "1"),
        ] {
            assert_eq!(hub(wrong, "Hello, World!"), Err("its signature is wrong"), "{wrong}");
        }
        let token = [("authorization", "Bearer It's a Secret to Everybody")];
        for headers in [&[][..], &[("x-hub-signature-256", "")], &token] {
            assert_eq!(check(&[HUB], secret, headers, "", 0), Err("it is not signed and shows no token"));
        }
    }

    #[test]
    fn standard_webhooks_are_good_for_five_minutes() {
        // The specification's own example.
        let (key, at) = ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1_614_265_330);
        let signature = "v1a,x v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let try_at = |secret: &str, id: &str, time: &str, now| {
            let headers = [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)];
            check(&[Proof::Standard], secret, &headers, "{\"test\": 2432232314}", now)
        };
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert_eq!(try_at(key, id, "1614265330", at), Ok(()));
        assert_eq!(try_at(&format!("whsec_{key}"), id, "1614265330", at + WINDOW), Ok(()));
        for (time, now) in [("1614265330", at + WINDOW + 1), ("1614265330", 0), ("soon", at), ("", at)] {
            assert_eq!(
                try_at(key, id, time, now),
                Err("its time is more than five minutes away from this machine's")
            );
        }
        for (secret, id) in [(key, "msg_other"), (key, ""), ("other", id), ("!", id), ("AAAA", id)] {
            assert_eq!(try_at(secret, id, "1614265330", at), Err("its signature is wrong"));
        }
    }

    #[test]
    fn a_token_is_long_and_whole() {
        let token = "kZ3pQ9vX2mB7nR4tY8wL1c";
        let header = |value: &str| {
            check(&[Proof::Header("x-gitlab-token")], token, &[("x-gitlab-token", value)], "", 0)
        };
        assert_eq!(header(token), Ok(()));
        assert_eq!([&token[..21], "x", ""].map(header).iter().filter(|tried| tried.is_err()).count(), 3);
        assert_eq!(token_problem(&Secret::new(token)), None);
        assert_eq!(token_problem(&Secret::new("0b1f6c1e-6f0e-4c1e-9d6a-3f2b7a9c8d10")), None);
        for weak in ["hunter2", "0123456789abcdef0123456789abcde", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
        {
            assert!(token_problem(&Secret::new(weak)).is_some(), "{weak}");
        }
    }
}
