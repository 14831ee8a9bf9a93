//! What records refer to and another feed has yet to tell of: feeds are read one after the other,
//! and an observation may be told of long before its patient.

use std::collections::BTreeSet;

use protocol::json;
use protocol::resource::order::rank;
use protocol::resource::references::{record_named, references};
use protocol::{RecordRef, ResourceType, Timestamp};

use super::fetch::Client;
use super::{ENTRIES, Place, State, fetch_all, images};
use crate::config::SourceConfig;
use crate::ports::LinkError;
use crate::site::Site;

/// Records that are fetched ahead of their feeds in one turn: the encounter and the patient of
/// each entry.
const MOST: usize = 2 * ENTRIES;
/// Steps from record to record: an observation, its encounter, its patient, who looks after them.
const STEPS: usize = 3;
/// Milliseconds after which nothing more is fetched ahead: a slow server's turn has to end.
const PATIENCE: i64 = 60_000;

/// Fetches what `states` refer to and was never read, as far as a feed of the source is about such
/// records, and adds it. `asked` is what this turn asked for already, `begun` when it began to.
pub(super) async fn fetch(
    (site, source, client): (&Site, &SourceConfig, &Client),
    (mut asked, begun): (BTreeSet<RecordRef>, Timestamp),
    states: &mut Vec<State>,
    place: &mut Place,
) -> Result<(), LinkError> {
    let (mut looked_at, mut room) = (0, MOST);
    for _ in 0..STEPS {
        let named = named(&states[looked_at..], &source.feeds);
        let named = named.into_iter().map(|(_, record)| record);
        // What could not be read before has its own times to be asked for again.
        let new = named.filter(|name| !asked.contains(name) && !place.again.contains_key(name));
        let new = new.collect::<Vec<_>>();
        let known = images(site, client, new.clone()).await?;
        let unread = new.into_iter().zip(known).filter(|(_, image)| image.is_none());
        let wanted = unread.map(|(record, _)| record).take(room).collect::<Vec<_>>();
        if wanted.is_empty() || site.now().since(begun) > PATIENCE {
            return Ok(());
        }
        looked_at = states.len();
        room -= wanted.len();
        asked.extend(wanted.iter().cloned());
        states.extend(fetch_all(client, site, wanted, place).await?);
    }
    Ok(())
}

/// The records that others refer to and that a feed is about, who refers to nobody first. Among
/// records of one type the order is their own feed's.
fn named(states: &[State], feeds: &[String]) -> BTreeSet<(u8, RecordRef)> {
    let mut named = BTreeSet::new();
    for (name, state) in states {
        let body = state.as_ref().and_then(|record| record.body.as_deref());
        let parsed = body.and_then(|body| json::parse(body.as_bytes(), json::DEPTH_MAX).ok());
        let Some(resource) = parsed else { continue };
        let found = references(&resource).into_iter();
        let found = found.filter_map(|(_, text)| record_named(&text.decode()));
        let found = found.filter(|to| to.kind != name.kind && has_feed(feeds, to.kind));
        named.extend(found.map(|to| (rank(to.kind), to)));
    }
    named
}

/// Whether one of the feeds is called as a type is. Who follows no such feed has these records
/// from elsewhere, and they would never be brought up to date from here.
fn has_feed(feeds: &[String], kind: ResourceType) -> bool {
    let mut parts = feeds.iter().flat_map(|feed| feed.split('/'));
    parts.any(|part| part.eq_ignore_ascii_case(kind.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Limits;
    use protocol::resource::Record;

    #[test]
    fn only_what_a_feed_is_about_is_fetched_ahead_and_patients_first() {
        let body = r#"{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/p"},
            "encounter":{"reference":"http://emr.example/ws/fhir2/R4/Encounter/e"},
            "hasMember":[{"reference":"Observation/other"}],
            "performer":[{"reference":"Practitioner/n"},{"reference":"Patient?identifier=7"}]}"#;
        let record = Record::parse(body.as_bytes(), &Limits::default()).unwrap();
        let states = [(record.reference.clone(), Some(record)), ("Flag/f".parse().unwrap(), None)];
        for (feeds, expected) in [
            (vec!["observation", "Encounter", "/feeds/patient/all"], "Patient/p Encounter/e"),
            (vec!["encounter"], "Encounter/e"),
            (vec!["observation", "/feeds/all"], ""),
        ] {
            let feeds = feeds.into_iter().map(str::to_owned).collect::<Vec<_>>();
            let found = named(&states, &feeds);
            let found: Vec<_> = found.iter().map(|(_, record)| record.to_string()).collect();
            assert_eq!(found.join(" "), expected);
        }
    }
}
