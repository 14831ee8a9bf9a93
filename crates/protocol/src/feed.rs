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
    /// Whether page `number` will never change again: it is full and the page after it exists, so
    /// that its `next-archive` link is there too.
    pub fn is_archived(&self, number: u64) -> bool {
        self.positions_of(number).is_some_and(|(_, last)| last < self.head)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(head: u64, page_entries: u32) -> FeedInfo {
        FeedInfo {
            id: FeedId::from_bytes([1; 16]),
            name: "reference".to_owned(),
            title: "Reference records".to_owned(),
            epoch: Epoch::from_bytes([2; 16]),
            head,
            head_join: 0,
            page_entries,
            created: Timestamp::default(),
        }
    }

    #[test]
    fn pages_are_numbered_from_one_and_archived_once_the_next_one_exists() {
        // (head, entries a page, recent, archived)
        for (head, size, recent, archived) in [
            (0, 100, 1, 0),
            (1, 100, 1, 0),
            (99, 100, 1, 0),
            (100, 100, 1, 0),
            (101, 100, 2, 1),
            (200, 100, 2, 1),
            (201, 100, 3, 2),
            (3, 1, 3, 2),
            (3, 0, 3, 2),
        ] {
            let feed = feed(head, size);
            assert_eq!(feed.recent(), recent, "{head} of {size}");
            for number in 1..=recent + 1 {
                assert_eq!(feed.is_archived(number), number <= archived, "{number} of {head}");
            }
        }
    }

    #[test]
    fn there_is_no_page_zero_and_none_beyond_all_numbers() {
        assert_eq!(feed(5, 2).positions_of(0), None);
        assert!(!feed(5, 2).is_archived(0));
        assert_eq!(feed(5, 2).positions_of(u64::MAX), None);
        assert_eq!(feed(u64::MAX, 1).recent(), u64::MAX);
    }

    proptest! {
        #[test]
        fn every_position_is_on_exactly_one_page(
            position in 1..u64::MAX / 2, size in 1..1_000u32, head: u64,
        ) {
            let feed = feed(head, size);
            let number = feed.page_of(position);
            let (first, last) = feed.positions_of(number).unwrap();
            prop_assert!((first..=last).contains(&position));
            prop_assert_eq!(last - first + 1, u64::from(size));
            prop_assert_eq!(feed.positions_of(number + 1).unwrap().0, last + 1);
            prop_assert_eq!(feed.positions_of(number - 1).map_or(0, |(_, end)| end), first - 1);
            prop_assert_eq!(feed.page_of(first), number);
            prop_assert_eq!(feed.page_of(last), number);
        }

        #[test]
        fn defect_11_a_page_that_is_archived_stays_so_and_is_full(
            head in 0..1_000_000u64, more in 0..1_000_000u64,
            size in 1..1_000u32, number in 1..2_000u64,
        ) {
            if feed(head, size).is_archived(number) {
                prop_assert!(feed(head + more, size).is_archived(number));
                prop_assert!(feed(head, size).positions_of(number).unwrap().1 < head);
                prop_assert!(number < feed(head, size).recent());
            }
        }
    }
}
