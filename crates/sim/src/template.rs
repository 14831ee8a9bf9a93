//! Stores to begin with: made once by the production code, and copied for each world.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use node::http::auth::credential_hash;
use node::ports::Entropy as _;
use protocol::reconcile::Policies;
use protocol::{Epoch, FeedId, Limits, SiteId, Timestamp};
use store::sqlite::SqliteStore;
use store::{NewSite, OpenOptions, Store as _, TokenDraft, TokenScope};
use tempfile::TempDir;

use crate::chance::SeededEntropy;

/// The credential of the program at each site that writes by its FHIR API.
pub(crate) const PROGRAM: &str = "program";

/// The credential of the third party at each site that leases its messages.
pub(crate) const CARRIER: &str = "carrier";

/// The credential of the parent at each site that it reads.
pub(crate) const READER: &str = "reader";

/// Stores that version 0.1.0 wrote, of a centre and its clinic.
const OLD: [(&str, &[u8]); 2] = [
    ("centre", include_bytes!("../../store/fixtures/schema-1-centre.db.zst")),
    ("clinic", include_bytes!("../../store/fixtures/schema-1-clinic.db.zst")),
];

static MADE: Mutex<BTreeMap<String, Arc<Vec<u8>>>> = Mutex::new(BTreeMap::new());

/// A folder in memory where there is a file system for that: a disk need not wear out for it.
pub(crate) fn folder() -> anyhow::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }
        .context("failed to make a temporary folder")
}

/// How a store of a world is opened.
pub(crate) fn options(limits: &Limits) -> OpenOptions {
    OpenOptions {
        limits: limits.clone(),
        merge: Policies::default(),
        urgent: protocol::urgency::usual(),
        cache_bytes: 1 << 20,
        readers: 1,
        // Small, so that it is often written back, and a crash has little to copy.
        wal_pages: 100,
    }
}

/// Puts the store that a site begins with at `path`.
pub(crate) fn begin(path: &Path, id: &SiteId, old: bool, now: Timestamp) -> anyhow::Result<()> {
    let found = OLD.iter().find(|(name, _)| old && *name == id.as_str());
    if let Some((_, packed)) = found {
        let bytes = zstd::decode_all(*packed).context("failed to unpack an old store")?;
        std::fs::write(path, bytes).context("failed to write an old store")?;
        let store = SqliteStore::open(path, options(&Limits::default()))?;
        store.token_add(&program(), now)?;
        store.token_add(&carrier(), now)?;
        store.token_add(&reader(), now)?;
        return Ok(());
    }
    let bytes = {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        match made.get(id.as_str()) {
            Some(bytes) => Arc::clone(bytes),
            None => {
                let bytes = Arc::new(make(id, now)?);
                made.insert(id.to_string(), Arc::clone(&bytes));
                bytes
            }
        }
    };
    std::fs::write(path, &*bytes).context("failed to write a store to begin with")
}

fn make(id: &SiteId, now: Timestamp) -> anyhow::Result<Vec<u8>> {
    let folder = folder()?;
    let path = folder.path().join("site.db");
    let chance = SeededEntropy::new(0, id.as_str());
    let new = NewSite {
        site: id.clone(),
        epoch: Epoch::from_random(chance.uuid_bytes()),
        reference: FeedId::from_random(chance.uuid_bytes()),
    };
    let store = SqliteStore::create(&path, &new, options(&Limits::default()), now)?;
    store.token_add(&program(), now)?;
    store.token_add(&carrier(), now)?;
    store.token_add(&reader(), now)?;
    drop(store);
    std::fs::read(&path).context("failed to read a store to begin with")
}

fn program() -> TokenDraft {
    TokenDraft {
        name: "sim".to_owned(),
        scope: TokenScope::FhirWrite,
        children: Vec::new(),
        hash: credential_hash(PROGRAM),
        expires: None,
    }
}

fn carrier() -> TokenDraft {
    TokenDraft {
        name: "carrier".to_owned(),
        scope: TokenScope::Outbox,
        hash: credential_hash(CARRIER),
        ..program()
    }
}

fn reader() -> TokenDraft {
    TokenDraft {
        name: "reader".to_owned(),
        scope: TokenScope::ReadOutgoing,
        hash: credential_hash(READER),
        ..program()
    }
}

/// The files that belong to a store.
pub(crate) fn files(path: &Path) -> [PathBuf; 2] {
    [path.to_owned(), PathBuf::from(format!("{}-wal", path.display()))]
}
