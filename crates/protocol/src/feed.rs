//! Feeds: the ordered entries of one cohort (or of `reference`, or `outgoing`), and how they
//! fall into pages. Implements `docs/protocol.md` §1.

pub mod atom;

use crate::change::{Author, ChangeId};
use crate::id::{Epoch, FeedId, RecordRef, SiteId};
use crate::time::Timestamp;

/// A feed as its readers know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedInfo {
    /// Stays the same whatever the feed is called.
    pub id: FeedId,
    /// A cohort's name, `reference` or `outgoing`; the last part of its URL.
    pub name: String,
    /// For people.
    pub title: String,
    /// The epoch of the site that publishes it.
    pub epoch: Epoch,
    /// Position of the newest entry; 0 where there is none.
    pub head: u64,
    /// Position of the newest join; 0 where there is none. The bulk lane ends here.
    pub head_join: u64,
    /// Entries a page, fixed when the feed is created.
    pub page_entries: u32,
    /// When the feed was created.
    pub created: Timestamp,
}

/// What an entry tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// Records changed.
    Change,
    /// A patient is in the cohort from here on: its whole record is to be sent (bulk lane).
    Join,
    /// A patient is no longer in the cohort.
    Leave,
}

impl EntryKind {
    /// `change`, `join`, `leave`.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::Change => "change",
            EntryKind::Join => "join",
            EntryKind::Leave => "leave",
        }
    }
    /// The inverse of `as_str`.
    pub fn named(text: &str) -> Option<EntryKind> {
        [EntryKind::Change, EntryKind::Join, EntryKind::Leave]
            .into_iter()
            .find(|k| k.as_str() == text)
    }
}

/// What became of one record in an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Its first version.
    Created,
    /// A later one.
    Updated,
    /// It was deleted.
    Deleted,
}

/// One entry of a feed: ids only, never patient content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the feed, from 1.
    pub position: u64,
    /// What it tells.
    pub kind: EntryKind,
    /// The change it tells of; `None` for a join or leave, and for a change that came without an
    /// id of its own. Its entry id is then made of feed and position.
    pub change: Option<ChangeId>,
    /// When this site recorded it.
    pub at: Timestamp,
    /// The site where the change was made.
    pub origin: SiteId,
    /// Who made it there.
    pub author: Option<Author>,
    /// Whose records these are.
    pub patients: Vec<RecordRef>,
    /// The records concerned that the reader may see, in dependency order.
    pub records: Vec<(RecordRef, Action)>,
    /// Why a patient left.
    pub reason: Option<String>,
}

/// One page of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    /// The feed.
    pub feed: FeedInfo,
    /// The site that publishes it.
    pub site: SiteId,
    /// The page's number, from 1.
    pub number: u64,
    /// Its entries, oldest first.
    pub entries: Vec<Entry>,
}

impl FeedInfo {
    /// The page on which `position` stands. Assigned by the position alone, never counted.
    pub fn page_of(&self, position: u64) -> u64 {
        position.saturating_sub(1) / u64::from(self.page_entries.max(1)) + 1
    }
    /// First and last position of page `number`, whether they exist yet or not; `None` where the
    /// numbers run out.
    pub fn positions_of(&self, number: u64) -> Option<(u64, u64)> {
        let size = u64::from(self.page_entries.max(1));
        let last = number.checked_mul(size)?;
        (number > 0).then(|| (last - size + 1, last))
    }
    /// The page that `recent` shows: the one of the newest entry; page 1 of an empty feed.
    pub fn recent(&self) -> u64 {
        self.page_of(self.head)
    }
    /// Whether page `number` is full and will never change again.
    pub fn is_archived(&self, number: u64) -> bool {
        self.positions_of(number).is_some_and(|(_, last)| last <= self.head)
    }
}
