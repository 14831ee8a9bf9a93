-- How often this site has asked those below it to send again what it had purged and its restored
-- parent has lost; and how often its own parent has, as far as this site has answered.
ALTER TABLE site ADD COLUMN again INTEGER NOT NULL DEFAULT 0;
ALTER TABLE link ADD COLUMN again INTEGER NOT NULL DEFAULT 0;
