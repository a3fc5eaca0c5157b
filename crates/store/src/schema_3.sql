CREATE TABLE waste (
    batch TEXT PRIMARY KEY,                  -- carries the mark of the job and answers none of its rows
    job   TEXT NOT NULL REFERENCES job (id),
    shard INTEGER NOT NULL,                  -- that its mark names
    rows  INTEGER NOT NULL,
    at    INTEGER NOT NULL,                  -- microseconds since 1970, UTC: when it was found
    pico  TEXT NOT NULL                      -- its price, integer picodollars, decimal
) STRICT, WITHOUT ROWID;
