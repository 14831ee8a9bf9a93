-- Whose a record was before it was those patients' who stand in record_patient: an old version is
-- for who may see one of the patients it was about, not for who may see the record as it is now.
CREATE TABLE former_patient (
    record   INTEGER NOT NULL REFERENCES record (key),
    upto     INTEGER NOT NULL,                   -- sequence of the last version that was this patient's
    patient  INTEGER REFERENCES patient (key)    -- NULL: it was nobody's
) STRICT;
CREATE UNIQUE INDEX former_patient_record ON former_patient (record, upto, patient);
