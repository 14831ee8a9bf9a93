//! Atom bytes <-> pages: RFC 4287, RFC 5005, and what the ICT4H atomfeed clients of OpenMRS and
//! Bahmni need besides. Implements `docs/protocol.md` §1.
//!
//! A page never carries patient content: ids, times, counts and links only. The same page gives
//! the same bytes, so that its ETag holds; an archived page's bytes depend on nothing that comes
//! after it.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

pub use read::read;

use crate::change::Author;
use crate::feed::{Action, Entry, EntryKind, FeedInfo, FeedPage};
use crate::id::{Epoch, FeedId, RecordRef};
use crate::time::Timestamp;

/// The namespace of RFC 4287.
const ATOM: &str = "http://www.w3.org/2005/Atom";
/// The namespace of RFC 5005.
const HISTORY: &str = "http://purl.org/syndication/history/1.0";
/// The namespace of what only another Tributary site reads.
const TRIBUTARY: &str = "urn:tributary:feed:1";
/// The media type of pages and of links to them.
pub const ATOM_TYPE: &str = "application/atom+xml";
/// The media type of links to records.
const FHIR_TYPE: &str = "application/fhir+json";
/// The content type that the ICT4H clients expect.
const CONTENT_TYPE: &str = "application/vnd.atomfeed+xml";
/// The ICT4H clients keep ids and titles in columns of this many characters.
const COLUMN_CHARACTERS: usize = 255;

/// Which URL the page was asked for by; decides its `self` link only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// `.../recent`
    Recent,
    /// `.../{n}`
    Numbered,
}

/// A page as its XML carries it: ours, or another publisher's as far as it could be understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AtomPage {
    /// `atom:id`; empty where the publisher gave none.
    pub id: String,
    /// For people.
    pub title: String,
    /// When the newest entry was recorded.
    pub updated: Option<Timestamp>,
    /// The publishing site.
    pub author: Option<String>,
    /// The feed's own links, in document order.
    pub links: Vec<AtomLink>,
    /// Whether the page says (RFC 5005) that it will never change again.
    pub archive: bool,
    /// What a Tributary site tells of the feed.
    pub source: Option<AtomSource>,
    /// In document order, which is the order of positions.
    pub entries: Vec<AtomEntry>,
}

/// The feed, as `t:feed` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtomSource {
    /// Stays the same whatever the feed is called.
    pub id: FeedId,
    /// The publishing site's epoch.
    pub epoch: Epoch,
    /// The newest position; archived pages do not tell it, because they never change.
    pub head: Option<u64>,
}

/// A link of a feed or of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtomLink {
    /// `alternate` where the document leaves it out, as RFC 4287 says.
    pub rel: String,
    /// The media type, where it is said.
    pub media: Option<String>,
    /// The URL, as written.
    pub href: String,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AtomEntry {
    /// `atom:id`.
    pub id: String,
    /// For people; ids only.
    pub title: String,
    /// When the publisher recorded it.
    pub updated: Option<Timestamp>,
    /// The same.
    pub published: Option<Timestamp>,
    /// The site where the change was made.
    pub author: Option<String>,
    /// Site of origin, action, resource types.
    pub categories: Vec<String>,
    /// First `alternate`, the first record; then `related`, the others.
    pub links: Vec<AtomLink>,
    /// Counts by type.
    pub summary: Option<String>,
    /// The text of the content, from CDATA or not.
    pub content: Option<String>,
    /// What a Tributary site tells of the entry.
    pub change: Option<AtomChange>,
}

/// One entry, as `t:change` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtomChange {
    /// Its number in the feed.
    pub position: u64,
    /// What it tells.
    pub kind: EntryKind,
    /// Whose records these are.
    pub patients: Vec<RecordRef>,
    /// Who made the change at its origin.
    pub author: Option<Author>,
    /// Why a patient left.
    pub reason: Option<String>,
}

impl AtomPage {
    /// The first link of the feed with this `rel`.
    pub fn link(&self, rel: &str) -> Option<&str> {
        self.links.iter().find(|link| link.rel == rel).map(|link| link.href.as_str())
    }

    /// What the XML of `page` carries. `base_url` is the site's public URL; a slash at its end
    /// makes no difference.
    pub fn of(page: &FeedPage, view: View, base_url: &str) -> AtomPage {
        let feed = &page.feed;
        let archive = feed.is_archived(page.number);
        AtomPage {
            id: format!("urn:uuid:{}#{}", feed.id, page.number),
            title: shown(&feed.title),
            updated: Some(page.entries.last().map_or(feed.created, |entry| entry.at)),
            author: Some(page.site.to_string()),
            links: page_links(feed, page.number, view, base_url.trim_end_matches('/')),
            archive,
            source: Some(AtomSource {
                id: feed.id,
                epoch: feed.epoch,
                head: (!archive).then_some(feed.head),
            }),
            entries: page
                .entries
                .iter()
                .map(|entry| AtomEntry::of(entry, feed, base_url))
                .collect(),
        }
    }
}

/// The bytes of a page.
pub fn write(page: &FeedPage, view: View, base_url: &str) -> String {
    write::document(&AtomPage::of(page, view, base_url))
}

fn page_links(feed: &FeedInfo, number: u64, view: View, base: &str) -> Vec<AtomLink> {
    let url = |last: &dyn std::fmt::Display| format!("{base}/feeds/{}/{last}", feed.name);
    let link = |rel: &str, href: String| AtomLink {
        rel: rel.to_owned(),
        media: Some(ATOM_TYPE.to_owned()),
        href: shown_whole(&href),
    };
    let own = match view {
        View::Recent => url(&"recent"),
        View::Numbered => url(&number),
    };
    // Without `via` on every page, `recent` included, the ICT4H clients stop with an error.
    let mut links = vec![link("self", own), link("via", url(&number))];
    if number > 1 {
        links.push(link("prev-archive", url(&(number - 1))));
    }
    if feed.is_archived(number) {
        links.push(link("current", url(&"recent")));
        // To the newest page too, though that one is no archive yet: who walks forward by this
        // link alone would otherwise never reach what is on it.
        links.push(link("next-archive", url(&(number + 1))));
    }
    links
}

impl AtomEntry {
    fn of(entry: &Entry, feed: &FeedInfo, base_url: &str) -> AtomEntry {
        let base = base_url.trim_end_matches('/');
        let records = concerned(entry);
        let url = |record: &RecordRef| shown_whole(&format!("{base}/fhir/{record}"));
        let link = |(index, record): (usize, &RecordRef)| AtomLink {
            rel: if index == 0 { "alternate" } else { "related" }.to_owned(),
            media: Some(FHIR_TYPE.to_owned()),
            href: url(record),
        };
        let content = entry.patients.first().filter(|_| records.is_empty()).or(records.first());
        AtomEntry {
            id: entry_id(entry, feed),
            title: entry_title(entry, &records),
            updated: Some(entry.at),
            published: Some(entry.at),
            author: Some(entry.origin.to_string()),
            categories: categories(entry, &records),
            links: records.iter().enumerate().map(link).collect(),
            summary: Some(summary(&records)),
            content: content.map(|record| serde_json::json!({ "fhir": url(record) }).to_string()),
            change: Some(AtomChange {
                position: entry.position,
                kind: entry.kind,
                patients: entry.patients.clone(),
                author: entry.author.as_ref().map(|author| Author::new(&shown(author.as_str()))),
                reason: entry.reason.as_deref().map(shown),
            }),
        }
    }
}

/// The records that an entry is about: a join or leave is about its patients.
fn concerned(entry: &Entry) -> Vec<RecordRef> {
    if entry.records.is_empty() {
        return entry.patients.clone();
    }
    entry.records.iter().map(|(record, _)| record.clone()).collect()
}

/// A change's own name, the same in every feed; else a name made of feed and position, which no
/// other entry ever has.
fn entry_id(entry: &Entry, feed: &FeedInfo) -> String {
    match (&entry.change, entry.kind) {
        (Some(change), EntryKind::Change) => change.to_string(),
        (None, EntryKind::Change) => format!("urn:tributary:entry:{}:{}", feed.id, entry.position),
        (_, EntryKind::Join | EntryKind::Leave) => {
            format!("urn:tributary:membership:{}:{}", feed.id, entry.position)
        }
    }
}

fn entry_title(entry: &Entry, records: &[RecordRef]) -> String {
    let Some(first) = records.first() else { return format!("Change {}", entry.position) };
    let others = match records.len() - 1 {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    match entry.kind {
        EntryKind::Change => format!("{first}{others}"),
        EntryKind::Join => format!("{first}{others} joined"),
        EntryKind::Leave => format!("{first}{others} left"),
    }
}

/// Terms never contain a comma: clients that join them with one can take them apart again.
fn categories(entry: &Entry, records: &[RecordRef]) -> Vec<String> {
    let mut terms = vec![entry.origin.to_string(), action(entry).to_owned()];
    for record in records {
        if !terms[2..].iter().any(|term| term == record.kind.name()) {
            terms.push(record.kind.name().to_owned());
        }
    }
    terms
}

fn action(entry: &Entry) -> &'static str {
    let all = |wanted| entry.records.iter().all(|(_, action)| *action == wanted);
    match entry.kind {
        EntryKind::Join => "JOIN",
        EntryKind::Leave => "LEAVE",
        EntryKind::Change if entry.records.is_empty() => "UPDATED",
        EntryKind::Change if all(Action::Created) => "CREATED",
        EntryKind::Change if all(Action::Deleted) => "DELETED",
        EntryKind::Change => "UPDATED",
    }
}

/// `1 Patient, 1 Encounter, 2 Observation`: counts by type, in the order of their first records.
fn summary(records: &[RecordRef]) -> String {
    let mut counts = BTreeMap::new();
    let mut kinds = Vec::new();
    for record in records {
        let count = counts.entry(record.kind).or_insert(0usize);
        if *count == 0 {
            kinds.push(record.kind);
        }
        *count += 1;
    }
    let texts: Vec<_> = kinds.iter().map(|kind| format!("{} {kind}", counts[kind])).collect();
    texts.join(", ")
}

/// Text for people: one line, without what XML cannot carry, cut to what readers can store.
fn shown(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let cut: String = shown_whole(line.trim()).chars().take(COLUMN_CHARACTERS).collect();
    cut.trim_end().to_owned()
}

/// `text` without the characters that XML 1.0 forbids, even escaped.
fn shown_whole(text: &str) -> String {
    text.chars().map(|c| if write::is_xml(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}
