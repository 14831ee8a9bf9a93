//! A record's state in the form in which it is written, worked out before the writer's turn.

use protocol::resource::Record;

use super::keys::{KeyRow, rows_of};
use super::{body, rows};
use crate::Result;

#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) record: &'a Record,
    /// Compressed; `None` where the record is deleted.
    pub(super) body: Option<Vec<u8>>,
    pub(super) keys: Vec<KeyRow>,
}

impl<'a> Prepared<'a> {
    pub(super) fn of(record: &'a Record) -> Result<Prepared<'a>> {
        let body = record.body.as_deref().map(body::encode).transpose()?;
        let keys = record.keys.iter().flat_map(rows_of).collect();
        Ok(Prepared { record, body, keys })
    }
}

/// One record's part of a change that is about to be written.
#[derive(Debug)]
pub(super) struct State<'a> {
    pub(super) prepared: &'a Prepared<'a>,
    /// The record's row as it is now; `None` where there is none.
    pub(super) known: Option<rows::RecordRow>,
    /// The parent holds this very state, as of this sequence of its.
    pub(super) parent_sequence: Option<u64>,
    /// Whose it was, by the word of who sent it: for a deletion of what this site never held.
    pub(super) patients: &'a [protocol::RecordRef],
    /// From a child: since which of its sequences it holds the record without a break.
    pub(super) since: Option<u64>,
}
