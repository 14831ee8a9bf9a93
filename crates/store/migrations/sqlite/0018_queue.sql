-- What a person gives up of the queue, and who may do so by HTTP.

-- A delivery that was given up is `done` with the outcome `dropped`: nothing waits for it.
CREATE INDEX delivery_dropped ON delivery (target, sequence) WHERE outcome = 'dropped';

-- A person has set the line aside: it is not tried again by itself.
ALTER TABLE parked_line ADD COLUMN held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1));
-- The last key that was given to a parked line: people act on lines by it, so none is given twice.
ALTER TABLE site ADD COLUMN last_line INTEGER NOT NULL DEFAULT 0;
UPDATE site SET last_line = coalesce((SELECT max(key) FROM parked_line), 0);

-- Lines from the parent that a person gave up, for ever; what they said is not kept.
CREATE TABLE dropped_line (
    key       INTEGER PRIMARY KEY,               -- as it was in parked_line
    feed      TEXT NOT NULL,                     -- its name
    position  INTEGER NOT NULL,
    patients  TEXT NOT NULL,                     -- references, separated by spaces
    records   TEXT NOT NULL,                     -- likewise, as far as the line could be read
    reason    TEXT NOT NULL,                     -- why it could not be applied
    because   TEXT NOT NULL,                     -- why it was given up
    actor     TEXT NOT NULL,
    at        INTEGER NOT NULL
) STRICT;

-- Administrators get credentials of their own. Which scopes there are is said in the program only.
CREATE TABLE new_token (
    name     TEXT PRIMARY KEY,
    scope    TEXT NOT NULL,
    hash     BLOB NOT NULL UNIQUE,
    created  INTEGER NOT NULL,
    expires  INTEGER,
    revoked  INTEGER
) STRICT;
CREATE TABLE new_token_child (
    name  TEXT NOT NULL REFERENCES new_token (name),
    site  TEXT NOT NULL REFERENCES child (site),
    PRIMARY KEY (name, site)
) STRICT, WITHOUT ROWID;
INSERT INTO new_token SELECT name, scope, hash, created, expires, revoked FROM token;
INSERT INTO new_token_child SELECT name, site FROM token_child;
DROP TABLE token_child;
DROP TABLE token;
ALTER TABLE new_token RENAME TO token;
ALTER TABLE new_token_child RENAME TO token_child;
