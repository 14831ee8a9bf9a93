-- When this site last looked whether it holds all that its parent lists for it, and nothing else.
ALTER TABLE link ADD COLUMN compared INTEGER;
