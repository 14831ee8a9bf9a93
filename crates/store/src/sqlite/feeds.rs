//! What readers of this site's feeds get. A reader's entitlement to a feed is checked in
//! [`find`], to single records in the condition of [`Feed::entitled`].

mod entries;
mod lines;
mod outgoing;
mod page;
mod patients;
mod stream;
#[cfg(test)]
mod tests;

use protocol::planted::{Fault, planted};
use rusqlite::{OptionalExtension, Row, params};

use super::records::{STORED, stored};
use super::*;
use super::{rows, scope};

pub(super) use outgoing::outgoing_changes;
pub(super) use page::feed_page;
pub(super) use patients::feed_patients;
pub(super) use stream::feed_changes;

/// Which records a feed is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The records of its current patients.
    Cohort,
    /// The reference records.
    Reference,
    /// Whatever did not come from the parent.
    Outgoing,
}

/// A feed that may be read by who asked.
#[derive(Debug)]
pub(super) struct Feed {
    key: i64,
    kind: Kind,
    info: FeedInfo,
}

impl Feed {
    /// The condition on a row of `record` named `alias` to be in this feed now.
    pub(super) fn entitled(&self, alias: &str) -> String {
        match self.kind {
            Kind::Cohort => scope::member(alias, &[self.key]),
            Kind::Reference => scope::reference(alias),
            Kind::Outgoing => "TRUE".to_owned(),
        }
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Feed> {
        let kind = match row.get_ref(1)?.as_str()? {
            "cohort" => Kind::Cohort,
            "reference" => Kind::Reference,
            _ => Kind::Outgoing,
        };
        let info = FeedInfo {
            id: rows::feed_id(row, 2)?,
            name: row.get(3)?,
            title: row.get(4)?,
            epoch: rows::epoch(row, 5)?,
            head: row.get(6)?,
            head_join: row.get(7)?,
            page_entries: row.get(8)?,
            created: rows::time(row, 9)?,
        };
        Ok(Feed { key: row.get(0)?, kind, info })
    }

    /// `outgoing` is for the parent's reader, who comes with the site's own rights.
    fn is_for(&self, scope: &Scope) -> bool {
        match (scope, self.kind) {
            (Scope::Everything, _) | (Scope::Cohorts { .. }, Kind::Reference) => true,
            (Scope::Cohorts { cohorts, .. }, Kind::Cohort) => {
                cohorts.iter().any(|cohort| cohort.as_str() == self.info.name)
            }
            (Scope::Cohorts { .. }, Kind::Outgoing) => false,
        }
    }
}

const FEEDS: &str = "SELECT f.key, f.kind, f.id, f.name, f.title, s.epoch, f.head, f.head_join,
     f.page_entries, f.created FROM feed AS f CROSS JOIN site AS s";

/// The feed of that name; `None` where there is none that `scope` may read.
pub(super) fn find(conn: &Connection, name: &str, scope: &Scope) -> Result<Option<Feed>> {
    let found = conn
        .prepare_cached(&format!("{FEEDS} WHERE f.name = ?1"))?
        .query_row([name], Feed::read)
        .optional()?;
    Ok(found.filter(|feed| feed.is_for(scope) || planted(Fault::FeedForAnyone)))
}

/// In order of their names.
pub(super) fn feed_list(store: &SqliteStore, scope: &Scope) -> Result<Vec<FeedInfo>> {
    store.read("list its feeds", |conn| {
        let mut statement = conn.prepare_cached(&format!("{FEEDS} ORDER BY f.name"))?;
        let mut found = Vec::new();
        for feed in statement.query_map([], Feed::read)? {
            found.extend(Some(feed?).filter(|feed| feed.is_for(scope)).map(|feed| feed.info));
        }
        Ok(found)
    })
}

/// Deleted records are given too, without body. What `feed` does not hold is left out.
pub(super) fn feed_fetch(
    store: &SqliteStore,
    feed: &str,
    records: &[RecordRef],
    scope: &Scope,
) -> Result<Option<Vec<StoredVersion>>> {
    store.read("fetch records of a feed", |conn| {
        let Some(feed) = find(conn, feed, scope)? else { return Ok(None) };
        let entitled = feed.entitled("r");
        let held = if planted(Fault::FetchForAnyone) { "TRUE" } else { &entitled };
        let sql = format!(
            "SELECT {STORED} FROM record AS r
             CROSS JOIN version AS v ON v.record = r.key AND v.sequence = r.sequence
             CROSS JOIN change AS c ON c.sequence = v.sequence
             WHERE r.type = ?1 AND r.id = ?2 AND {held}"
        );
        let mut statement = conn.prepare_cached(&sql)?;
        let mut found = Vec::with_capacity(records.len());
        for record in records {
            let mut rows = statement.query(params![record.kind.name(), record.id()])?;
            if let Some(row) = rows.next()? {
                found.push(stored(row)?);
            }
        }
        Ok(Some(found))
    })
}
