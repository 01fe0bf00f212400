//! `GET /api/export`: all messages of a search as one file, CSV or a JSON object a line.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tellhal::message::Message;
use tokio::sync::OwnedSemaphorePermit;

use super::exchange::Given;
use super::messages::{Listed, Messages, search};
use crate::index::filter::Filter;
use crate::page::Site;
use crate::page::event::Entry;
use crate::page::params::{FILTER, FORMAT, Format, Params};
use service::http::problem::Problem;

/// Number of messages read at once.
const CHUNK: usize = 50;
const COLUMNS: &str = "time,severity,status,tag,source,host,user,key,title,text,fields,links,id,sequence\r\n";

struct Export {
    site: Arc<Site>,
    filter: Filter,
    format: Format,
    /// The next part; absent after the last one.
    next: Option<Messages>,
    _permit: OwnedSemaphorePermit,
}

/// Answers with the first part at once, so that a search that cannot be complete is refused with its reason. A later
/// failure cuts the answer off, which clients report.
pub(super) async fn export(State(site): State<Arc<Site>>, query: Given) -> Result<Response, Problem> {
    let params = Params::new(query?.0, &[FILTER, FORMAT])?;
    let (filter, format) = (params.filter()?, params.format()?);
    let Ok(permit) = site.exports.clone().try_acquire_owned() else {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many exports are under way; try again later",
        ));
    };
    let first = search(&site, filter.clone(), None, CHUNK).await?;
    if let Some(incomplete) = first.incomplete.as_ref().filter(|incomplete| incomplete.before.is_none()) {
        return Err(Problem::unavailable(incomplete.reason.clone()));
    }
    let (kind, name, head) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "messages.csv", COLUMNS),
        Format::Jsonl => ("application/jsonl", "messages.jsonl", ""),
    };
    let export = Export { site, filter, format, next: Some(first), _permit: permit };
    let parts = futures_util::stream::try_unfold(export, async |mut export| {
        let Some(part) = export.next.take() else { return Ok::<_, anyhow::Error>(None) };
        let bytes = export.written(&part)?;
        export.next = export.after(&part).await?;
        Ok(Some((bytes, export)))
    });
    let head = futures_util::stream::iter([Ok(Bytes::from_static(head.as_bytes()))]);
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let body = Body::from_stream(futures_util::StreamExt::chain(head, parts));
    Ok((headers, body).into_response())
}

impl Export {
    /// The part after this one.
    async fn after(&self, part: &Messages) -> anyhow::Result<Option<Messages>> {
        let Some(before) = part.cursor.as_ref().and_then(|cursor| cursor.parse().ok()) else {
            return Ok(None);
        };
        let found = search(&self.site, self.filter.clone(), Some(before), CHUNK).await;
        found.map(Some).map_err(|problem| anyhow::anyhow!("{}", problem.detail()))
    }

    fn written(&self, part: &Messages) -> anyhow::Result<Bytes> {
        let mut text = String::new();
        for Listed { entry, .. } in &part.messages {
            match self.format {
                Format::Csv => csv(&mut text, entry)?,
                Format::Jsonl => {
                    text.push_str(&serde_json::to_string(entry)?);
                    text.push('\n');
                }
            }
        }
        Ok(text.into())
    }
}

/// One row of a CSV file, by RFC 4180.
fn csv(text: &mut String, Entry { sequence, at, message, .. }: &Entry) -> serde_json::Result<()> {
    let Message { tag, source, host, user, severity, title, key, status, fields, links, id, .. } = message;
    let json = |empty: bool, json: serde_json::Result<String>| if empty { Ok(String::new()) } else { json };
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let cells = [
        at.to_string(),
        severity.to_string(),
        status.map(|status| status.to_string()).unwrap_or_default(),
        tag.to_string(),
        source.clone(),
        optional(host),
        optional(user),
        optional(key),
        optional(title),
        message.text.clone(),
        json(fields.is_empty(), serde_json::to_string::<BTreeMap<_, _>>(fields))?,
        json(links.is_empty(), serde_json::to_string(links))?,
        id.clone(),
        sequence.to_string(),
    ];
    for (i, cell) in cells.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        write_cell(text, cell);
    }
    text.push_str("\r\n");
    Ok(())
}

/// A cell in quotes. Spreadsheets run a cell that begins like a formula, so it gets an apostrophe, as they themselves write
/// such a text.
fn write_cell(text: &mut String, cell: &str) {
    text.push('"');
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        text.push('\'');
    }
    text.push_str(&cell.replace('"', "\"\""));
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use tellhal::timestamp::Timestamp;

    #[test]
    fn a_row_has_every_column_and_no_formula() {
        let mut message =
            Message::new("db1", "disk".parse().unwrap(), "=cmd|'/c calc'!A0\nsays \"no\", twice");
        message.fields.insert("size".into(), "3 GB".into());
        message.id = "m-1".into();
        let mut text = String::new();
        csv(&mut text, &Entry { sequence: 7, at: Timestamp(0), message, marks: vec![], bytes: 0 }).unwrap();
        let wanted = "\"1970-01-01T00:00:00Z\",\"info\",\"\",\"disk\",\"db1\",\"\",\"\",\"\",\"\",\
                      \"'=cmd|'/c calc'!A0\nsays \"\"no\"\", twice\",\"{\"\"size\"\":\"\"3 GB\"\"}\",\"\",\"m-1\",\"7\"\r\n";
        assert_eq!(text, wanted);
        assert_eq!(COLUMNS.split(',').count(), 14);
    }
}
