-- A state that came from below, of a record that was not here: which version it was made from.

ALTER TABLE record ADD COLUMN base_below BLOB CHECK (length(base_below) = 8);
