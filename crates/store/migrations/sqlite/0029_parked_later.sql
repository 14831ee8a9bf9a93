-- Whether the numbers of a parked line of a source were received before it came: then it has later
-- states than those numbers brought, and nothing else brings them.
ALTER TABLE parked_line ADD COLUMN later INTEGER NOT NULL DEFAULT 0 CHECK (later IN (0, 1));
