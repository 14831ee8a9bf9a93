//! The SQLite backend: one file, WAL, one writer with group commit, readers beside it.
