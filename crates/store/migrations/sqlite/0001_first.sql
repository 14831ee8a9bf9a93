-- The first schema. Immutable once released: later changes are new files.
-- Times are milliseconds since 1970, UTC, by this site's clock unless a comment says otherwise.

CREATE TABLE site (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    site        TEXT NOT NULL,
    epoch       BLOB NOT NULL CHECK (length(epoch) = 16),
    sequence    INTEGER NOT NULL DEFAULT 0,   -- the last sequence given; commit order, no gaps
    number      INTEGER NOT NULL DEFAULT 0,   -- the last number of our own changes in this epoch
    has_parent  INTEGER NOT NULL DEFAULT 0 CHECK (has_parent IN (0, 1)),
    created     INTEGER NOT NULL
) STRICT;

-- A site in one life of its store: where changes were made, and which way they came.
CREATE TABLE origin (
    key    INTEGER PRIMARY KEY,
    site   TEXT NOT NULL,
    epoch  BLOB NOT NULL CHECK (length(epoch) = 16),
    UNIQUE (site, epoch)
) STRICT;

-- Patients by their FHIR id, whether their Patient record has come or not.
CREATE TABLE patient (
    key    INTEGER PRIMARY KEY,
    id     TEXT NOT NULL UNIQUE,
    state  TEXT NOT NULL DEFAULT 'here' CHECK (state IN ('here', 'frozen', 'purging')),
    -- Whether a record has named it, and cohorts were asked about it since.
    placed INTEGER NOT NULL DEFAULT 0 CHECK (placed IN (0, 1))
) STRICT;
CREATE INDEX patient_left ON patient (state) WHERE state <> 'here';

CREATE TABLE record (
    key              INTEGER PRIMARY KEY,
    type             TEXT NOT NULL,
    id               TEXT NOT NULL,
    sequence         INTEGER NOT NULL,            -- of the current version
    deleted          INTEGER NOT NULL CHECK (deleted IN (0, 1)),
    digest           BLOB NOT NULL CHECK (length(digest) = 32),
    parent_digest    BLOB CHECK (length(parent_digest) = 32),  -- what the parent is known to hold
    parent_sequence  INTEGER NOT NULL DEFAULT 0,  -- and as of which of its sequences
    left_sequence    INTEGER,                     -- the version of which the parent said that it left
    left_purge       INTEGER NOT NULL DEFAULT 0 CHECK (left_purge IN (0, 1)),
    UNIQUE (type, id)
) STRICT;
CREATE INDEX record_left ON record (key) WHERE left_sequence IS NOT NULL;
CREATE INDEX record_type_sequence ON record (type, sequence);
CREATE INDEX record_deleted ON record (type) WHERE deleted = 1;

-- Every state of every record.
CREATE TABLE version (
    key       INTEGER PRIMARY KEY,
    record    INTEGER NOT NULL REFERENCES record (key),
    sequence  INTEGER NOT NULL,
    previous  INTEGER,                            -- sequence of the version before; NULL for the first
    digest    BLOB NOT NULL CHECK (length(digest) = 32),
    body      BLOB,                               -- zstd with dictionary; NULL: deleted
    UNIQUE (record, sequence)
) STRICT;
CREATE INDEX version_sequence ON version (sequence, key);

CREATE TABLE record_patient (
    record   INTEGER NOT NULL REFERENCES record (key),
    patient  INTEGER NOT NULL REFERENCES patient (key),
    PRIMARY KEY (record, patient)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_patient_patient ON record_patient (patient, record);

-- One unit of transaction.
CREATE TABLE change (
    sequence  INTEGER PRIMARY KEY,
    origin    INTEGER REFERENCES origin (key),    -- with number: the change's id; NULL: it has none
    number    INTEGER,
    via       INTEGER NOT NULL CHECK (via IN (0, 1, 2)),  -- 0 made here, 1 from the parent, 2 from a child
    via_site  INTEGER REFERENCES origin (key),    -- which child, in which life of its store
    author    TEXT NOT NULL,
    at        INTEGER NOT NULL,                   -- by the clock of the site that made it
    recorded  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX change_id ON change (origin, number) WHERE number IS NOT NULL;
CREATE INDEX change_recorded ON change (recorded);
CREATE INDEX change_merge ON change (sequence) WHERE via = 0 AND author = 'tributary';

CREATE TABLE change_patient (
    sequence  INTEGER NOT NULL REFERENCES change (sequence),
    patient   INTEGER NOT NULL REFERENCES patient (key),
    PRIMARY KEY (sequence, patient)
) STRICT, WITHOUT ROWID;
CREATE INDEX change_patient_patient ON change_patient (patient, sequence);

-- What records can be found by (protocol::resource::search).
CREATE TABLE search_token (
    param   INTEGER NOT NULL,
    value   INTEGER NOT NULL,                     -- first 8 bytes of SHA-256 of "system|code"
    record  INTEGER NOT NULL REFERENCES record (key),
    PRIMARY KEY (param, value, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX search_token_record ON search_token (record);
CREATE TABLE search_text (
    param   INTEGER NOT NULL,
    value   TEXT NOT NULL,
    record  INTEGER NOT NULL REFERENCES record (key),
    PRIMARY KEY (param, value, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX search_text_record ON search_text (record);
CREATE TABLE search_date (
    param   INTEGER NOT NULL,
    low     INTEGER NOT NULL,
    high    INTEGER NOT NULL,
    record  INTEGER NOT NULL REFERENCES record (key),
    PRIMARY KEY (param, low, high, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX search_date_record ON search_date (record);

-- What records say of where patients belong (protocol::cohort::Place as text).
CREATE TABLE place (
    key   INTEGER PRIMARY KEY,
    text  TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE record_place (
    record   INTEGER NOT NULL REFERENCES record (key),
    patient  INTEGER NOT NULL REFERENCES patient (key),
    place    INTEGER NOT NULL REFERENCES place (key),
    PRIMARY KEY (record, patient, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_place_patient ON record_place (patient, place);

CREATE TABLE feed (
    key           INTEGER PRIMARY KEY,
    id            BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    name          TEXT NOT NULL UNIQUE,
    kind          TEXT NOT NULL CHECK (kind IN ('cohort', 'reference', 'outgoing')),
    title         TEXT NOT NULL,
    page_entries  INTEGER NOT NULL CHECK (page_entries > 0),
    head          INTEGER NOT NULL DEFAULT 0,
    head_join     INTEGER NOT NULL DEFAULT 0,
    created       INTEGER NOT NULL
) STRICT;
CREATE TABLE feed_entry (
    feed      INTEGER NOT NULL REFERENCES feed (key),
    position  INTEGER NOT NULL,
    kind      INTEGER NOT NULL CHECK (kind IN (0, 1, 2)),  -- 0 change, 1 join, 2 leave
    sequence  INTEGER NOT NULL,                  -- of the change; for join and leave: the site's at the time
    patient   INTEGER REFERENCES patient (key),  -- join and leave
    reason    TEXT,                              -- leave
    at        INTEGER NOT NULL,
    PRIMARY KEY (feed, position)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX feed_entry_sequence ON feed_entry (feed, sequence) WHERE kind = 0;
CREATE INDEX feed_entry_join ON feed_entry (feed, position) WHERE kind = 1;
CREATE INDEX feed_entry_patient ON feed_entry (patient, feed, position) WHERE kind <> 0;

CREATE TABLE cohort (
    feed        INTEGER PRIMARY KEY REFERENCES feed (key),
    definition  TEXT NOT NULL,                   -- protocol::cohort::Definition as JSON
    digest      BLOB NOT NULL CHECK (length(digest) = 32)  -- SHA-256 of that text
) STRICT;
CREATE TABLE cohort_patient (
    feed     INTEGER NOT NULL REFERENCES feed (key),
    patient  INTEGER NOT NULL REFERENCES patient (key),
    joined   INTEGER NOT NULL,                   -- position of the last join
    "left"   INTEGER,                            -- position of the last leave, if that came after
    PRIMARY KEY (feed, patient)
) STRICT, WITHOUT ROWID;
CREATE INDEX cohort_patient_patient ON cohort_patient (patient, feed);

-- Reading the parent's feeds: up to where each has been applied.
CREATE TABLE marker (
    feed      BLOB NOT NULL CHECK (length(feed) = 16),
    epoch     BLOB NOT NULL CHECK (length(epoch) = 16),
    lane      TEXT NOT NULL CHECK (lane IN ('live', 'bulk')),
    position  INTEGER NOT NULL,
    name      TEXT NOT NULL,                     -- the feed's name when it was last read
    moved     INTEGER NOT NULL,
    PRIMARY KEY (feed, epoch, lane)
) STRICT, WITHOUT ROWID;
CREATE TABLE held_patient (
    feed     BLOB NOT NULL,
    patient  INTEGER NOT NULL REFERENCES patient (key),
    joined   INTEGER NOT NULL,
    PRIMARY KEY (feed, patient)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_patient_patient ON held_patient (patient);
-- Leaves that were applied: a join from before one of them, late in the other lane, is void.
CREATE TABLE left_patient (
    feed      BLOB NOT NULL,
    patient   INTEGER NOT NULL REFERENCES patient (key),
    position  INTEGER NOT NULL,
    PRIMARY KEY (feed, patient)
) STRICT, WITHOUT ROWID;

-- Lines from the parent that could not be applied, and those that wait behind them.
CREATE TABLE parked_line (
    key       INTEGER PRIMARY KEY,
    feed      BLOB NOT NULL,
    epoch     BLOB NOT NULL,
    lane      TEXT NOT NULL,
    position  INTEGER NOT NULL,
    sequence  INTEGER NOT NULL,                  -- of the stream's header
    line      BLOB NOT NULL,                     -- zstd
    leave     TEXT NOT NULL CHECK (leave IN ('keep', 'freeze', 'purge')),
    reason    TEXT NOT NULL,
    attempts  INTEGER NOT NULL,
    next_at   INTEGER NOT NULL,
    parked    INTEGER NOT NULL
) STRICT;
CREATE TABLE parked_line_patient (
    line     INTEGER NOT NULL REFERENCES parked_line (key) ON DELETE CASCADE,
    patient  INTEGER NOT NULL REFERENCES patient (key),
    PRIMARY KEY (line, patient)
) STRICT, WITHOUT ROWID;
CREATE INDEX parked_line_patient_patient ON parked_line_patient (patient, line);

-- One change on its way out to one target.
CREATE TABLE delivery (
    target    TEXT NOT NULL CHECK (target IN ('parent')),
    sequence  INTEGER NOT NULL REFERENCES change (sequence),
    state     TEXT NOT NULL CHECK (state IN ('ready', 'retry', 'parked', 'done')),
    attempts  INTEGER NOT NULL DEFAULT 0,
    next_at   INTEGER NOT NULL DEFAULT 0,
    reason    TEXT,
    outcome   TEXT,                              -- the receiver's word, once done
    changed   INTEGER NOT NULL,
    PRIMARY KEY (target, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_open ON delivery (target, sequence) WHERE state <> 'done';
CREATE INDEX delivery_parked ON delivery (target, sequence) WHERE state = 'parked';
CREATE TABLE delivery_attempt (
    target    TEXT NOT NULL,
    sequence  INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    outcome   TEXT NOT NULL,
    reason    TEXT
) STRICT;
CREATE INDEX delivery_attempt_delivery ON delivery_attempt (target, sequence);

-- Numbers of changes that came from below, as ranges, for ever. By the child that brought them:
-- what one child claims to have carried must not make another's own changes look received.
CREATE TABLE received (
    via     TEXT NOT NULL,
    origin  INTEGER NOT NULL REFERENCES origin (key),
    low     INTEGER NOT NULL,
    high    INTEGER NOT NULL CHECK (high >= low),
    PRIMARY KEY (via, origin, low)
) STRICT, WITHOUT ROWID;

CREATE TABLE conflict (
    key       INTEGER PRIMARY KEY,
    record    INTEGER NOT NULL REFERENCES record (key),
    base      INTEGER,                           -- sequence of that version here, where known
    parent    INTEGER,                           -- likewise, of the parent's side
    child     INTEGER,                           -- likewise, of the child's side
    result    INTEGER NOT NULL,                  -- likewise, of what the merge came to
    elements  TEXT NOT NULL,                     -- JSON list of paths
    at        INTEGER NOT NULL,
    state     TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open'))
) STRICT;
CREATE INDEX conflict_record ON conflict (record);

-- Append only; each row's hash covers its content and the hash of the row before.
CREATE TABLE audit (
    key      INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    actor    TEXT NOT NULL,                      -- child:SITE, program:NAME, operator, parent
    action   TEXT NOT NULL,
    subject  TEXT NOT NULL,                      -- ids only
    detail   TEXT NOT NULL,
    hash     BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit is append only');
END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit is append only');
END;

CREATE TABLE child (
    site          TEXT PRIMARY KEY,
    state         TEXT NOT NULL CHECK (state IN ('invited', 'joined', 'revoked')),
    code_hash     BLOB UNIQUE,
    code_expires  INTEGER,
    token_hash    BLOB UNIQUE,
    epoch         BLOB,
    added         INTEGER NOT NULL,
    last_seen     INTEGER,
    report        TEXT                           -- its last status, JSON
) STRICT;
CREATE TABLE child_cohort (
    site  TEXT NOT NULL REFERENCES child (site),
    feed  INTEGER NOT NULL REFERENCES feed (key),
    PRIMARY KEY (site, feed)
) STRICT, WITHOUT ROWID;
CREATE TABLE token (
    name     TEXT PRIMARY KEY,
    scope    TEXT NOT NULL CHECK (scope IN ('fhir-read', 'fhir-write')),
    hash     BLOB NOT NULL UNIQUE,
    created  INTEGER NOT NULL,
    expires  INTEGER,
    revoked  INTEGER
) STRICT;

-- The link to the parent, as its jobs last saw it.
CREATE TABLE link (
    target        TEXT PRIMARY KEY,
    failures      INTEGER NOT NULL DEFAULT 0,
    last_error    TEXT,
    last_attempt  INTEGER,
    last_contact  INTEGER,
    next_attempt  INTEGER,
    wire_sent     INTEGER NOT NULL DEFAULT 0,
    wire_received INTEGER NOT NULL DEFAULT 0,
    raw_sent      INTEGER NOT NULL DEFAULT 0,
    raw_received  INTEGER NOT NULL DEFAULT 0,
    peer          TEXT                           -- the parent's last status, JSON
) STRICT;
