-- What was or is wrong and people were told of: raised once, cleared once.
CREATE TABLE alert (
    key      INTEGER PRIMARY KEY,
    rule     TEXT NOT NULL,
    subject  TEXT NOT NULL,                      -- a child, a credential; empty: the site itself
    text     TEXT NOT NULL,                      -- as it was when it was raised
    raised   INTEGER NOT NULL,
    cleared  INTEGER,
    told     INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1, 2))  -- to the webhook: nothing, raised, all
) STRICT;
CREATE UNIQUE INDEX alert_open ON alert (rule, subject) WHERE cleared IS NULL;
CREATE INDEX alert_untold ON alert (key) WHERE told < 2;
