//! A little room on the disk that is kept for opening the store. SQLite needs some even to read: on
//! a disk that others have filled while the site was down, nothing could be read without it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The name of the file in a site's folder.
const FILE: &str = "tributary.reserve";
/// What is kept: twice what the first readers and writers share.
const BYTES: usize = 64 << 10;

fn file(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Keeps room, if there is any. Where there is none, that is no failure of whoever opens the site.
pub(super) fn keep(dir: &Path) {
    let path = file(dir);
    if path.exists() {
        return;
    }
    let made = std::fs::File::create_new(&path).and_then(|mut file| file.write_all(&[7; BYTES]));
    if made.is_err() {
        give_up(dir);
    }
}

/// Lets go of what was kept; whether there was any.
pub(super) fn give_up(dir: &Path) -> bool {
    std::fs::remove_file(file(dir)).is_ok()
}
