-- Whether something that a change brought was purged here.
ALTER TABLE change ADD COLUMN purged INTEGER NOT NULL DEFAULT 0;
-- Whether the restored parent has lost some of that: those below are asked for it when the parent
-- was asked about everything.
ALTER TABLE site ADD COLUMN asks_below INTEGER NOT NULL DEFAULT 0;
-- Up to which record what is kept here was offered to a parent that asks.
ALTER TABLE link ADD COLUMN offered_type TEXT NOT NULL DEFAULT '';
ALTER TABLE link ADD COLUMN offered_id TEXT NOT NULL DEFAULT '';

-- Numbers that were received and are to come again. A line with them brings what is not here, and
-- nothing else: it may be an old copy.
CREATE TABLE asked_again (
    via     TEXT NOT NULL,                       -- the child
    origin  INTEGER NOT NULL REFERENCES origin (key),
    number  INTEGER NOT NULL,
    PRIMARY KEY (via, origin, number)
) STRICT, WITHOUT ROWID;
