//! A consistent copy of the running store: one snapshot, copied in portions while others write.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::*;
use crate::StoreError;

/// Pages copied between two words of progress: 4 MiB.
const PAGES: i32 = 1_024;

/// The copy is made beside `path`, synced, and renamed when it is whole: a file of that name is a
/// whole backup or not there.
pub(super) fn site_backup(
    store: &SqliteStore,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(StoreError::Name(format!("there is a file {} already", path.display())));
    }
    let aside = Aside::new(path)?;
    store.read("make a backup", |conn| {
        // From its first read on this transaction holds its snapshot, so no writer makes the
        // copy begin again.
        conn.query_row("SELECT sequence FROM site", [], |row| row.get::<_, u64>(0))?;
        copy(conn, &aside.path, progress)
    })?;
    aside.publish(path).map_err(failed)
}

fn copy(conn: &Connection, path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(path, flags)?;
    target.pragma_update(None, "synchronous", "OFF")?;
    {
        let backup = Backup::new(conn, &mut target)?;
        loop {
            let step = backup.step(PAGES)?;
            let state = backup.progress();
            let count = |pages: i32| u64::try_from(pages).unwrap_or(0);
            progress(count(state.pagecount - state.remaining), count(state.pagecount));
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                _ => std::thread::sleep(std::time::Duration::from_millis(50)),
            }
        }
    }
    target.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn failed(error: std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull => StoreError::Full,
        _ => StoreError::Database { step: "make a backup", source: Box::new(error) },
    }
}

/// The file that is being made; goes again unless it is published.
struct Aside {
    path: PathBuf,
    published: bool,
}

impl Aside {
    fn new(path: &Path) -> Result<Aside> {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        // One that an interrupted backup has left is of no use to anybody.
        let _ = fs::remove_file(&path);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path).map_err(failed)?;
        Ok(Aside { path, published: false })
    }

    fn publish(mut self, path: &Path) -> std::io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        // A link, not a rename: it does not replace a file that came there meanwhile.
        fs::hard_link(&self.path, path).or_else(|_| fs::rename(&self.path, path))?;
        let _ = fs::remove_file(&self.path);
        self.published = true;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        for end in ["", "-journal", "-wal", "-shm"] {
            let mut name: OsString = self.path.as_os_str().to_owned();
            name.push(end);
            let _ = fs::remove_file(name);
        }
    }
}

#[cfg(test)]
mod tests;
