-- How soon a change goes up: 0 urgent, 1 normal, 2 bulk. What goes before another change of the same
-- patients is no less urgent than that one.
ALTER TABLE delivery ADD COLUMN lane INTEGER NOT NULL DEFAULT 1 CHECK (lane IN (0, 1, 2));
CREATE INDEX delivery_lane ON delivery (target, lane, sequence) WHERE state <> 'done';
DROP INDEX delivery_free;
CREATE INDEX delivery_free ON delivery (target, lane, sequence)
    WHERE state = 'ready' AND away = 0;
