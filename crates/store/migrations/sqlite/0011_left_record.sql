-- Which feed of the parent's said that a record is no longer in it: another feed may hold it still.
CREATE TABLE left_record (
    record    INTEGER NOT NULL REFERENCES record (key),
    feed      BLOB NOT NULL CHECK (length(feed) = 16),
    sequence  INTEGER NOT NULL,                  -- the version here of which it was said
    PRIMARY KEY (record, feed)
) STRICT, WITHOUT ROWID;

INSERT INTO left_record (record, feed, sequence)
    SELECT DISTINCT r.key, m.feed, r.sequence FROM record AS r CROSS JOIN marker AS m
    WHERE r.left_sequence = r.sequence;
