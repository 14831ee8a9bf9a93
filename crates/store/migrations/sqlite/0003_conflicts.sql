-- Conflicts are records (docs/adr/0018): this table is what they are found by.
-- What the first schema noted waits in conflict_noted until the store is opened: then records are
-- made of it, and that table stays empty.
DROP INDEX conflict_record;
ALTER TABLE conflict RENAME TO conflict_noted;

CREATE TABLE conflict (
    record      INTEGER PRIMARY KEY REFERENCES record (key),  -- the conflict's own record, a Basic
    about_type  TEXT NOT NULL,                   -- the record that it is about, held here or not
    about_id    TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('open', 'confirmed', 'decided'))
) STRICT;
CREATE INDEX conflict_state ON conflict (state, record);
CREATE INDEX conflict_about ON conflict (about_type, about_id);
