CREATE TABLE waste (
    batch TEXT PRIMARY KEY,                  -- carries the mark of the job and answers none of its rows
    job   TEXT NOT NULL REFERENCES job (id),
    rows  INTEGER NOT NULL,
    pico  TEXT NOT NULL                      -- its price, integer picodollars, decimal
) STRICT, WITHOUT ROWID;
