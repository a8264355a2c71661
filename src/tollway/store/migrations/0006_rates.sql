-- How many requests were admitted in the current minute or day of what is limited in number: a
-- key, or a workspace's use of free models. One row each: the next window takes the place of the
-- one before. `number` is the minute or day since 1970-01-01 (UTC); it never goes back.
CREATE TABLE rate_window (
  bucket TEXT NOT NULL,
  period TEXT NOT NULL CHECK (period IN ('minute', 'day')),
  number INTEGER NOT NULL,
  used INTEGER NOT NULL CHECK (used >= 1),
  PRIMARY KEY (bucket, period)
) STRICT, WITHOUT ROWID;

-- Requests a key may make; NULL = any number. `updated_ms` changes with them, so that every
-- process reloads the key.
ALTER TABLE key ADD COLUMN requests_per_minute INTEGER CHECK (requests_per_minute >= 1);
ALTER TABLE key ADD COLUMN requests_per_day INTEGER CHECK (requests_per_day >= 1);
