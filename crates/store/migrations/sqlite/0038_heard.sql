-- Since when a source has been asked: one that never answered is known by it.
ALTER TABLE source ADD COLUMN since INTEGER;
