-- As of which sequence of the parent's a feed said that a record left: what is known of the record
-- as of later counts more.
ALTER TABLE left_record ADD COLUMN said INTEGER NOT NULL DEFAULT 0;  -- 0: not known
