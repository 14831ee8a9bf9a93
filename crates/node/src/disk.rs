//! Room on the disk that holds a store.

use std::path::Path;

/// Bytes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Those that are free for us.
    pub free: u64,
    /// All.
    pub size: u64,
}

impl Disk {
    /// The disk of a folder; `None` where that cannot be told.
    #[cfg(unix)]
    pub fn of(folder: &Path) -> Option<Disk> {
        let disk = rustix::fs::statvfs(folder).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Some(Disk { free: bytes(disk.f_bavail), size: bytes(disk.f_blocks) })
    }

    /// The disk of a folder; `None` where that cannot be told.
    #[cfg(not(unix))]
    pub fn of(_: &Path) -> Option<Disk> {
        None
    }

    /// Hundredths that are free.
    pub fn free_percent(self) -> u8 {
        let hundredths = u128::from(self.free) * 100 / u128::from(self.size.max(1));
        u8::try_from(hundredths).unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_told_in_hundredths() {
        for (free, size, hundredths) in [(0, 10, 0), (1, 3, 33), (10, 10, 100), (5, 0, 100)] {
            assert_eq!(Disk { free, size }.free_percent(), hundredths, "{free} of {size}");
        }
        #[cfg(unix)]
        assert!(Disk::of(Path::new(".")).is_some_and(|disk| disk.size > disk.free));
    }
}
