-- Links that a person has paused: nothing moves on them until they are resumed or the time is over.
CREATE TABLE link_pause (
    child   TEXT PRIMARY KEY,                    -- a child's id; empty: the link to the parent
    reason  TEXT NOT NULL,
    actor   TEXT NOT NULL,
    since   INTEGER NOT NULL,
    millis  INTEGER                              -- for how long; NULL: until it is resumed
) STRICT;
