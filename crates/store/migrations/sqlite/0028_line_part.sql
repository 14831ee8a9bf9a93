-- How far a line that a child sends in parts has been applied, until its last part: its numbers are
-- received only if none of its parts was refused or is missing.
CREATE TABLE line_part (
    via     TEXT NOT NULL,                       -- the child
    origin  INTEGER NOT NULL REFERENCES origin (key),
    number  INTEGER NOT NULL,                    -- of the change's id
    parts   INTEGER NOT NULL,
    next    INTEGER NOT NULL CHECK (next > 1),   -- the part that is to come
    PRIMARY KEY (via, origin, number)
) STRICT, WITHOUT ROWID;
