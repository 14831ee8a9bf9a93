//! Opening the site in a folder, for every verb.

mod reserve;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use protocol::SiteId;
use store::sqlite::SqliteStore;
use store::{OpenOptions, SharedStore, StoreError};

use crate::config::Config;
use crate::courier::Key;
use crate::emr;
use crate::fhir_server::Ways;
use crate::ports::system::{OsEntropy, SystemClock};
use crate::site::{Parts, Site};
use crate::transport::http::HttpTransport;

/// The store's name in a site's folder.
pub(crate) const STORE: &str = "tributary.db";
/// The name of the file with the credential for the parent, readable by its owner only.
pub(crate) const CREDENTIAL: &str = "parent.credential";

/// The name of the file with the keys of what a courier brings, readable by its owner only.
const COURIER: &str = "courier.key";

/// Threads that wait for the store.
const BLOCKING_THREADS: usize = 6;

/// The folder of a site.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Dir {
    /// The site's folder
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

impl Dir {
    /// Where the store is.
    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join(STORE)
    }

    /// The site with its settings and its store.
    pub(crate) fn open(&self) -> anyhow::Result<Site> {
        let config = Config::load(&self.dir)?;
        let store = self.open_store(&config)?;
        let held = store::Store::site(&store)?;
        if held.site != config.site {
            bail!(
                "failed to open the site: {} is the store of {}, and tributary.toml says {}",
                self.store().display(),
                held.site,
                config.site
            );
        }
        let store: SharedStore = Arc::new(store);
        let ways = Ways {
            transport: Arc::new(HttpTransport::new().map_err(anyhow::Error::msg)?),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            idle_seconds: config.limits.request_seconds,
        };
        Ok(Site::new(Parts {
            emr: emr::open(&config, &emr_secrets(&self.dir, &config)?, ways.clone(), &store)?,
            credential: read_credential(&self.dir)?,
            courier: Some(courier_key(&self.dir)?),
            secrets: read_secrets(&self.dir, &config)?,
            store,
            clock: ways.clock,
            entropy: ways.entropy,
            transport: ways.transport,
            run_lock: Some(self.dir.join("sync.lock")),
            inline: false,
            config,
        }))
    }
}

impl Dir {
    /// The store. On a full disk it takes the room that was kept for that.
    fn open_store(&self, config: &Config) -> anyhow::Result<SqliteStore> {
        let open = || SqliteStore::open(&self.store(), options(config));
        let opened = match open() {
            Err(StoreError::Full) if reserve::give_up(&self.dir) => open(),
            opened => opened,
        };
        if opened.is_ok() {
            reserve::keep(&self.dir);
        }
        opened.with_context(|| format!("failed to open {}", self.store().display()))
    }
}

/// How the store is opened.
pub(crate) fn options(config: &Config) -> OpenOptions {
    OpenOptions {
        limits: config.limits.clone(),
        merge: config.policies(),
        urgent: config.urgent(),
        cache_bytes: 8 << 20,
        readers: 4,
        wal_pages: OpenOptions::WAL_PAGES,
    }
}

/// What the sources ask for. Refuses a file that others than its owner can read.
pub(crate) fn read_secrets(
    dir: &Path,
    config: &Config,
) -> anyhow::Result<BTreeMap<SiteId, String>> {
    let mut secrets = BTreeMap::new();
    for source in &config.sources {
        let Some(file) = &source.token_file else { continue };
        let secret = read_secret(&dir.join(file), &format!("the source {}", source.name))?;
        secrets.insert(source.name.clone(), secret);
    }
    // No source has the parent's name.
    if let Some(parent) = &config.parent
        && let Some(file) = &parent.fhir.login.secret_file
    {
        let secret = read_secret(&dir.join(file), "the parent ([parent.fhir.login])")?;
        secrets.insert(parent.site.clone(), secret);
    }
    Ok(secrets)
}

/// What the record system and its database ask for, where the settings name files with it.
pub(crate) fn emr_secrets(dir: &Path, config: &Config) -> anyhow::Result<emr::Secrets> {
    if !config.emr.is_system() {
        return Ok(emr::Secrets::default());
    }
    let read = |file: &Option<PathBuf>, whose: &str| {
        file.as_ref().map(|file| read_secret(&dir.join(file), whose)).transpose()
    };
    let authority = config.emr.openmrs.database_ca_file.as_ref().map(|file| {
        let path = dir.join(file);
        let failed = || format!("failed to read {} ([emr.openmrs])", path.display());
        std::fs::read(&path).with_context(failed)
    });
    Ok(emr::Secrets {
        database_ca: authority.transpose()?,
        user: match &config.emr.secret_file {
            None => read(&config.emr.login.secret_file, "the record system ([emr.login])")?,
            file => read(file, "the record system ([emr])")?,
        },
        database: read(&config.emr.openmrs.database_secret_file, "the database ([emr.openmrs])")?,
    })
}

/// A secret in a file. Refuses one that others than its owner can read.
pub(crate) fn read_secret(path: &Path, whose: &str) -> anyhow::Result<String> {
    let failed = || format!("failed to read {} of {whose}", path.display());
    let text = std::fs::read_to_string(path).with_context(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).with_context(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            bail!("{}: others can read it; `chmod 600` shuts them out", failed());
        }
    }
    if text.trim().is_empty() {
        bail!("{}: it is empty", failed());
    }
    Ok(text.trim().to_owned())
}

fn read_credential(dir: &Path) -> anyhow::Result<Option<String>> {
    let path = dir.join(CREDENTIAL);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
}

/// The keys of what a courier brings, made when they are needed first.
fn courier_key(dir: &Path) -> anyhow::Result<Key> {
    let path = dir.join(COURIER);
    let read = || match std::fs::read_to_string(&path) {
        // Empty: who made it did not come to write it.
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Key::read(&text).map(Some).with_context(|| {
            let path = path.display();
            format!("failed to read {path}: it is no key; move it away, and a new one is made")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    };
    if let Some(key) = read()? {
        return Ok(key);
    }
    let made = Key::make();
    let aside = secret_aside(&path, &made.secret())?;
    // Another process may have made one at the same moment: the first one counts, for both.
    if std::fs::hard_link(&aside, &path).is_ok() || read()?.is_some() {
        drop(std::fs::remove_file(&aside));
    } else {
        std::fs::rename(&aside, &path)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(read()?.unwrap_or(made))
}

/// Writes a secret so that only its owner can ever read it.
pub(crate) fn write_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    let aside = secret_aside(path, secret)?;
    let renamed = std::fs::rename(&aside, path);
    if renamed.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    renamed.with_context(|| format!("failed to write {}", path.display()))
}

/// Writes a secret to a file of this process alone beside `path`.
fn secret_aside(path: &Path, secret: &str) -> anyhow::Result<PathBuf> {
    use std::io::Write as _;
    let aside = path.with_extension(format!("new-{}", std::process::id()));
    let mut options = std::fs::File::options();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let written = options
        .open(&aside)
        .and_then(|mut file| writeln!(file, "{secret}").and_then(|()| file.sync_all()));
    if written.is_err() {
        // A disk that is full has room for a name, and no more.
        let _ = std::fs::remove_file(&aside);
    }
    written.with_context(|| format!("failed to write {}", aside.display()))?;
    Ok(aside)
}

/// Runs async work of a verb.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Every thread keeps memory of its own, and the store has one writer: few are enough.
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("failed to start the runtime")?;
    Ok(runtime.block_on(work))
}
