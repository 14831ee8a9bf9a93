-- Merged patients: what Patients say by links of type replaced-by, and the records that followed.

CREATE TABLE replaced (
    loser    INTEGER NOT NULL REFERENCES patient (key),
    winner   INTEGER NOT NULL REFERENCES patient (key),
    child    TEXT,                               -- by whose word alone we know it; NULL: said here, or by the parent
    trusted  INTEGER NOT NULL DEFAULT 0 CHECK (trusted IN (0, 1)),
    state    TEXT NOT NULL CHECK (state IN ('waiting', 'moving', 'moved', 'undoing')),
    reason   TEXT,                               -- why it waits
    place    INTEGER NOT NULL DEFAULT 0,         -- moving: the record up to which all have moved
    back     INTEGER NOT NULL DEFAULT 0,         -- undoing: records that went back
    stayed   INTEGER NOT NULL DEFAULT 0,         -- undoing: records that could not
    PRIMARY KEY (loser, winner)
) STRICT, WITHOUT ROWID;
CREATE INDEX replaced_winner ON replaced (winner, loser);
CREATE INDEX replaced_open ON replaced (loser) WHERE state IN ('moving', 'undoing');

-- Records whose references went from a loser to a winner, so that they can go back.
CREATE TABLE moved_record (
    loser   INTEGER NOT NULL REFERENCES patient (key),
    winner  INTEGER NOT NULL REFERENCES patient (key),
    record  INTEGER NOT NULL REFERENCES record (key),
    before  INTEGER NOT NULL,                    -- sequence of its last version that names the loser
    PRIMARY KEY (loser, winner, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX moved_record_record ON moved_record (record);

-- A store from before this file holds Patients whose links nobody has read; gone once all are.
CREATE TABLE replaced_look (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    place  INTEGER NOT NULL                      -- the record up to which all have been read
) STRICT;
INSERT INTO replaced_look (one, place)
SELECT 1, 0 WHERE EXISTS (SELECT 1 FROM record WHERE type = 'Patient');
