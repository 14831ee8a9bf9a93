//! The suite of all backends over SQLite, and what only this backend can get wrong.

use std::sync::atomic::{AtomicU32, Ordering};

use protocol::Limits;
use store::conformance::{Maker, START};
use store::sqlite::SqliteStore;
use store::{NewSite, OpenOptions, Store};

/// Stores in a folder that goes with it.
struct Files {
    folder: tempfile::TempDir,
    made: AtomicU32,
}

impl Files {
    fn new() -> Files {
        Files { folder: tempfile::tempdir().unwrap(), made: AtomicU32::new(0) }
    }
}

fn options(limits: &Limits) -> OpenOptions {
    OpenOptions { limits: limits.clone(), cache_bytes: 1 << 20, readers: 2 }
}

impl Maker for Files {
    fn make(&self, site: &NewSite, limits: &Limits) -> Box<dyn Store> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let path = self.folder.path().join(format!("{}-{number}.db", site.site));
        Box::new(SqliteStore::create(&path, site, options(limits), START).unwrap())
    }
}

macro_rules! tests {
    ($($module:ident: $($rule:ident),+ $(,)?;)+) => {
        $(mod $module {
            $(
                #[test]
                fn $rule() {
                    store::conformance::$module::$rule(&super::Files::new());
                }
            )+
        })+
    };
}

store::for_each_rule!(tests);
