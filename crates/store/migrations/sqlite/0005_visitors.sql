-- Patients who visit a child without belonging to any of its cohorts.
-- Times are milliseconds since 1970, UTC, by this site's clock.

-- At the parent: the one cohort that a child has for its visitors. No definition holds it: its
-- patients are those in `visitor`.
CREATE TABLE visitor_feed (
    feed  INTEGER PRIMARY KEY REFERENCES feed (key),
    site  TEXT NOT NULL UNIQUE REFERENCES child (site)
) STRICT;
CREATE TABLE visitor (
    feed     INTEGER NOT NULL REFERENCES visitor_feed (feed),
    patient  INTEGER NOT NULL REFERENCES patient (key),
    since    INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    author   TEXT NOT NULL,                      -- who asked, as the child says
    reason   TEXT NOT NULL,                      -- a person's words: shown to operators, never logged
    PRIMARY KEY (feed, patient)
) STRICT, WITHOUT ROWID;
CREATE INDEX visitor_patient ON visitor (patient, feed);
CREATE INDEX visitor_until ON visitor (until);

-- How often a child has asked for patients lately.
CREATE INDEX audit_asked ON audit (actor, at)
    WHERE action IN ('patient-find', 'patient-find-refused',
                     'patient-fetch', 'patient-fetch-refused');

-- At the child: up to which join of a feed it was decided whether the patient's record is fetched
-- ahead of the bulk lane.
CREATE TABLE ahead (
    feed      BLOB PRIMARY KEY CHECK (length(feed) = 16),
    epoch     BLOB NOT NULL CHECK (length(epoch) = 16),
    position  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX held_patient_joined ON held_patient (feed, joined);
