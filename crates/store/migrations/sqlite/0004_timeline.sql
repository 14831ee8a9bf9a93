-- When patients came to this site and went from it again, as the feeds of its parent told: for
-- the patient's timeline. (What this site's own cohorts hold stands in feed_entry.)
CREATE TABLE held_move (
    key       INTEGER PRIMARY KEY,
    patient   INTEGER NOT NULL REFERENCES patient (key),
    kind      INTEGER NOT NULL CHECK (kind IN (1, 2, 3)),  -- 1 join, 2 leave, 3 the records were purged
    cohort    TEXT NOT NULL,                     -- the feed's name then; empty for a purge
    sequence  INTEGER NOT NULL,                  -- the site's newest at that time
    at        INTEGER NOT NULL
) STRICT;
CREATE INDEX held_move_patient ON held_move (patient, key);
