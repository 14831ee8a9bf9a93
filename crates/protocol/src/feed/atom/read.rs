//! Bytes to a page's model: our own pages completely, other publishers' as far as needed.
//!
//! Elements of other namespaces, unknown elements and unknown attributes are passed over.
//! Document type declarations and entities other than XML's own five are refused: no feed needs
//! them, and they are how a small document makes a large one.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, NamespaceResolver, ResolveResult};
use quick_xml::reader::NsReader;

use super::{ATOM, AtomChange, AtomEntry, AtomLink, AtomPage, AtomSource, HISTORY, TRIBUTARY};
use crate::change::Author;
use crate::error::Refusal;
use crate::feed::EntryKind;
use crate::time::Timestamp;

/// Elements within elements; ours have five, XHTML content of others a few more.
const DEPTH: usize = 64;

/// Reads one page. Refuses what is over `max_bytes`, not UTF-8, not well-formed, cut short, no
/// Atom feed, nested too deeply, or declares a document type or entities.
pub fn read(bytes: &[u8], max_bytes: usize) -> Result<AtomPage, Refusal> {
    if bytes.len() > max_bytes {
        return Err(Refusal::over_limit("feed page bytes", max_bytes));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| Refusal::malformed("the feed is not in UTF-8"))?;
    let mut xml = NsReader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut page = Builder::default();
    loop {
        let at = xml.buffer_position();
        let broken = |error: &dyn std::fmt::Display| malformed(at, error);
        match xml.read_event().map_err(|error| broken(&error))? {
            Event::Start(tag) => page.start(&tag, xml.resolver()).map_err(|e| broken(&e))?,
            Event::Empty(tag) => {
                page.start(&tag, xml.resolver()).map_err(|e| broken(&e))?;
                page.end();
            }
            Event::End(_) => page.end(),
            Event::Text(text) => page.text(&text.xml10_content()).map_err(|e| broken(&e))?,
            Event::CData(text) => page.text(&text.xml10_content()).map_err(|e| broken(&e))?,
            Event::GeneralRef(name) => match name.resolve_char_ref() {
                Ok(Some(c)) => page.text(c.encode_utf8(&mut [0; 4])).map_err(|e| broken(&e))?,
                Ok(None) => match resolve_predefined_entity(&name) {
                    Some(text) => page.text(text).map_err(|e| broken(&e))?,
                    None => return Err(broken(&"entities are not read")),
                },
                Err(_) => return Err(broken(&"a character reference names no character")),
            },
            Event::DocType(_) => return Err(broken(&"document type declarations are not read")),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => return page.finish(),
        }
    }
}

fn malformed(at: u64, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::malformed(format!("the feed cannot be read at byte {at}: {error}"))
}

/// An element that matters to us, inside the elements that it is inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Feed,
    Id,
    Title,
    Updated,
    Published,
    Author,
    Name,
    Summary,
    Content,
    Entry,
    /// Anything else, with all that is in it.
    Other,
}

#[derive(Default)]
struct Builder {
    page: AtomPage,
    entry: Option<AtomEntry>,
    open: Vec<Place>,
    /// The text of the innermost element that is read for its text.
    text: String,
    /// Whether the root element has ended.
    ended: bool,
}

impl Builder {
    fn start(&mut self, tag: &BytesStart<'_>, names: &NamespaceResolver) -> Result<(), String> {
        if self.ended {
            return Err("something follows the end of the feed".to_owned());
        }
        if self.open.len() >= DEPTH {
            return Err(format!("it is nested deeper than {DEPTH} elements"));
        }
        let (namespace, local) = names.resolve_element(tag.name());
        let namespace = match namespace {
            ResolveResult::Bound(Namespace(name)) => name,
            ResolveResult::Unbound => "",
            ResolveResult::Unknown(_) => return Err("a prefix is not declared".to_owned()),
        };
        let attributes = attributes(tag)?;
        let place = self.place(namespace, local.as_ref())?;
        match (namespace, local.as_ref()) {
            _ if self.inside_other() => {}
            (ATOM, "link") => self.link(&attributes),
            (ATOM, "category") => self.category(&attributes),
            (HISTORY, "archive") if self.entry.is_none() => self.page.archive = true,
            (TRIBUTARY, "feed") if self.entry.is_none() => self.page.source = source(&attributes),
            (TRIBUTARY, "change") => {
                if let Some(entry) = &mut self.entry {
                    entry.change = change(&attributes);
                }
            }
            _ => {}
        }
        if place == Place::Entry {
            self.entry = Some(AtomEntry::default());
        }
        // Inside of a text element (XHTML in a title) the text goes on.
        if place != Place::Other {
            self.text.clear();
        }
        self.open.push(place);
        Ok(())
    }

    fn inside_other(&self) -> bool {
        !matches!(self.open.last(), Some(Place::Feed | Place::Entry))
    }

    fn place(&self, namespace: &str, local: &str) -> Result<Place, String> {
        let Some(parent) = self.open.last() else {
            return match (namespace, local) {
                (ATOM, "feed") => Ok(Place::Feed),
                _ => Err("the document is not an Atom feed".to_owned()),
            };
        };
        if namespace != ATOM {
            return Ok(Place::Other);
        }
        Ok(match (parent, local) {
            (Place::Feed, "entry") => Place::Entry,
            (Place::Feed | Place::Entry, "id") => Place::Id,
            (Place::Feed | Place::Entry, "title") => Place::Title,
            (Place::Feed | Place::Entry, "updated") => Place::Updated,
            (Place::Feed | Place::Entry, "author") => Place::Author,
            (Place::Author, "name") => Place::Name,
            (Place::Entry, "published") => Place::Published,
            (Place::Entry, "summary") => Place::Summary,
            (Place::Entry, "content") => Place::Content,
            _ => Place::Other,
        })
    }

    fn text(&mut self, text: &str) -> Result<(), &'static str> {
        if self.open.is_empty() && !text.trim().is_empty() {
            return Err("there is text outside of the feed");
        }
        self.text.push_str(text);
        Ok(())
    }

    fn end(&mut self) {
        let Some(place) = self.open.pop() else { return };
        self.ended = self.open.is_empty();
        if place == Place::Other {
            return;
        }
        let text = std::mem::take(&mut self.text);
        match (place, &mut self.entry) {
            (Place::Entry, entry) => self.page.entries.extend(entry.take()),
            (Place::Id, Some(entry)) => trimmed(&text).clone_into(&mut entry.id),
            (Place::Id, None) => trimmed(&text).clone_into(&mut self.page.id),
            (Place::Title, Some(entry)) => trimmed(&text).clone_into(&mut entry.title),
            (Place::Title, None) => trimmed(&text).clone_into(&mut self.page.title),
            (Place::Updated, Some(entry)) => entry.updated = time(&text),
            (Place::Updated, None) => self.page.updated = time(&text),
            (Place::Published, Some(entry)) => entry.published = time(&text),
            (Place::Name, Some(entry)) => entry.author = Some(trimmed(&text).to_owned()),
            (Place::Name, None) => self.page.author = Some(trimmed(&text).to_owned()),
            (Place::Summary, Some(entry)) => entry.summary = Some(trimmed(&text).to_owned()),
            (Place::Content, Some(entry)) => entry.content = Some(text),
            _ => {}
        }
    }

    fn link(&mut self, attributes: &[(String, String)]) {
        let Some(href) = value(attributes, "href") else { return };
        let link = AtomLink {
            rel: value(attributes, "rel").unwrap_or("alternate").to_owned(),
            media: value(attributes, "type").map(str::to_owned),
            href: href.to_owned(),
        };
        match &mut self.entry {
            Some(entry) => entry.links.push(link),
            None => self.page.links.push(link),
        }
    }

    fn category(&mut self, attributes: &[(String, String)]) {
        if let (Some(entry), Some(term)) = (&mut self.entry, value(attributes, "term")) {
            entry.categories.push(term.to_owned());
        }
    }

    fn finish(self) -> Result<AtomPage, Refusal> {
        match (self.ended, self.open.is_empty()) {
            (true, _) => Ok(self.page),
            (false, true) => Err(Refusal::malformed("the feed is empty")),
            (false, false) => Err(Refusal::malformed("the feed is cut short")),
        }
    }
}

/// All attributes by their names as written: those we read have no prefix.
fn attributes(tag: &BytesStart<'_>) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|_| "an attribute holds an entity that is not read".to_owned())?;
        all.push((attribute.key.as_ref().to_owned(), value.into_owned()));
    }
    Ok(all)
}

fn value<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// A time that cannot be read is no time: nothing is decided by it.
fn time(text: &str) -> Option<Timestamp> {
    trimmed(text).parse().ok()
}

fn source(attributes: &[(String, String)]) -> Option<AtomSource> {
    Some(AtomSource {
        id: value(attributes, "id")?.parse().ok()?,
        epoch: value(attributes, "epoch")?.parse().ok()?,
        head: value(attributes, "head").and_then(|head| head.parse().ok()),
    })
}

fn change(attributes: &[(String, String)]) -> Option<AtomChange> {
    let patients = value(attributes, "patient").unwrap_or("").split_whitespace();
    Some(AtomChange {
        position: value(attributes, "position")?.parse().ok()?,
        kind: EntryKind::named(value(attributes, "kind")?)?,
        patients: patients.map(str::parse).collect::<Result<_, _>>().ok()?,
        author: value(attributes, "author").map(Author::new),
        reason: value(attributes, "reason").map(str::to_owned),
    })
}
