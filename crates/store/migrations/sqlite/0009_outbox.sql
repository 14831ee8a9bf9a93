-- Messages that third parties carry: at the child the outbox, at the parent the inbox.
-- Times are milliseconds since 1970, UTC, by this site's clock.

-- One message: the deliveries of one line, on their way with a third party, or back from one.
CREATE TABLE message (
    key       INTEGER PRIMARY KEY,
    origin    INTEGER NOT NULL REFERENCES origin (key),  -- with number: the change that it is named after
    number    INTEGER NOT NULL,
    state     TEXT NOT NULL
        CHECK (state IN ('leased', 'handed-over', 'returned', 'replaced', 'done')),
    lease     TEXT NOT NULL,                     -- of the last attempt
    until     INTEGER NOT NULL,                  -- leased: end of the lease; handed over: of waiting for the receipt
    carrier   TEXT NOT NULL,                     -- the third party of the last attempt
    attempt   INTEGER NOT NULL,                  -- counts from 1
    answered  INTEGER NOT NULL DEFAULT 0,        -- the last attempt that the parent has refused
    failures  INTEGER NOT NULL DEFAULT 0,        -- failed attempts in a row
    missing   INTEGER NOT NULL DEFAULT 0,        -- times that it was said to be delivered and no receipt came
    handed    INTEGER,                           -- when it was last said to be delivered
    ask_at    INTEGER NOT NULL,                  -- when the parent is to be asked next
    UNIQUE (origin, number)
) STRICT;
CREATE INDEX message_until ON message (until) WHERE state IN ('leased', 'handed-over');
CREATE INDEX message_ask ON message (ask_at) WHERE state IN ('leased', 'handed-over', 'returned');
CREATE INDEX message_missing ON message (key)
    WHERE missing > 0 AND state IN ('leased', 'handed-over', 'returned');
CREATE TABLE message_event (
    message  INTEGER NOT NULL REFERENCES message (key),
    at       INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    what     TEXT NOT NULL,
    carrier  TEXT NOT NULL,
    detail   TEXT
) STRICT;
CREATE INDEX message_event_message ON message_event (message);

-- Where a delivery is (0 here, 1 leased, 2 handed over), and the last message that it was in: what
-- was once in one message stays together until it is done.
ALTER TABLE delivery ADD COLUMN away INTEGER NOT NULL DEFAULT 0 CHECK (away IN (0, 1, 2));
ALTER TABLE delivery ADD COLUMN message INTEGER REFERENCES message (key);
CREATE INDEX delivery_free ON delivery (target, sequence) WHERE state = 'ready' AND away = 0;
CREATE INDEX delivery_due ON delivery (next_at) WHERE state = 'retry';
CREATE INDEX delivery_message ON delivery (message) WHERE message IS NOT NULL;

-- When a third party was last here.
ALTER TABLE link ADD COLUMN carrier TEXT;
ALTER TABLE link ADD COLUMN carrier_at INTEGER;

-- At the parent: messages that are stored and wait to be worked off.
CREATE TABLE inbox (
    key      INTEGER PRIMARY KEY,
    child    TEXT NOT NULL REFERENCES child (site),  -- who sends it
    epoch    BLOB NOT NULL CHECK (length(epoch) = 16),
    origin   INTEGER NOT NULL REFERENCES origin (key),
    number   INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    carrier  TEXT NOT NULL,
    digest   BLOB NOT NULL CHECK (length(digest) = 32),  -- SHA-256 of the body as it came
    body     BLOB NOT NULL,                      -- zstd
    next_at  INTEGER NOT NULL,
    tries    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX inbox_name ON inbox (child, origin, number);
CREATE INDEX inbox_next ON inbox (next_at, key);
-- What became of messages, by the child that sent them.
CREATE TABLE receipt (
    child   TEXT NOT NULL REFERENCES child (site),
    origin  INTEGER NOT NULL REFERENCES origin (key),
    number  INTEGER NOT NULL,
    digest  BLOB NOT NULL CHECK (length(digest) = 32),  -- of the message's body
    held    INTEGER NOT NULL CHECK (held IN (0, 1)),    -- whether the change was taken
    text    TEXT NOT NULL,                       -- protocol::message::Receipt as JSON
    at      INTEGER NOT NULL,
    PRIMARY KEY (child, origin, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX receipt_at ON receipt (at);

-- Third parties get credentials of their own: to lease here, or to post for some children.
CREATE TABLE new_token (
    name     TEXT PRIMARY KEY,
    scope    TEXT NOT NULL CHECK (scope IN ('fhir-read', 'fhir-write', 'outbox', 'carry')),
    hash     BLOB NOT NULL UNIQUE,
    created  INTEGER NOT NULL,
    expires  INTEGER,
    revoked  INTEGER
) STRICT;
INSERT INTO new_token SELECT name, scope, hash, created, expires, revoked FROM token;
DROP TABLE token;
ALTER TABLE new_token RENAME TO token;
CREATE TABLE token_child (
    name  TEXT NOT NULL REFERENCES token (name),
    site  TEXT NOT NULL REFERENCES child (site),
    PRIMARY KEY (name, site)
) STRICT, WITHOUT ROWID;
