//! A patient's timeline: changes, joins and leaves in the order of this site's sequence.
//!
//! Whose a version is is asked of that version ([`super::former`]): a record may have been another
//! patient's before or after it, and what was that one's is not shown to who may not see that one.

mod changes;
mod conflicts;

use protocol::RecordRef;
use rusqlite::params;

use super::scope::Sight;
use super::*;
use crate::StoreError;

/// Elements that one page shows; the change that passes this is the page's last.
const ELEMENTS: usize = 5_000;

/// The class of a place that is a change; and of a join or leave in a feed of this site, and of
/// one that its parent told of.
const CHANGE: u8 = 0;
const OWN_FEED: u8 = 1;

pub(super) fn patient_timeline(
    store: &SqliteStore,
    query: &TimelineQuery,
    scope: &Scope,
) -> Result<Option<TimelinePage>> {
    let after = query.after.as_deref().map(read_place).transpose()?;
    store.read("read a timeline", |conn| {
        let sight = Sight::of(conn, scope)?;
        let Some(patient) = visible(conn, &query.patient, &sight)? else { return Ok(None) };
        let (places, is_last) = places(conn, query, patient, after, &sight)?;
        let reading = changes::Reading { conn, patient, sight: &sight };
        let mut page = TimelinePage { entries: Vec::new(), next: None };
        let mut room = ELEMENTS;
        for (index, place) in places.iter().enumerate() {
            let entry = match place.class {
                CHANGE => changes::entry(&reading, place.sequence, &mut room)?,
                OWN_FEED => Some(own_move(conn, place)?),
                _ => Some(held_move(conn, place)?),
            };
            page.entries.extend(entry);
            if (room == 0 || index + 1 == places.len()) && !(is_last && index + 1 == places.len()) {
                page.next = Some(place.text());
                break;
            }
        }
        Ok(Some(page))
    })
}

/// The patient's key, where the site has heard of the patient and `sight` reaches that far.
fn visible(conn: &Connection, patient: &RecordRef, sight: &Sight) -> Result<Option<i64>> {
    let Some(key) = rows::patient_known(conn, patient)? else { return Ok(None) };
    let is_visible = match sight {
        Sight::Everything => conn
            .prepare_cached(
                "SELECT 1 WHERE EXISTS (SELECT 1 FROM change_patient WHERE patient = ?1)
                    OR EXISTS (SELECT 1 FROM held_move WHERE patient = ?1)
                    OR EXISTS (SELECT 1 FROM feed_entry WHERE patient = ?1 AND kind <> 0)",
            )?
            .exists([key])?,
        sight => sight.sees(conn, patient)?,
    };
    Ok(is_visible.then_some(key))
}

/// Where something stands in the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    sequence: u64,
    class: u8,
    /// The feed's key, for a join or leave of this site's own feeds.
    feed: i64,
    /// Its position there; the key of the row, for what the parent told.
    position: i64,
}

impl Place {
    fn text(&self) -> String {
        format!("{}.{}.{}.{}", self.sequence, self.class, self.feed, self.position)
    }
}

/// The inverse of [`Place::text`], for texts that came over the wire.
fn read_place(text: &str) -> Result<Place> {
    let read = || {
        let mut parts = text.split('.');
        let mut part = || parts.next()?.parse::<i64>().ok().filter(|part| *part >= 0);
        let (sequence, class, feed, position) = (part()?, part()?, part()?, part()?);
        let (sequence, class) = (sequence.cast_unsigned(), u8::try_from(class).ok()?);
        parts.next().is_none().then_some(Place { sequence, class, feed, position })
    };
    read().ok_or_else(|| {
        let reason = "the place to go on from is not one that this site gave";
        StoreError::Refused(protocol::Refusal::invalid(reason))
    })
}

/// The next places, and whether there is nothing after them.
fn places(
    conn: &Connection,
    query: &TimelineQuery,
    patient: i64,
    after: Option<Place>,
    sight: &Sight,
) -> Result<(Vec<Place>, bool)> {
    let (beyond, order) = if query.reverse { ("<", "DESC") } else { (">", "ASC") };
    // Which other cohorts there are is not for a child to know, nor whose child this site is.
    let (own, held) = match sight {
        Sight::Everything => (String::new(), ""),
        Sight::Feeds(feeds) => {
            let feeds = feeds.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
            (format!("AND fe.feed IN ({feeds})"), "AND FALSE")
        }
    };
    let sql = format!(
        "SELECT sequence, class, feed, position FROM (
            SELECT c.sequence AS sequence, 0 AS class, 0 AS feed, 0 AS position,
                c.recorded AS recorded
            FROM change_patient AS cp CROSS JOIN change AS c ON c.sequence = cp.sequence
            WHERE cp.patient = ?1
            UNION ALL SELECT fe.sequence, 1, fe.feed, fe.position, fe.at
            FROM feed_entry AS fe WHERE fe.patient = ?1 AND fe.kind <> 0 {own}
            UNION ALL SELECT m.sequence, 2, 0, m.key, m.at
            FROM held_move AS m WHERE m.patient = ?1 {held})
         WHERE recorded >= ?2 AND (?3 IS NULL
            OR (sequence, class, feed, position) {beyond} (?3, ?4, ?5, ?6))
         ORDER BY sequence {order}, class {order}, feed {order}, position {order} LIMIT ?7"
    );
    let since = query.since.map_or(i64::MIN, Timestamp::millis);
    let (sequence, class) = (after.map(|place| place.sequence), after.map(|place| place.class));
    let (feed, position) = (after.map(|place| place.feed), after.map(|place| place.position));
    let limit = i64::from(query.limit.max(1));
    let mut statement = conn.prepare_cached(&sql)?;
    let mut places = statement
        .query_map(params![patient, since, sequence, class, feed, position, limit + 1], |row| {
            Ok(Place {
                sequence: row.get(0)?,
                class: row.get(1)?,
                feed: row.get(2)?,
                position: row.get(3)?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let is_last = places.len() <= query.limit.max(1) as usize;
    places.truncate(query.limit.max(1) as usize);
    Ok((places, is_last))
}

/// A join or leave of one of this site's own cohorts.
fn own_move(conn: &Connection, place: &Place) -> Result<TimelineEntry> {
    Ok(conn
        .prepare_cached(
            "SELECT fe.at, fe.kind, f.name, fe.reason FROM feed_entry AS fe
             CROSS JOIN feed AS f ON f.key = fe.feed
             WHERE fe.feed = ?1 AND fe.position = ?2",
        )?
        .query_row(params![place.feed, place.position], |row| {
            let cohort = row.get(2)?;
            let event = match row.get::<_, u8>(1)? {
                1 => TimelineEvent::Join { cohort },
                _ => TimelineEvent::Leave { cohort, reason: row.get(3)? },
            };
            Ok(TimelineEntry { sequence: place.sequence, recorded: rows::time(row, 0)?, event })
        })?)
}

/// A join or leave of a cohort of the parent's, or the purge that followed.
fn held_move(conn: &Connection, place: &Place) -> Result<TimelineEntry> {
    Ok(conn.prepare_cached("SELECT at, kind, cohort FROM held_move WHERE key = ?1")?.query_row(
        [place.position],
        |row| {
            let event = match row.get::<_, u8>(1)? {
                1 => TimelineEvent::Join { cohort: row.get(2)? },
                2 => TimelineEvent::Leave { cohort: row.get(2)?, reason: None },
                _ => TimelineEvent::Purge {},
            };
            Ok(TimelineEntry { sequence: place.sequence, recorded: rows::time(row, 0)?, event })
        },
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_to_go_on_is_read_as_it_was_given() {
        let place = Place { sequence: 7, class: 1, feed: 3, position: 12 };
        assert_eq!(read_place(&place.text()).unwrap(), place);
        for bad in ["", "7", "7.1.3", "7.1.3.12.1", "-7.1.3.12", "7.256.3.12", "a.b.c.d"] {
            assert!(read_place(bad).is_err(), "{bad}");
        }
    }
}
