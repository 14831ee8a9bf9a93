//! What a store does of changes that are read: here from sources, or from here by the parent.

use protocol::digest::ShortDigest;
use protocol::message::Receipt;
use protocol::{RecordRef, SiteId, Timestamp};

use crate::Result;
use crate::model::*;

/// The part of [`crate::Store`] for reading sites below, and for being read.
pub trait SourceStore {
    /// The sources that were ever read, by name.
    fn source_list(&self) -> Result<Vec<SourceInfo>>;
    /// One of them, where it was ever read: what it costs does not grow with how many there are.
    fn source_get(&self, name: &SiteId) -> Result<Option<SourceInfo>>;
    /// Notes what happened with a source.
    fn source_note(&self, name: &SiteId, event: &SourceEvent, now: Timestamp) -> Result<()>;
    /// What became of changes of a source that it has not been told yet.
    fn source_words(&self, name: &SiteId, limit: usize) -> Result<Vec<Receipt>>;
    /// It was told these.
    fn source_told(&self, name: &SiteId, words: &[Receipt]) -> Result<()>;
    /// Of a page of digests of a source, the records of which this site never had that state, and
    /// that are not in a line of it that is parked here.
    fn source_unknown(
        &self,
        name: &SiteId,
        page: &[(RecordRef, ShortDigest)],
    ) -> Result<Vec<RecordRef>>;
    /// In which states a source without bases showed these records when they were last read.
    fn source_images(
        &self,
        name: &SiteId,
        records: &[RecordRef],
    ) -> Result<Vec<Option<ShortDigest>>>;
    /// At a child that is read: what is to go up and was not taken yet, from one snapshot, each
    /// record once with its latest body. `Gone` where the marker is not of this feed's epoch;
    /// `None` where this site has no parent.
    fn outgoing_changes(&self, query: &OutgoingQuery) -> Result<Option<OutgoingSlice>>;
    /// Notes that its reader was here.
    fn outgoing_read(&self, reader: &ReaderSeen, now: Timestamp) -> Result<()>;
    /// What the reader says became of changes; gives how many were settled by it.
    fn outgoing_settle(&self, words: &[Receipt], now: Timestamp, jitter: u64) -> Result<u64>;
}
