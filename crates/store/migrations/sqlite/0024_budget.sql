-- Bytes that moved on the link to the parent, by the months of this site's local time.
CREATE TABLE link_month (
    month     INTEGER PRIMARY KEY,               -- 202611: November 2026
    sent      INTEGER NOT NULL DEFAULT 0,
    received  INTEGER NOT NULL DEFAULT 0,
    lifted    TEXT                               -- why an operator lets more move than the budget; NULL: nobody does
) STRICT;
