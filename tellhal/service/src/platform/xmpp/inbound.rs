//! An element of the stream, bounded while it is read: neither a deep one nor a large one costs more than a fixed amount,
//! whatever a person in a room sends. The reader of nested elements recurses, so their depth must have a limit.

use tokio_xmpp::minidom::Element;
use xso::error::{Error, FromEventsError};
use xso::exports::rxml::{AttrMap, Event, QName};
use xso::{Context, FromEventsBuilder, FromXml};

/// The deepest nesting that is kept; stanzas that we read have four levels.
const DEPTH: usize = 16;
/// The most that is kept of one element, in bytes.
const SIZE: usize = 256 * 1024;

/// A stanza, or another element of the stream's top level.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) element: Element,
    /// A part of it was left out.
    pub(super) cut: bool,
}

pub(super) struct Builder {
    inner: <Element as FromXml>::Builder,
    /// The number of open elements below the top one.
    depth: usize,
    /// The number of open elements that are left out.
    skipped: usize,
    size: usize,
    cut: bool,
}

impl Builder {
    /// True if the event is kept. Ends of elements are, whatever the size.
    fn keeps(&mut self, event: &Event) -> bool {
        let (Event::XmlDeclaration(metrics, _)
        | Event::StartElement(metrics, ..)
        | Event::EndElement(metrics)
        | Event::Text(metrics, _)) = event;
        let is_end = matches!(event, Event::EndElement(_));
        let is_start = matches!(event, Event::StartElement(..));
        let fits = self.size + metrics.len() <= SIZE && !(is_start && self.depth == DEPTH);
        let keeps = self.skipped == 0 && (fits || is_end);
        match (keeps, is_start, is_end) {
            (true, true, _) => self.depth += 1,
            (true, _, true) => self.depth = self.depth.saturating_sub(1),
            (false, true, _) => self.skipped += 1,
            (false, _, true) => self.skipped -= 1,
            _ => {}
        }
        if keeps {
            self.size += metrics.len();
        }
        self.cut |= !keeps;
        keeps
    }
}

impl FromEventsBuilder for Builder {
    type Output = Inbound;

    fn feed(&mut self, event: Event, context: &Context<'_>) -> Result<Option<Inbound>, Error> {
        if !self.keeps(&event) {
            return Ok(None);
        }
        let element = self.inner.feed(event, context)?;
        Ok(element.map(|element| Inbound { element, cut: self.cut }))
    }
}

impl FromXml for Inbound {
    type Builder = Builder;

    fn from_events(name: QName, attrs: AttrMap, context: &Context<'_>) -> Result<Builder, FromEventsError> {
        let inner = <Element as FromXml>::from_events(name, attrs, context)?;
        Ok(Builder { inner, depth: 0, skipped: 0, size: 0, cut: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Inbound {
        xso::from_bytes(xml.as_bytes()).unwrap()
    }

    #[test]
    fn deep_and_large_elements_are_cut_and_the_rest_is_read() {
        let whole = read("<message xmlns='a'><body>hello</body></message>");
        assert!(!whole.cut && whole.element.get_child("body", "a").unwrap().text() == "hello");
        let deep = format!(
            "<message xmlns='a'>{}{}<body>after</body></message>",
            "<x>".repeat(2_000),
            "</x>".repeat(2_000)
        );
        let deep = read(&deep);
        assert!(deep.cut && deep.element.get_child("body", "a").unwrap().text() == "after");
        let large = read(&format!("<message xmlns='a'><body>{}</body></message>", "word ".repeat(60_000)));
        let text = large.element.get_child("body", "a").unwrap().text();
        assert!(large.cut && (1..=SIZE).contains(&text.len()), "{}", text.len());
    }
}
