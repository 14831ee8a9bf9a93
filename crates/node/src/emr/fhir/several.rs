//! Several records at once: by a batch Bundle where the server takes these, and as its lists show
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::RecordRef;
use protocol::resource::Record;

use super::{FhirEmr, Looked};
use crate::config::FhirIds;
use crate::fhir_server::{FhirError, Page, Read};
use crate::ports::{EmrError, Shown};

/// Records of one batch.
const BATCH: usize = 50;
/// What a server puts into a record that it does not show whole.
const IN_PART: &str = "SUBSETTED";

/// How a server takes batches.
#[derive(Default)]
pub(super) struct Batches {
    /// It has refused one: each record is read by itself.
    refused: AtomicBool,
    /// It has shown a record in one. Until then that one is not there is asked for by itself: a
    /// server that takes the names in a batch for something else has none of them.
    proved: AtomicBool,
}

impl FhirEmr {
    /// How many records one request is made for.
    pub(super) fn batch(&self) -> usize {
        let is_offered = self.known().as_ref().is_some_and(|offered| offered.batch);
        if is_offered && !self.batches.refused.load(Ordering::Relaxed) { BATCH } else { 1 }
    }

    /// As `look`, of several records, in their order.
    pub(super) async fn look_at(&self, records: &[RecordRef]) -> Vec<Result<Looked, EmrError>> {
        let mut looked = Vec::with_capacity(records.len());
        let mut rest = records;
        while !rest.is_empty() {
            let (part, others) = rest.split_at(self.batch().min(rest.len()));
            match part {
                [one] => looked.push(self.look(one).await),
                several => looked.extend(self.look_at_part(several).await),
            }
            rest = others;
        }
        looked
    }

    async fn look_at_part(&self, records: &[RecordRef]) -> Vec<Result<Looked, EmrError>> {
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            let place = match self.ids_hold().await {
                Ok(()) => self.place_of(record).await,
                Err(error) => Err(error),
            };
            places.push(place.ok().flatten());
        }
        let mut told = self.told(places.iter().flatten().cloned().collect()).await;
        let mut looked = Vec::with_capacity(records.len());
        for (record, place) in records.iter().zip(places) {
            looked.push(match place.and_then(|there| told.remove_entry(&there)) {
                Some((there, read)) => self.looked(record, &there, read).await,
                None => self.look(record).await,
            });
        }
        looked
    }

    /// What a batch tells of these records; of some, perhaps, nothing.
    async fn told(&self, names: BTreeSet<RecordRef>) -> BTreeMap<RecordRef, Read> {
        // What no URL can name is refused by itself.
        let names = names.into_iter().filter(|name| !matches!(name.id(), "." | ".."));
        let names = names.collect::<Vec<_>>();
        let read = match self.server.read_batch(&names).await {
            Ok(read) => read,
            // It is asked again record by record, and what it says then counts.
            Err(FhirError::Refused(_) | FhirError::Unclear(_)) => {
                self.batches.refused.store(true, Ordering::Relaxed);
                return BTreeMap::new();
            }
            Err(FhirError::Away { .. } | FhirError::TooMuch(_) | FhirError::Changed) => {
                return BTreeMap::new();
            }
        };
        let told = names.into_iter().zip(read).filter_map(|(name, read)| Some((name, read?)));
        let mut told = told.collect::<BTreeMap<_, _>>();
        if told.values().any(|read| matches!(read, Read::Body(..))) {
            self.batches.proved.store(true, Ordering::Relaxed);
        }
        if !self.batches.proved.load(Ordering::Relaxed) {
            told.retain(|_, read| matches!(read, Read::Body(..)));
        }
        told
    }

    /// What a list shows whole of these records. One that stands in it twice is none of them: which
    /// of both is newer is not to be told from that.
    pub(super) fn whole(
        &self,
        page: &Page,
        groups: &[Vec<RecordRef>],
    ) -> BTreeMap<RecordRef, Shown> {
        if self.mode == FhirIds::Map {
            return BTreeMap::new();
        }
        let mut bodies: BTreeMap<&RecordRef, Option<&str>> = BTreeMap::new();
        for one in &page.found {
            let Some(record) = &one.record else { continue };
            let is_second = bodies.contains_key(record);
            bodies.insert(record, one.body.as_deref().filter(|_| !is_second));
        }
        let shown = groups.iter().flatten().filter_map(|record| {
            let body = bodies.get(record).copied().flatten().filter(|body| !body.contains(IN_PART));
            let read = Record::parse(body?.as_bytes(), &self.limits).ok()?;
            (read.reference == *record).then(|| (record.clone(), Shown::Body(Box::new(read))))
        });
        shown.collect()
    }
}
