-- Records that a person lets a child change here, though nothing here says that it had them: this
-- site was restored to before it had them from here.
CREATE TABLE allowed_record (
    site    TEXT NOT NULL,                       -- the child
    type    TEXT NOT NULL,
    id      TEXT NOT NULL,
    PRIMARY KEY (site, type, id)
) STRICT, WITHOUT ROWID;
