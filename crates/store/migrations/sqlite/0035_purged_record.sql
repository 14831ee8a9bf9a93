-- Records that were purged here and that this site had brought to its parent, perhaps: when their
-- patient joins a feed again, the parent may take them for held, and leave them out.
CREATE TABLE purged_record (
    patient INTEGER NOT NULL REFERENCES patient (key),
    type    TEXT NOT NULL,
    id      TEXT NOT NULL,
    feed    BLOB,                                -- that the patient joined again, without the record
    PRIMARY KEY (patient, type, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX purged_record_feed ON purged_record (feed, patient) WHERE feed IS NOT NULL;
