-- Records that a site below the parent let go because they left the parent's feed by themselves.
-- Their rows are gone with all versions; the name stays, so that this site's own readers hear it.
CREATE TABLE gone_record (
    sequence  INTEGER NOT NULL REFERENCES change (sequence),
    type      TEXT NOT NULL,
    id        TEXT NOT NULL,
    PRIMARY KEY (sequence, type, id)
) STRICT, WITHOUT ROWID;
