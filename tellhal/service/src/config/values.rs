//! Values with the same form in every configuration: durations, sizes, addresses to listen on, one or several texts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::LEFT_OUT;

/// The longest time a window, a hold or a wait may take.
const LONGEST: Duration = Duration::from_secs(5 * 24 * 3600);

/// One value, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The values, each with the end of its key's path: empty for a single value, `[i]` in a list.
    pub fn items(&self) -> Vec<(String, &str)> {
        match self {
            OneOrMany::One(one) => vec![(String::new(), one.as_str())],
            OneOrMany::Many(many) => {
                let all = many.iter().enumerate().filter(|(_, one)| *one != LEFT_OUT);
                all.map(|(i, one)| (format!("[{i}]"), one.as_str())).collect()
            }
        }
    }

    /// True for an empty list.
    pub fn is_empty(&self) -> bool {
        matches!(self, OneOrMany::Many(many) if many.is_empty())
    }
}

/// A duration from one second to five days; the error is the problem and a hint.
pub fn duration(text: &str) -> Result<Duration, (String, String)> {
    duration_in(text, Duration::from_secs(1), LONGEST, "from 1s to 5 days, such as 10m")
}

/// A duration from `least` to `most`; `range` is the hint for others, with an example.
pub fn duration_in(
    text: &str,
    least: Duration,
    most: Duration,
    range: &str,
) -> Result<Duration, (String, String)> {
    let range = range.to_owned();
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err((format!("{text:?} is not longer than zero"), range)),
        Ok(time) if time < least || time > most => Err((format!("{text} is out of range"), range)),
        Ok(time) => Ok(time),
        Err(_) if text.trim_start().starts_with('-') => Err((format!("{text:?} is negative"), range)),
        Err(_) => Err((
            format!("{text:?} is not a duration"),
            "a number and a unit: 30s, 10m, 1h 30m, 2days".into(),
        )),
    }
}

/// The smallest size of a stream: some of the largest messages.
pub const LEAST_SIZE: u64 = 4 << 20;
/// The largest size of a stream.
const LARGEST_SIZE: u64 = 16 << 40;

/// The size of a stream in bytes, from 4 MiB to 16 TiB; the error is the problem and a hint.
pub(super) fn size(text: &str) -> Result<u64, (String, String)> {
    let hint = "from 4MiB to 16TiB, such as 2GiB".to_owned();
    let plain = || text.trim().parse::<u64>().is_ok().then(|| format!("{text:?} has no unit"));
    match text.parse::<ByteSize>() {
        Ok(size) if plain().is_none() && (LEAST_SIZE..=LARGEST_SIZE).contains(&size.0) => Ok(size.0),
        Ok(_) => Err((plain().unwrap_or_else(|| format!("{text} is out of range")), hint)),
        Err(_) => Err((format!("{text:?} is not a size"), hint)),
    }
}

/// An address and a port to listen on; the error is the problem and a hint.
pub fn listen_address(text: &str, example: &str) -> Result<SocketAddr, (String, String)> {
    text.parse().map_err(|_| (format!("{text:?} is not an address and a port"), format!("such as {example}")))
}

/// The default state folder: systemd's, else the user's.
pub(super) fn default_state_dir(service: &str, env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    // systemd separates several by colons; ours is the first.
    if let Some(given) = set("STATE_DIRECTORY") {
        return given.split(':').next().map(PathBuf::from);
    }
    let state = set("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    state.map(|state| state.join(service))
}
