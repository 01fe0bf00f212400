//! Requests for the tests of kinds.

use axum::http::{HeaderMap, HeaderName};

use super::{Event, Kind, Read, Refusal, Request};

/// The events of a request of a kind with a format of its own.
pub(super) fn posted(
    kind: &Kind,
    headers: &[(&'static str, &str)],
    body: &str,
) -> Result<Vec<Event>, Refusal> {
    let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    let headers: HeaderMap = headers.collect();
    let request =
        Request { headers: &headers, body: body.as_bytes(), token: None, path: "", query: "", now: 0 };
    let Read::Own(read) = kind.read else { panic!("{} has no format of its own", kind.name) };
    let events = read(&request)?;
    for name in events.iter().flat_map(|event| event.parts.keys()) {
        assert!(kind.parts.contains(&name.as_str()), "{} has no part {name}", kind.name);
    }
    assert!(events.iter().all(|event| !event.title.is_empty()), "{events:?}");
    Ok(events)
}
