//! Reading FHIR files into a site: files and folders in any of the usual forms, one change a
//! Bundle of one patient, as fast as the disk allows.

pub mod document;
pub mod files;
pub mod plan;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use protocol::Author;
use protocol::resource::Record;
use protocol::{Limits, Timestamp};
use serde::Serialize;
use store::{Draft, Expect, Store, StoreError, Write};

use crate::import::document::Resolve;

/// Threads that write: their commits are grouped by the store.
const WRITERS: usize = 4;
/// Changes of one writer that may wait.
const WAITING: usize = 32;
/// Refusals that are kept with their reasons; more are only counted.
const REASONS: usize = 1_000;

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Files that were read.
    pub files: u64,
    /// Resources that were found.
    pub resources: u64,
    /// Records that were written.
    pub written: u64,
    /// Records that were so already.
    pub unchanged: u64,
    /// Changes that were made.
    pub changes: u64,
    /// Resources and files that did not go in.
    pub refused: u64,
    /// Where and why, for the first of them.
    pub reasons: Vec<Refused>,
}

/// Something that did not go in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The file, and the entry or line in it.
    pub place: String,
    /// Why.
    pub reason: String,
}

/// Takes progress: bytes of files that were read.
pub type Progress<'a> = &'a (dyn Fn(u64) + Sync);

/// Imports files and folders. Fails only where the store fails; what is wrong with the files is
/// in the summary.
pub fn run(
    store: &dyn Store,
    paths: &[PathBuf],
    limits: &Limits,
    now: impl Fn() -> Timestamp + Sync,
    progress: Progress<'_>,
) -> Result<Summary, StoreError> {
    let summary = Mutex::new(Summary::default());
    let late = Mutex::new(Vec::new());
    let failure: Mutex<Option<StoreError>> = Mutex::new(None);
    let work = Work { store, limits, summary: &summary, failure: &failure };
    work.pass(&now, |writers| {
        for path in paths {
            work.path(path, writers, Some(&late), progress);
        }
    });
    // What named records by a search that found nothing yet gets a second chance.
    let late = late.into_inner().unwrap_or_default();
    if !late.is_empty() {
        work.pass(&now, |writers| {
            for path in &late {
                work.path(path, writers, None, &|_| {});
            }
        });
    }
    match failure.into_inner() {
        Ok(None) => Ok(summary.into_inner().unwrap_or_default()),
        Ok(Some(error)) => Err(error),
        Err(_) => Err(StoreError::Name("a thread of the import broke off".to_owned())),
    }
}

struct Work<'a> {
    store: &'a dyn Store,
    limits: &'a Limits,
    summary: &'a Mutex<Summary>,
    failure: &'a Mutex<Option<StoreError>>,
}

/// Where changes go: always the same writer for the same patient, so that they stay in order.
struct Writers(Vec<SyncSender<Vec<Record>>>);

impl Writers {
    fn send(&self, change: Vec<Record>) -> bool {
        let patient = change.iter().flat_map(|record| &record.patients).next();
        let sum: usize = patient.map_or(0, |p| p.id().bytes().map(usize::from).sum());
        self.0[sum % self.0.len()].send(change).is_ok()
    }
}

impl Work<'_> {
    fn pass(&self, now: &(impl Fn() -> Timestamp + Sync), read: impl FnOnce(&Writers)) {
        std::thread::scope(|scope| {
            let mut senders = Vec::new();
            for _ in 0..WRITERS {
                let (sender, receiver) = sync_channel(WAITING);
                senders.push(sender);
                scope.spawn(move || self.write(&receiver, now));
            }
            read(&Writers(senders));
        });
    }

    fn write(&self, changes: &Receiver<Vec<Record>>, now: &impl Fn() -> Timestamp) {
        for change in changes {
            let writes = change.into_iter().map(|record| Write { record, expect: Expect::Any });
            let draft = Draft {
                author: Author::new("import"),
                writes: writes.collect(),
                expect: Vec::new(),
                again: false,
                lane: protocol::Urgency::Bulk,
            };
            match self.store.change_record(&draft, now()) {
                Ok(recorded) => self.note(|summary| {
                    let written = recorded.writes.iter().filter(|w| w.action.is_some()).count();
                    summary.written += written as u64;
                    summary.unchanged += (recorded.writes.len() - written) as u64;
                    summary.changes += u64::from(recorded.sequence.is_some());
                }),
                Err(StoreError::Refused(refusal)) => self.refuse_all(&draft, &refusal.reason),
                Err(error @ StoreError::Frozen(_)) => self.refuse_all(&draft, &error.to_string()),
                Err(error) => {
                    if let Ok(mut failure) = self.failure.lock() {
                        failure.get_or_insert(error);
                    }
                    return;
                }
            }
        }
    }

    fn note(&self, note: impl FnOnce(&mut Summary)) {
        if let Ok(mut summary) = self.summary.lock() {
            note(&mut summary);
        }
    }

    fn refuse(&self, place: String, reason: &str) {
        self.note(|summary| {
            summary.refused += 1;
            if summary.reasons.len() < REASONS {
                summary.reasons.push(Refused { place, reason: reason.to_owned() });
            }
        });
    }

    fn refuse_all(&self, draft: &Draft, reason: &str) {
        for write in &draft.writes {
            self.refuse(write.record.reference.to_string(), reason);
        }
    }

    /// Reads a file or a folder. With `late`, files that need records which are not here yet are
    /// put there instead of being refused.
    fn path(
        &self,
        path: &Path,
        writers: &Writers,
        late: Option<&Mutex<Vec<PathBuf>>>,
        progress: Progress<'_>,
    ) {
        let (files, odd) = files::below(path);
        for (path, reason) in odd {
            self.refuse(path.display().to_string(), &reason);
        }
        for file in files {
            self.file(&file, writers, late);
            progress(std::fs::metadata(&file).map_or(0, |found| found.len()));
        }
    }

    fn file(&self, file: &Path, writers: &Writers, late: Option<&Mutex<Vec<PathBuf>>>) {
        let place = file.display().to_string();
        let resolve = Resolve::in_store(self.store);
        let mut seen = Seen { resources: 0, put_off: false };
        let read = files::documents(
            file,
            self.limits,
            &mut |text, line| {
                let place = line.map_or(place.clone(), |line| format!("{place} line {line}"));
                match document::read(text, self.limits, &resolve) {
                    Ok(found) if !found.unresolved.is_empty() && late.is_some() => {
                        seen.put_off = true;
                        None
                    }
                    Ok(found) => {
                        seen.resources += (found.records.len() + found.refused.len()) as u64;
                        for (entry, refusal) in &found.refused {
                            self.refuse(format!("{place} {entry}"), &refusal.reason);
                        }
                        Some(found.records)
                    }
                    Err(refusal) => {
                        self.refuse(place, &refusal.reason);
                        None
                    }
                }
            },
            &mut |records| {
                for change in plan::changes(records, self.limits) {
                    if !writers.send(change) {
                        return false;
                    }
                }
                true
            },
        );
        if let Err(reason) = read {
            self.refuse(place, &reason);
        }
        self.note(|summary| {
            summary.files += u64::from(!seen.put_off);
            summary.resources += seen.resources;
        });
        if let (true, Some(Ok(mut late))) = (seen.put_off, late.map(Mutex::lock)) {
            late.push(file.to_owned());
        }
    }
}

struct Seen {
    resources: u64,
    put_off: bool,
}
