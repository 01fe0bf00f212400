//! The schedules as people read them, in a chat and on a terminal, and as data. Pure.

use serde::Serialize;
use service::zone::Zone;
use tellhal::Timestamp;

use super::job::Job;
use super::record::Record;

/// One schedule, now.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    name: String,
    when: String,
    tag: String,
    next: Option<Timestamp>,
    last: Option<Timestamp>,
    outcome: Option<String>,
    failed: bool,
    paused_by: Option<String>,
    paused_until: Option<Timestamp>,
    running: bool,
}

impl Listed {
    pub(crate) fn new(job: &Job, record: Option<&Record>, now: Timestamp) -> Listed {
        let last = record.and_then(|record| record.last.as_ref());
        let paused = record.and_then(|record| record.paused.as_ref());
        let from = paused.and_then(|paused| paused.until).unwrap_or(now);
        Listed {
            name: job.name.clone(),
            when: job.when.to_string(),
            tag: job.tag.as_str().to_owned(),
            next: job
                .when
                .next_after(from.max(now))
                .filter(|_| paused.is_none_or(|paused| paused.until.is_some())),
            last: last.map(|last| last.at),
            outcome: last.map(|last| last.outcome.clone()),
            failed: last.is_some_and(|last| last.failed),
            paused_by: paused.map(|paused| paused.by.clone()),
            paused_until: paused.and_then(|paused| paused.until),
            running: record.is_some_and(|record| record.running.is_some() || record.firing.is_some()),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self, zone: &Zone) -> [String; 4] {
        let next = match (&self.next, &self.paused_by) {
            (_, Some(by)) => match self.paused_until {
                Some(until) => format!("paused by {by} until {}", zone.date_and_clock(until)),
                None => format!("paused by {by}"),
            },
            (Some(next), None) => zone.date_and_clock(*next),
            (None, None) => "never".into(),
        };
        let last = match (self.running, self.last, &self.outcome) {
            (true, ..) => "runs now".into(),
            (false, Some(at), Some(outcome)) => {
                format!("{} {}{outcome}", zone.date_and_clock(at), if self.failed { "✗ " } else { "" })
            }
            _ => "-".into(),
        };
        [self.name.clone(), self.when.clone(), next, last]
    }
}

/// The schedules in columns.
pub(crate) fn table<'a>(rows: impl IntoIterator<Item = &'a Listed>, zone: &Zone) -> String {
    let head = ["schedule", "due", "next", "last"].map(str::to_owned);
    let rows: Vec<[String; 4]> =
        [head].into_iter().chain(rows.into_iter().map(|row| row.cells(zone))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let line = |[name, when, next, last]: &[String; 4]| {
        let [a, b, c] = widths;
        format!("{name:a$}  {when:b$}  {next:c$}  {last}").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
