//! The SQLite backend: one file, WAL, one writer with group commit, readers beside it.

#[cfg_attr(not(test), expect(dead_code, reason = "the writer and the search come next"))]
mod keys;
