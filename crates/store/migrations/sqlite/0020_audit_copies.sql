-- Rows of the audits of sites below, as they were passed on, for ever: the parent can prove each
-- chain by itself. A site that was restored goes on from its backup's last row: that is a new life
-- of its chain, and what it had before stays.
CREATE TABLE audit_site (
    site   TEXT PRIMARY KEY,
    via    TEXT NOT NULL,                        -- the child that brings its rows
    heard  INTEGER NOT NULL                      -- when rows, or that there are none, came last
) STRICT;
CREATE TABLE audit_life (
    site  TEXT NOT NULL REFERENCES audit_site (site),
    life  INTEGER NOT NULL,                      -- from 0
    base  INTEGER NOT NULL,                      -- the row that its first one follows; 0: none
    hash  BLOB NOT NULL CHECK (length(hash) = 32),  -- of that row
    PRIMARY KEY (site, life)
) STRICT, WITHOUT ROWID;
CREATE TABLE audit_copy (
    site     TEXT NOT NULL REFERENCES audit_site (site),
    life     INTEGER NOT NULL,
    key      INTEGER NOT NULL,
    at       INTEGER NOT NULL,                   -- by the clock of that site
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    detail   TEXT NOT NULL,
    hash     BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (site, life, key)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER audit_copy_is_append_only_update BEFORE UPDATE ON audit_copy BEGIN
    SELECT RAISE(ABORT, 'the audit is append only');
END;
CREATE TRIGGER audit_copy_is_append_only_delete BEFORE DELETE ON audit_copy BEGIN
    SELECT RAISE(ABORT, 'the audit is append only');
END;

-- At a child: up to which row the parent has said that it holds each chain (empty: our own).
CREATE TABLE audit_up (
    site  TEXT PRIMARY KEY,
    key   INTEGER NOT NULL,
    hash  BLOB NOT NULL CHECK (length(hash) = 32),
    at    INTEGER NOT NULL                       -- when it last said so
) STRICT;

-- Rows that name patients to whom something was shown, for "who has seen this patient".
CREATE INDEX audit_seen ON audit (key) WHERE action IN ('read', 'search', 'history', 'sent',
    'export', 'backup', 'timeline', 'patient-find', 'patient-fetch', 'conflict-read', 'feed-read');
