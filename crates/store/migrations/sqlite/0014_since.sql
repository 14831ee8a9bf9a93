-- Of a version that a child brought: since which of its sequences it held the record without a break.
ALTER TABLE version ADD COLUMN since INTEGER;
