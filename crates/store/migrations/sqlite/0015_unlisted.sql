-- Records that a restored parent did not list, and of which it is to be asked once more: sequence 0.
CREATE INDEX left_record_unlisted ON left_record (feed, record) WHERE sequence = 0;
