//! What changed in OpenMRS after a cursor, by the ways that the settings name.

use std::collections::{BTreeMap, BTreeSet};

use protocol::RecordRef;
use serde::{Deserialize, Serialize};

use super::OpenMrs;
use super::binlog::Place;
use super::polling::Marks;
use crate::config::NoticeWay;
use crate::jobs::sources::atomfeed::{self, FeedError, Mark};
use crate::ports::{EmrError, Noticed};

/// Milliseconds after which everything is compared again, where nothing shows deletions.
const COMPARE_MILLIS: i64 = 24 * 3_600 * 1_000;
/// Entries of feeds that are read in one turn.
const ENTRIES: usize = 200;

/// How far each way has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Cursor {
    /// By `_lastUpdated`.
    marks: Marks,
    /// By the feeds: the last entry of each.
    feeds: BTreeMap<String, Mark>,
    /// By the binary log.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Place>,
    /// When the floor was looked at last, in milliseconds: a rhythm, no place.
    floor_at: i64,
    /// When the last full load began.
    loaded_at: i64,
}

impl OpenMrs {
    /// As the port says.
    pub(super) async fn notice(&self, cursor: Option<&str>) -> Result<Noticed, EmrError> {
        let lost = |_| EmrError::CursorLost("the cursor is of another version".to_owned());
        let mut cursor: Cursor = match cursor {
            Some(text) => serde_json::from_str(text).map_err(lost)?,
            None => self.beginning().await?,
        };
        if !self.config.openmrs.is_quick() && self.passed(cursor.loaded_at) > COMPARE_MILLIS {
            let why = "_lastUpdated shows no deletions, so once a day everything is compared";
            return Err(EmrError::CursorLost(why.to_owned()));
        }
        let (mut groups, mut first, mut more) = (Vec::new(), BTreeSet::new(), false);
        if let Some(place) = &cursor.log
            && let Some(binlog) = &self.binlog
        {
            let read = binlog.read(place).await?;
            cursor.log = read.place.or(cursor.log);
            groups.extend(read.groups);
            first = read.first;
            more |= read.more;
        } else if self.binlog.is_some() {
            return Err(EmrError::CursorLost("the binary log was not read until now".to_owned()));
        }
        if self.config.openmrs.has(NoticeWay::Atomfeed) {
            more |= self.feeds(&mut cursor, &mut groups).await?;
        }
        if !cursor.marks.is_loaded() {
            groups.extend(alone(self.load(&mut cursor.marks).await?));
            more |= !cursor.marks.is_loaded();
            cursor.floor_at = self.ways.clock.now().millis();
        } else if self.is_floor_due(&cursor) {
            groups.extend(alone(self.poll(&mut cursor.marks).await?));
            cursor.floor_at = self.ways.clock.now().millis();
        }
        let groups = self.as_our_names(groups, &first).await?;
        let odd = |_| EmrError::away("the cursor cannot be written");
        let cursor = serde_json::to_string(&cursor).map_err(odd)?;
        Ok(Noticed { groups, cursor, more, ..Noticed::default() })
    }

    /// Where a full load begins: at the ends of the log and of the feeds, so that what changes
    /// while it runs is named after it.
    async fn beginning(&self) -> Result<Cursor, EmrError> {
        let loaded_at = self.ways.clock.now().millis();
        let mut cursor = Cursor { loaded_at, ..Cursor::default() };
        if let Some(binlog) = &self.binlog {
            cursor.log = Some(binlog.head().await?);
        }
        if self.config.openmrs.has(NoticeWay::Atomfeed) {
            for feed in &self.config.openmrs.feeds {
                let newest = atomfeed::newest(&self.server, &self.url, feed).await?;
                cursor.feeds.extend(newest.map(|mark| (feed.clone(), mark)));
            }
        }
        Ok(cursor)
    }

    async fn feeds(
        &self,
        cursor: &mut Cursor,
        groups: &mut Vec<Vec<RecordRef>>,
    ) -> Result<bool, EmrError> {
        let mut more = false;
        for feed in &self.config.openmrs.feeds {
            let mark = cursor.feeds.get(feed);
            let walked = atomfeed::after(&self.server, &self.url, feed, mark, ENTRIES).await;
            let walked = walked.map_err(|error| match error {
                FeedError::Link(error) => EmrError::Away(error),
                FeedError::Anew(_) => {
                    EmrError::CursorLost(format!("the feed {feed} was made anew"))
                }
            })?;
            groups.extend(walked.records);
            more |= walked.more;
            cursor.feeds.extend(walked.mark.map(|mark| (feed.clone(), mark)));
        }
        Ok(more)
    }

    fn is_floor_due(&self, cursor: &Cursor) -> bool {
        let quick = self.config.openmrs.is_quick();
        let every = if quick { self.config.openmrs.floor_seconds * 1_000 } else { 0 };
        u64::try_from(self.passed(cursor.floor_at)).is_ok_and(|passed| passed >= every)
    }

    /// Milliseconds since a time; a clock that was set back counts as much time.
    fn passed(&self, since: i64) -> i64 {
        let passed = self.ways.clock.now().millis().saturating_sub(since);
        if passed < 0 { i64::MAX } else { passed }
    }
}

fn alone(records: Vec<RecordRef>) -> impl Iterator<Item = Vec<RecordRef>> {
    records.into_iter().map(|record| vec![record])
}
