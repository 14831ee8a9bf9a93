-- Ways by which nobody could be told of alerts: since when, and what was wrong last. A way that works
-- has no row.
CREATE TABLE alert_trouble (
    way       TEXT PRIMARY KEY CHECK (way IN ('webhook', 'email')),
    failures  INTEGER NOT NULL,
    since     INTEGER NOT NULL,
    error     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How many lines of a source are parked here is asked of each source.
CREATE INDEX parked_line_source ON parked_line (source) WHERE source IS NOT NULL;
