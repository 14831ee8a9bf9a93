//! The record system is a FHIR R4 server: by what it says at `/metadata`, changes are noticed by
//! its history or by what was updated last, and written as transactions or record by record.
//!
//! Records have the same ids there as here. A server that gives ids of its own cannot hold ours:
//! which is which is kept here then (`map.rs`), or what is made here is not written there.

mod follow;
mod load;
mod map;
mod pages;
mod several;
mod write;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use protocol::resource::Record;
use protocol::{Limits, RecordRef};
use serde::{Deserialize, Serialize};
use store::SharedStore;

use crate::config::{EmrConfig, FhirIds, LoginKind};
use crate::emr::ids::Ids;
use crate::fhir_server::{Capabilities as Offered, FhirError, FhirServer, Login, Read, Ways};
use crate::ports::{Capabilities, Emr, EmrError, EmrWrite, LinkError, Noticed, Shown};

use self::follow::Follow;
use self::load::Load;
use self::several::Batches;

/// A FHIR server beside a site.
pub struct FhirEmr {
    server: FhirServer,
    ids: Ids,
    mode: FhirIds,
    /// A person has said that its ids are as they were.
    same_ids: bool,
    /// Whether it has dropped the tag of what was posted.
    drops_tags: AtomicBool,
    limits: Limits,
    offered: Mutex<Option<Arc<Offered>>>,
    /// Whether it shows records whole only (it refuses `_elements`).
    whole: AtomicBool,
    batches: Batches,
    ways: Ways,
}

/// Where the reader is; as text it is the cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Place {
    /// Naming everything that is there.
    Load(Load),
    /// Following what changes.
    Follow(Follow),
}

impl FhirEmr {
    /// The server that the settings name.
    pub fn new(
        config: &EmrConfig,
        secret: Option<&str>,
        store: SharedStore,
        limits: &Limits,
        ways: Ways,
    ) -> Result<FhirEmr, LinkError> {
        let url = config.url.as_deref().unwrap_or_default();
        let login = match (&config.user, secret) {
            _ if config.login.kind != LoginKind::None => Login::of(&config.login, secret)?,
            (Some(user), Some(password)) => Login::basic(user, password)?,
            (None, Some(token)) => Login::bearer(token)?,
            (_, None) => Login::none(),
        };
        let server = FhirServer::new(url, login, ways.clone(), limits)?;
        let (limits, offered, whole) = (limits.clone(), Mutex::default(), AtomicBool::default());
        let batches = Batches::default();
        let (ids, mode) = (Ids::new(store), config.fhir.ids);
        let (same_ids, drops_tags) = (config.fhir.same_ids, AtomicBool::default());
        Ok(FhirEmr {
            server,
            ids,
            mode,
            same_ids,
            drops_tags,
            limits,
            offered,
            whole,
            batches,
            ways,
        })
    }

    /// What it offers, as it said once.
    async fn offered(&self) -> Result<Arc<Offered>, EmrError> {
        if let Some(offered) = self.known().clone() {
            return Ok(offered);
        }
        self.ask_offered().await
    }

    async fn ask_offered(&self) -> Result<Arc<Offered>, EmrError> {
        let offered = Arc::new(self.server.capabilities().await.map_err(LinkError::from)?);
        *self.known() = Some(offered.clone());
        Ok(offered)
    }

    /// A server whose database is down still says what it offers.
    async fn is_at_work(&self, offered: &Offered) -> Result<(), EmrError> {
        let Some(kind) = offered.types.keys().next() else { return Ok(()) };
        match self.server.pages(&format!("{kind}?_count=1"))?.next().await {
            Err(FhirError::Away { error, .. }) => Err(EmrError::Away(error)),
            Err(FhirError::Unclear(why)) => Err(EmrError::away(why)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Arc<Offered>>> {
        self.offered.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A record as it is there, and its version there.
    async fn look(&self, record: &RecordRef) -> Result<Looked, EmrError> {
        self.ids_hold().await?;
        let Some(there) = self.place_of(record).await? else { return Ok((Shown::Absent, None)) };
        let read = self.server.read(&there).await.map_err(plain)?;
        self.looked(record, &there, read).await
    }

    /// What came of reading a record that has the name `there` on that server.
    async fn looked(
        &self,
        record: &RecordRef,
        there: &RecordRef,
        read: Read,
    ) -> Result<Looked, EmrError> {
        match read {
            Read::Gone => Ok((Shown::Gone, None)),
            Read::Absent => Ok((Shown::Absent, None)),
            Read::Body(body, version) => {
                let read = Record::parse(&body, &self.limits);
                let read = read.map_err(|refusal| EmrError::Refused(refusal.reason))?;
                if read.reference != *there {
                    let words = format!("{} came where it was asked for", read.reference);
                    return Err(EmrError::Refused(words));
                }
                self.is_still(record, &read).await?;
                let read = self.as_ours(record, read).await?;
                Ok((Shown::Body(Box::new(read)), version))
            }
        }
    }

    async fn notice(&self, cursor: Option<&str>) -> Result<Noticed, EmrError> {
        self.ids_hold().await?;
        let offered = self.offered().await?;
        let place = match cursor {
            None => Place::Load(Load::begin(&offered)),
            Some(text) => serde_json::from_str(text).map_err(|_| {
                EmrError::CursorLost("the cursor is not one of a FHIR server".to_owned())
            })?,
        };
        let Found { groups, shown, place, more } = match place {
            Place::Load(load) => self.load(load).await?,
            Place::Follow(follow) => self.follow(&offered, follow).await?,
        };
        let cursor = serde_json::to_string(&place)
            .map_err(|error| EmrError::away(format!("no cursor can be written: {error}")))?;
        Ok(Noticed { groups, shown, cursor, more, left: None })
    }
}

/// A record as it is there, and its version there.
type Looked = (Shown, Option<String>);

/// What was found.
struct Found {
    /// The names of records.
    groups: Vec<Vec<RecordRef>>,
    /// Some of them whole.
    shown: BTreeMap<RecordRef, Shown>,
    /// Where to go on.
    place: Place,
    /// Whether there is more at once.
    more: bool,
}

impl Found {
    /// Names alone.
    fn names(groups: Vec<Vec<RecordRef>>, place: Place, more: bool) -> Found {
        Found { groups, shown: BTreeMap::new(), place, more }
    }
}

/// What an error means for one record.
fn plain(error: FhirError) -> EmrError {
    match error {
        FhirError::Away { error, .. } => EmrError::Away(error),
        FhirError::Changed => EmrError::Changed,
        // Whether the record is to blame shows in whether the server answers other questions.
        FhirError::Unclear(why) => EmrError::away(why),
        FhirError::Refused(why) | FhirError::TooMuch(why) => EmrError::Refused(why),
    }
}

impl Emr for FhirEmr {
    fn capabilities(&self) -> BoxFuture<'_, Result<Capabilities, EmrError>> {
        async {
            let offered = self.ask_offered().await?;
            self.is_at_work(&offered).await?;
            let noticed = match offered.history {
                true => "what changes is noticed by the history of everything",
                false => {
                    "what changes is noticed by what was updated last, and deletions by comparing \
                     ids from time to time"
                }
            };
            let written = match offered.transaction {
                true => "one patient's records are written in one transaction",
                false => "records are written one by one",
            };
            let mut notes = vec![noticed.to_owned(), written.to_owned()];
            if self.mode == FhirIds::Map && self.same_ids {
                let words = "its ids are taken for what they were, even after a loss: take \
                    `same_ids` out of [emr.fhir] when everything has been compared";
                notes.push(words.to_owned());
            }
            let mut missing = Vec::new();
            let keeps = self.mode == FhirIds::Keep;
            if keeps && !offered.types.values().any(|kind| kind.update_create) {
                missing.push(
                    "it makes no record under an id that it is given (updateCreate): what is made \
                     here is not written there, unless `ids = \"map\"` stands in [emr.fhir]"
                        .to_owned(),
                );
            }
            Ok(Capabilities {
                product: offered.software.clone().unwrap_or_else(|| "a FHIR server".to_owned()),
                version: None,
                notes,
                missing,
            })
        }
        .boxed()
    }

    fn changes_since<'a>(
        &'a self,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Noticed, EmrError>> {
        self.notice(cursor).boxed()
    }

    fn read<'a>(&'a self, record: &'a RecordRef) -> BoxFuture<'a, Result<Shown, EmrError>> {
        async { Ok(self.look(record).await?.0) }.boxed()
    }

    fn several(&self) -> usize {
        self.batch()
    }

    fn read_several<'a>(
        &'a self,
        records: &'a [RecordRef],
    ) -> BoxFuture<'a, Vec<Result<Shown, EmrError>>> {
        async {
            let looked = self.look_at(records).await;
            looked.into_iter().map(|one| Ok(one?.0)).collect()
        }
        .boxed()
    }

    fn write<'a>(&'a self, writes: &'a [EmrWrite]) -> BoxFuture<'a, Vec<Result<Shown, EmrError>>> {
        self.write_all(writes).boxed()
    }
}
