-- What a full load of the record system did not name and nobody deleted there: it is written again.
-- The image and what it stands for stay, in case it is there all the same.
ALTER TABLE emr_record ADD COLUMN lost INTEGER NOT NULL DEFAULT 0 CHECK (lost IN (0, 1));

-- Records that were purged here and may still be in the record system: what it showed of each then,
-- so that the same is not taken for news. No content is kept of them.
CREATE TABLE emr_left (
    type          TEXT NOT NULL,
    id            TEXT NOT NULL,
    image_digest  BLOB NOT NULL CHECK (length(image_digest) = 32),
    PRIMARY KEY (type, id)
) STRICT, WITHOUT ROWID;
