CREATE TABLE observation (
    job   TEXT NOT NULL REFERENCES job (id),
    shard INTEGER NOT NULL,
    model TEXT NOT NULL,                     -- id in the price book
    at    INTEGER NOT NULL,                  -- microseconds since 1970, UTC: when the shard was settled
    body  TEXT NOT NULL,                     -- JSON: sums over its rows, without a word of them
    PRIMARY KEY (job, shard, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX observation_at ON observation (at);
