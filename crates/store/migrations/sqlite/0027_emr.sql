-- The record system beside this site (its EMR): how far it was read, what it showed of each record,
-- and what it is still to be given.
-- Times are milliseconds since 1970, UTC, by this site's clock.

-- The one record system; no row: there never was one.
CREATE TABLE emr_link (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    kind          TEXT NOT NULL,                 -- as in the settings
    url           TEXT NOT NULL,
    captures      INTEGER NOT NULL CHECK (captures IN (0, 1)),
    applies       INTEGER NOT NULL CHECK (applies IN (0, 1)),
    cursor        TEXT,                          -- the adapter's own; NULL: a full load is to begin
    load          INTEGER NOT NULL DEFAULT 1,    -- the number of the last full load
    loading       INTEGER NOT NULL DEFAULT 1 CHECK (loading IN (0, 1)),
    loaded        INTEGER NOT NULL DEFAULT 0,    -- records that it has named so far
    remaining     INTEGER,                       -- still to be named, as far as that is known
    reload_reason TEXT,                          -- why everything is compared again
    captured      INTEGER NOT NULL DEFAULT 0,    -- changes that were recorded from it
    applied       INTEGER NOT NULL DEFAULT 0,    -- states that were written into it
    capabilities  TEXT,                          -- JSON
    failures      INTEGER NOT NULL DEFAULT 0,    -- in a row
    last_error    TEXT,
    last_attempt  INTEGER,
    last_contact  INTEGER,
    away_since    INTEGER,                       -- when the first of these failures was
    next_attempt  INTEGER
) STRICT;

-- What is known of a record there. A record without a row was neither shown nor is to be given.
CREATE TABLE emr_record (
    record        INTEGER PRIMARY KEY REFERENCES record (key),
    digest        BLOB CHECK (length(digest) = 32),  -- the state of ours that the image stands for; NULL: none
    agreed        BLOB,                          -- its body, where no version of ours has that digest
    image_digest  BLOB CHECK (length(image_digest) = 32), -- what was shown last when it was there
    image         BLOB,                          -- its body, where that is not the one of `digest`
    gone          INTEGER NOT NULL DEFAULT 0 CHECK (gone IN (0, 1)), -- it is deleted there
    state         TEXT NOT NULL
        CHECK (state IN ('same', 'due', 'retry', 'waits', 'parked', 'kept', 'dropped')),
    since         INTEGER NOT NULL,              -- the sequence since which it is to be given
    attempts      INTEGER NOT NULL DEFAULT 0,
    next_at       INTEGER NOT NULL DEFAULT 0,
    reason        TEXT,
    waits_type    TEXT,                          -- the record that it waits for
    waits_id      TEXT,
    load          INTEGER NOT NULL DEFAULT 0     -- the full load that named it last
) STRICT;
CREATE INDEX emr_record_open ON emr_record (state, since) WHERE state <> 'same';

-- Records of which something was noticed, and that could not be read yet.
CREATE TABLE emr_hint (
    type      TEXT NOT NULL,
    id        TEXT NOT NULL,
    noticed   INTEGER NOT NULL,
    attempts  INTEGER NOT NULL DEFAULT 0,
    next_at   INTEGER NOT NULL DEFAULT 0,
    reason    TEXT,
    PRIMARY KEY (type, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX emr_hint_next ON emr_hint (next_at);

-- Records that have another id there than here.
CREATE TABLE emr_id (
    type   TEXT NOT NULL,
    id     TEXT NOT NULL,
    local  TEXT NOT NULL,
    PRIMARY KEY (type, id),
    UNIQUE (type, local)
) STRICT, WITHOUT ROWID;
