-- Who was told of an alert by e-mail, beside the webhook; of what is over nobody is told afterwards.
ALTER TABLE alert ADD COLUMN mailed INTEGER NOT NULL DEFAULT 0 CHECK (mailed IN (0, 1, 2));
UPDATE alert SET mailed = 2 WHERE cleared IS NOT NULL;
CREATE INDEX alert_unmailed ON alert (key) WHERE mailed < 2;
