-- What a source without bases showed of its records when they were last read: what both sides are
-- merged from, and how what is unchanged is told.
CREATE TABLE source_image (
    source  TEXT NOT NULL REFERENCES source (name),
    type    TEXT NOT NULL,
    id      TEXT NOT NULL,
    digest  BLOB NOT NULL CHECK (length(digest) = 8),  -- the beginning of the state's digest
    PRIMARY KEY (source, type, id)
) STRICT, WITHOUT ROWID;
