-- What each process measured of the endpoints it calls: a digest of its own format, written over
-- every few seconds. Nothing else depends on it; a lost row is measured again.

CREATE TABLE health_digest (
  process TEXT PRIMARY KEY,      -- a random id, new with every start
  at_ms   INTEGER NOT NULL,      -- last sign of life
  body    BLOB NOT NULL
) STRICT;
