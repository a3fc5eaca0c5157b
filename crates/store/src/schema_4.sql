-- Nobody reads these.
ALTER TABLE waste DROP COLUMN shard;
ALTER TABLE waste DROP COLUMN at;
CREATE TABLE in_line (
    job        TEXT PRIMARY KEY REFERENCES job (id),
    at         INTEGER NOT NULL,             -- when it last said so; microseconds since 1970, UTC
    rows       INTEGER NOT NULL,             -- of the shard that it wants to send
    phase      TEXT NOT NULL,                -- looking | waiting | going
    priority   INTEGER NOT NULL,
    deadline   INTEGER,                      -- microseconds since 1970, UTC
    at_work    INTEGER NOT NULL,             -- its rows in the upstream's queue
    created_at INTEGER NOT NULL              -- when the job was made
) STRICT, WITHOUT ROWID;
