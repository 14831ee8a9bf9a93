//! One turn with an Atom feed whose entries name FHIR records: that of OpenMRS's atomfeed module,
//! Bahmni's, or any other. Entries say only what changed; the records are fetched as they are now,
//! grouped by patient, and applied in the order in which they refer to each other; what they refer
//! to is fetched with them where another feed has yet to tell of it.
//!
//! What a record was when it was last read is kept: read again unchanged it is nothing, and where
//! it was edited here meanwhile, that state is what both are merged from.

mod ahead;
mod fetch;
mod names;
mod pages;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use protocol::delivery::Outcome;
use protocol::digest::ShortDigest;
use protocol::feed::EntryKind;
use protocol::resource::Record;
use protocol::stream::{OutLine, OutRecord, StreamLine, read_line, write_line};
use protocol::{Author, ChangeId, Digest, Epoch, FeedId, Limits, RecordRef, ResourceType};
use serde::{Deserialize, Serialize};
use store::{Incoming, Reading, Source, SourceEvent, SourceMark, SourcePlace, StoreError};

use self::fetch::{Client, Feeds, Fetched};
pub(crate) use self::pages::{FeedError, Mark};
use super::{Turn, info};
use crate::config::SourceConfig;
use crate::fhir_server::FhirServer;
use crate::jobs::link::ours;
use crate::metrics;
use crate::ports::LinkError;
use crate::site::Site;

/// Entries that are worked off in one turn.
const ENTRIES: usize = 100;
/// Records that are fetched at the same time.
const AT_ONCE: usize = 4;
/// Records that could not be read and are tried again in one turn, and that are kept in all.
const AGAIN: usize = 50;
const AGAIN_MOST: usize = 1_000;

/// Where the reader of a source is, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Place {
    /// By feed: the last entry that was read.
    feeds: BTreeMap<String, Mark>,
    /// Records that could not be read, and why.
    again: BTreeMap<RecordRef, String>,
}

/// Records of a source that could not be read, and why, as its place has them.
pub fn unread(place: &str) -> Vec<(String, String)> {
    let place: Place = serde_json::from_str(place).unwrap_or_default();
    place.again.into_iter().map(|(record, why)| (record.to_string(), why)).collect()
}

/// What entries of a feed name, after a mark.
pub(crate) struct After {
    /// The records of each entry.
    pub records: Vec<Vec<RecordRef>>,
    /// Where to go on.
    pub mark: Option<Mark>,
    /// Whether the feed has more.
    pub more: bool,
}

/// What the next entries of a feed of the web application at `url` name, at most `room` entries.
pub(crate) async fn after(
    server: &FhirServer,
    url: &str,
    feed: &str,
    mark: Option<&Mark>,
    room: usize,
) -> Result<After, FeedError> {
    let feeds = Feeds::of(url, server)?;
    let walked = pages::walk(&feeds, feed, mark, room).await?;
    let named = walked.entries.iter().map(|entry| names::records_of(entry, feeds.base()));
    let records = named.collect::<Result<Vec<_>, _>>()?;
    Ok(After { records, mark: walked.mark, more: walked.more })
}

/// Where a feed ends now.
pub(crate) async fn newest(
    server: &FhirServer,
    url: &str,
    feed: &str,
) -> Result<Option<Mark>, LinkError> {
    pages::newest(&Feeds::of(url, server)?, feed).await
}

/// One turn.
pub(super) async fn turn(site: &Site, source: &SourceConfig) -> Result<Turn, LinkError> {
    let client = Client::of(site, source)?;
    let known = info(site, source).await?;
    let mark = match known.as_ref().and_then(|info| info.mark) {
        Some(mark) => mark,
        None => begin(site, source).await?,
    };
    let place = known.and_then(|info| info.place);
    let mut place: Place =
        place.map_or_else(Place::default, |text| serde_json::from_str(&text).unwrap_or_default());
    let (mut wanted, mut more) = (Vec::new(), false);
    for feed in &source.feeds {
        let room = ENTRIES.saturating_sub(wanted.len());
        if room == 0 {
            more = true;
            break;
        }
        let walked = pages::walk(&client.feeds(), feed, place.feeds.get(feed), room).await?;
        for entry in &walked.entries {
            wanted.extend(names::records_of(entry, client.feeds().base())?);
        }
        more |= walked.more;
        place.feeds.extend(walked.mark.map(|mark| (feed.clone(), mark)));
    }
    if !more {
        wanted.extend(place.again.keys().take(AGAIN).cloned());
    }
    let asked = (wanted.iter().cloned().collect(), site.now());
    let mut states = fetch_all(&client, site, wanted, &mut place).await?;
    ahead::fetch((site, source, &client), asked, &mut states, &mut place).await?;
    let (applied, parked) = apply(site, source, mark, states, &place).await?;
    Ok(Turn { applied, parked, head: mark.position + applied + parked, more, ..Turn::default() })
}

/// A new source, or a new life of this site's own store: its changes are counted anew under a new
/// epoch, since numbers that were given before may have gone on to other sites.
async fn begin(site: &Site, source: &SourceConfig) -> Result<SourceMark, LinkError> {
    let feed = FeedId::from_random(site.entropy().uuid_bytes());
    let epoch = Epoch::from_random(site.entropy().uuid_bytes());
    let (name, now) = (source.name.clone(), site.now());
    let noted = site.read(move |store| {
        store.source_note(&name, &SourceEvent::Begin { feed, epoch }, now)?;
        store.source_note(&name, &SourceEvent::Compared(None), now)
    });
    noted.await.map_err(|error| ours(&error))?;
    Ok(SourceMark { feed, epoch, position: 0 })
}

/// A record as the source has it: a state, or `None` where it was deleted there.
type State = (RecordRef, Option<Record>);

/// Fetches each record once. What cannot be read is noted, to be tried again; what answers as no
/// such server would is a fault of the source, and nothing of this turn counts.
async fn fetch_all(
    client: &Client,
    site: &Site,
    wanted: Vec<RecordRef>,
    place: &mut Place,
) -> Result<Vec<State>, LinkError> {
    let wanted = wanted.into_iter().collect::<BTreeSet<_>>();
    let mut fetched = stream::iter(wanted)
        .map(|record| async move {
            let answer = client.record(&record).await;
            (record, answer)
        })
        .buffered(AT_ONCE);
    let mut states = Vec::new();
    while let Some((record, answer)) = fetched.next().await {
        place.again.remove(&record);
        let why = match answer? {
            Fetched::Gone => {
                states.push((record, None));
                continue;
            }
            Fetched::Absent => {
                // Some servers have no such record, and a wrong path has none at all: nothing is
                // deleted by it.
                place.again.insert(record, ABSENT.to_owned());
                continue;
            }
            Fetched::Odd(why) => why,
            Fetched::Body(body) => match parse(&record, &body, &site.config().limits) {
                Ok(state) => {
                    states.push((record, Some(state)));
                    continue;
                }
                Err(why) => why,
            },
        };
        place.again.insert(record, why);
    }
    drop(fetched);
    forget_strangers(site, client, place).await?;
    if place.again.len() > AGAIN_MOST {
        return Err(LinkError(format!("more than {AGAIN_MOST} records cannot be read there")));
    }
    Ok(states)
}

/// What is said of a record that was there when it was last read.
const ABSENT: &str = "it is not there any more (404), and not said to be deleted (410)";

/// What is not there and never was read is none of ours: a person who is no patient, say.
async fn forget_strangers(
    site: &Site,
    client: &Client,
    place: &mut Place,
) -> Result<(), LinkError> {
    let absent = place.again.iter().filter(|(_, why)| *why == ABSENT);
    let absent = absent.map(|(record, _)| record.clone()).collect::<Vec<_>>();
    let images = images(site, client, absent.clone()).await?;
    for (record, _) in absent.iter().zip(images).filter(|(_, image)| image.is_none()) {
        place.again.remove(record);
    }
    Ok(())
}

async fn images(
    site: &Site,
    client: &Client,
    records: Vec<RecordRef>,
) -> Result<Vec<Option<ShortDigest>>, LinkError> {
    let name = client.name().clone();
    let found = site.read(move |store| store.source_images(&name, &records));
    found.await.map_err(|error| ours(&error))
}

/// A body as a record; why it is none. (What it says never stands in a reason.)
fn parse(asked: &RecordRef, body: &[u8], limits: &Limits) -> Result<Record, String> {
    let record = Record::parse(body, limits).map_err(|refusal| refusal.reason)?;
    if record.reference != *asked {
        return Err(format!("{} came where it was asked for", record.reference));
    }
    Ok(record)
}

/// Applies what differs from what was last read, a line a patient, and the place with it; gives how
/// many lines went in and how many are parked.
async fn apply(
    site: &Site,
    source: &SourceConfig,
    mark: SourceMark,
    states: Vec<State>,
    place: &Place,
) -> Result<(u64, u64), LinkError> {
    let (name, limits) = (source.name.clone(), site.config().limits.clone());
    let text = serde_json::to_string(place).map_err(|error| LinkError(error.to_string()))?;
    let now = site.now();
    let applied = site.write(move |store| {
        let records = states.iter().map(|(record, _)| record.clone()).collect::<Vec<_>>();
        let before = store.source_images(&name, &records)?;
        let seen = states.iter().map(|(record, state)| (record.clone(), digest(record, state)));
        let seen = seen.collect();
        let groups = groups(states, before);
        let mut lines = lines(groups, (&name, mark), &limits)?;
        lines.push(Incoming::Place(Box::new(SourcePlace { text, seen })));
        let reading = Some(Reading { feed: mark.feed, after: mark.position });
        let source = Source::Child { site: name, epoch: mark.epoch, reading };
        store.change_apply(&source, &lines, now)
    });
    let applied = applied.await.map_err(|error| match error {
        StoreError::Raced => LinkError("somebody else is reading it just now".to_owned()),
        error => ours(&error),
    })?;
    site.metrics().applied(metrics::From::Source, &applied);
    let parked = applied.iter().filter(|line| line.parked).count() as u64;
    let new = applied.iter().filter(|line| !line.parked && line.outcome != Outcome::Already);
    Ok((new.count() as u64, parked))
}

fn digest(record: &RecordRef, state: &Option<Record>) -> ShortDigest {
    let digest = state.as_ref().map(|state| state.digest);
    digest.unwrap_or_else(|| Digest::of_deletion(record)).short()
}

/// Records of one patient (of several, or of none), each with the state that was read before.
type Group = (BTreeSet<RecordRef>, Vec<OutRecord>);

/// What differs from what was read before, by patient: records of no patient first, each by itself.
fn groups(states: Vec<State>, before: Vec<Option<ShortDigest>>) -> Vec<Group> {
    let mut alone = Vec::new();
    let mut grouped: BTreeMap<BTreeSet<RecordRef>, Vec<(u8, OutRecord)>> = BTreeMap::new();
    for ((name, state), before) in states.into_iter().zip(before) {
        let record = state.unwrap_or_else(|| Record::deleted(name.clone()));
        let is_known_gone = record.body.is_none() && before.is_none();
        if is_known_gone || before == Some(record.digest.short()) {
            continue;
        }
        let (patients, base) = (record.patients, before.map(Into::into));
        let out = match record.body {
            Some(body) => {
                let (reference, digest) = (name.clone(), record.digest);
                OutRecord::Resource { reference, body, digest, base }
            }
            None => OutRecord::Deleted { reference: name.clone(), base },
        };
        match patients.is_empty() {
            true => alone.push((patients, vec![out])),
            false => grouped.entry(patients).or_default().push((order(&name), out)),
        }
    }
    let grouped = grouped.into_iter().map(|(patients, mut records)| {
        records.sort_by_key(|(order, _)| *order);
        (patients, records.into_iter().map(|(_, record)| record).collect())
    });
    // Deletions tell no patient: they come last.
    let (gone, alone): (Vec<_>, Vec<_>) =
        alone.into_iter().partition(|(_, records)| matches!(records[0], OutRecord::Deleted { .. }));
    alone.into_iter().chain(grouped).chain(gone).collect()
}

/// Who is referred to comes before who refers.
fn order(record: &RecordRef) -> u8 {
    match record.kind {
        ResourceType::PATIENT => 0,
        ResourceType::ENCOUNTER => 1,
        _ => 2,
    }
}

/// The lines of the groups, within the limits of a line, numbered from the marker on.
fn lines(
    groups: Vec<Group>,
    (name, mark): (&protocol::SiteId, SourceMark),
    limits: &Limits,
) -> Result<Vec<Incoming>, StoreError> {
    let mut lines = Vec::new();
    let mut number = mark.position;
    for (patients, records) in groups {
        for records in portions(records, limits) {
            number += 1;
            let line = OutLine {
                position: Some(number),
                kind: EntryKind::Change,
                id: Some(ChangeId { origin: name.clone(), epoch: mark.epoch, number }),
                covers: Vec::new(),
                part: None,
                author: Some(Author::new(&format!("feed:{name}"))),
                at: None,
                patients: patients.iter().cloned().collect(),
                reason: None,
                records,
            };
            let mut text = String::new();
            write_line(&mut text, &line);
            let raw = text.trim_end().as_bytes().to_vec();
            lines.push(match read_line(&raw, limits)? {
                StreamLine::Line(line) => Incoming::Line { line, raw },
                StreamLine::Refused(line) => Incoming::Refused { line, raw },
                StreamLine::Header(_) | StreamLine::End { .. } => continue,
            });
        }
    }
    Ok(lines)
}

fn portions(records: Vec<OutRecord>, limits: &Limits) -> Vec<Vec<OutRecord>> {
    let mut portions: Vec<Vec<OutRecord>> = Vec::new();
    let (mut bytes, room) = (0, limits.line_bytes.saturating_sub(4_096));
    for record in records {
        let size = match &record {
            OutRecord::Resource { body, .. } => body.len() + 256,
            _ => 256,
        };
        match portions.last_mut() {
            Some(last) if bytes + size <= room && last.len() < limits.change_records => {
                bytes += size;
                last.push(record);
            }
            _ => {
                bytes = size;
                portions.push(vec![record]);
            }
        }
    }
    portions
}
