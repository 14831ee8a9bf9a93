-- Sites below that this site reads itself, and being read.
-- Times are milliseconds since 1970, UTC, by this site's clock.

-- One source: a child whose changes are read there, or another publisher's feed.
CREATE TABLE source (
    name          TEXT PRIMARY KEY,              -- a site's id, as in the settings
    feed          BLOB CHECK (length(feed) = 16),       -- of the marker; NULL: never read
    epoch         BLOB CHECK (length(epoch) = 16),      -- of the marker: the source's
    own_epoch     BLOB CHECK (length(own_epoch) = 16),  -- this site's, when the marker was begun
    position      INTEGER NOT NULL DEFAULT 0,
    compare       TEXT,                          -- records are to be compared after this one ('': all); NULL: none
    place         TEXT,                          -- of a feed without positions: where its reader is (JSON)
    head          INTEGER NOT NULL DEFAULT 0,    -- the newest position there, when it was last asked
    oldest        INTEGER,                       -- when the oldest that waits there was recorded, where it said so
    failures      INTEGER NOT NULL DEFAULT 0,    -- in a row
    last_error    TEXT,
    last_attempt  INTEGER,
    last_contact  INTEGER,
    next_at       INTEGER,
    lines         INTEGER NOT NULL DEFAULT 0     -- lines that were read from it
) STRICT, WITHOUT ROWID;

-- What became of the changes that were read, until the source has been told.
CREATE TABLE source_word (
    source  TEXT NOT NULL REFERENCES source (name),
    origin  INTEGER NOT NULL REFERENCES origin (key),
    number  INTEGER NOT NULL,
    text    TEXT NOT NULL,                       -- protocol::message::Receipt as JSON
    PRIMARY KEY (source, origin, number)
) STRICT, WITHOUT ROWID;

-- A parked line may be a source's. Its records are known by name; what is of no patient waits by
-- them ('*': they could not be read).
ALTER TABLE parked_line ADD COLUMN source TEXT;
CREATE TABLE parked_line_record (
    line    INTEGER NOT NULL REFERENCES parked_line (key) ON DELETE CASCADE,
    record  TEXT NOT NULL,
    PRIMARY KEY (line, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX parked_line_record_record ON parked_line_record (record);

-- At the child: who reads its changes.
ALTER TABLE link ADD COLUMN reader TEXT;
ALTER TABLE link ADD COLUMN reader_epoch BLOB;
ALTER TABLE link ADD COLUMN reader_at INTEGER;
ALTER TABLE link ADD COLUMN reader_position INTEGER;
