-- How fast a child has taken what is in its feeds lately, for saying when it will have caught up.
ALTER TABLE child ADD COLUMN pace_from INTEGER;                      -- when it last said where it was and was behind; NULL: it was not
ALTER TABLE child ADD COLUMN took INTEGER NOT NULL DEFAULT 0;        -- entries that it took lately
ALTER TABLE child ADD COLUMN took_millis INTEGER NOT NULL DEFAULT 0; -- and the time that it took for them
