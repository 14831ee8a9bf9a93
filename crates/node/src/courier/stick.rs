//! The folder that is carried: files written aside and renamed, so that a stick that is pulled out
//! too early has whole files or none.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use protocol::{SiteId, Timestamp};

use super::packet::Kind;

/// A folder on a stick, or on any other thing that is carried.
#[derive(Debug)]
pub struct Stick {
    folder: PathBuf,
}

impl Stick {
    /// The folder, which has to be there: a stick that is not plugged in is noticed.
    pub fn at(folder: &Path) -> anyhow::Result<Stick> {
        if !folder.is_dir() {
            bail!("{} is not a folder: is the stick plugged in?", folder.display());
        }
        Ok(Stick { folder: folder.to_owned() })
    }

    /// Writes a file whole, and past every cache.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let (path, aside) = (self.folder.join(name), self.folder.join(format!("{name}.part")));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&aside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&aside, &path)?;
            // Not every system lets a folder be synced; the file itself is safe.
            if let Ok(folder) = File::open(&self.folder) {
                let _ = folder.sync_all();
            }
            Ok(())
        };
        write().inspect_err(|_| drop(std::fs::remove_file(&aside))).with_context(|| {
            format!("failed to write {}: is the stick full or gone?", path.display())
        })
    }

    /// The packets of this kind between these sites, in the order of their names.
    pub(super) fn find(
        &self,
        kind: Kind,
        from: Option<&SiteId>,
        to: &SiteId,
    ) -> anyhow::Result<Vec<String>> {
        let failed = || format!("failed to read {}", self.folder.display());
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let mut words = name.split('_');
            let fits = from.is_none_or(|from| words.clone().next() == Some(from.as_str()))
                && words.nth(1) == Some(to.as_str())
                && name.ends_with(kind.ending());
            // Nothing but files: to open a pipe would wait for ever.
            if fits && entry.file_type().with_context(failed)?.is_file() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// A file's bytes; refuses one that is longer than any packet.
    pub(super) fn read(&self, name: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
        let path = self.folder.join(name);
        let failed = || format!("failed to read {}", path.display());
        let mut bytes = Vec::new();
        File::open(&path)
            .with_context(failed)?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .with_context(failed)?;
        if bytes.len() as u64 > limit {
            bail!("it is over the limit packet_bytes = {limit}");
        }
        Ok(bytes)
    }

    /// Takes a file off that has done its work.
    pub(super) fn remove(&self, name: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("failed to remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// A file's name: who, for whom, when, which. Sites' names have no `_`.
pub(super) fn name(
    from: &SiteId,
    to: &SiteId,
    at: Timestamp,
    which: impl std::fmt::Display,
    kind: Kind,
) -> String {
    let at: String = at.to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    format!("{from}_{to}_{at}_{which}{}", kind.ending())
}

/// The name of the answers to a packet: the same for the same packet.
pub(super) fn answer_name(of: &str, from: &SiteId, to: &SiteId) -> String {
    let which = of.splitn(3, '_').nth(2).unwrap_or(of);
    let which = which.strip_suffix(Kind::Messages.ending()).unwrap_or(which);
    format!("{from}_{to}_{which}{}", Kind::Receipts.ending())
}

/// Whether this can be the name of a packet of messages, and no way out of the folder.
pub(super) fn is_messages(name: &str) -> bool {
    name.ends_with(Kind::Messages.ending()) && !name.contains(['/', '\\', ':'])
}
