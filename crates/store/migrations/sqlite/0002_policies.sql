-- Policies of merges belong to the parent, and the policy `latest` asks whether clocks agree.
ALTER TABLE link ADD COLUMN merge TEXT;             -- the parent's policies, JSON; NULL: it has told none
ALTER TABLE link ADD COLUMN clocks_agree INTEGER NOT NULL DEFAULT 0 CHECK (clocks_agree IN (0, 1));
ALTER TABLE child ADD COLUMN clock_offset INTEGER;  -- its clock less ours at its last status, milliseconds
