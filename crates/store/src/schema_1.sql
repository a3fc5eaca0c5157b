CREATE TABLE job (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    run           INTEGER NOT NULL,          -- counts the runs of one name, from 1
    state         TEXT NOT NULL,             -- open | finished | abandoned
    created_at    INTEGER NOT NULL,          -- microseconds since 1970, UTC
    finished_at   INTEGER,
    source_digest TEXT NOT NULL,             -- of the input's bytes and the job file, hex
    params_digest TEXT NOT NULL,             -- of the rendered params, hex
    facts         TEXT NOT NULL,             -- JSON: what the engine needs to resume
    UNIQUE (name, run)
) STRICT;
CREATE TABLE shard (
    job     TEXT NOT NULL REFERENCES job (id),
    no      INTEGER NOT NULL,
    lane    TEXT NOT NULL,                   -- sync | batch
    rows    INTEGER NOT NULL,
    state   TEXT NOT NULL,                   -- the tag, for compare-and-set
    batch   TEXT,                            -- the upstream batch, while there is one
    body    TEXT NOT NULL,                   -- JSON: the whole shard
    PRIMARY KEY (job, no)
) STRICT, WITHOUT ROWID;
CREATE INDEX shard_batch ON shard (batch) WHERE batch IS NOT NULL;
CREATE TABLE ledger (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    job     TEXT NOT NULL REFERENCES job (id),
    shard   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,                   -- reserve | settle | release | unknown
    lane    TEXT NOT NULL,
    pico    TEXT NOT NULL                    -- integer picodollars, decimal
) STRICT;
CREATE INDEX ledger_job ON ledger (job);
CREATE TRIGGER ledger_is_append_only_update BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_is_append_only_delete BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
