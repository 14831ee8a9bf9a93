-- A change that is to go again stands in `outgoing` once more, where its reader has not been yet.
DROP INDEX feed_entry_sequence;
CREATE INDEX feed_entry_sequence ON feed_entry (feed, sequence) WHERE kind = 0;
