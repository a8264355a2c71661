-- Digests of health (see 0003_health.sql). Bound: process, at_ms (Unix milliseconds), body.

-- name: told
-- One process's latest word takes the place of its last.
INSERT INTO health_digest (process, at_ms, body) VALUES (?, ?, ?)
ON CONFLICT (process) DO UPDATE SET at_ms = excluded.at_ms, body = excluded.body;

-- name: alive
-- It has nothing new to say.
UPDATE health_digest SET at_ms = :at_ms WHERE process = :process;

-- name: others
-- What the other living processes say.
SELECT process, body FROM health_digest WHERE process <> :process AND at_ms >= :since_ms;

-- name: left_behind
-- Whether any process is gone: looked at by a reader, before a writer takes its row.
SELECT count(*) FROM health_digest WHERE process <> :process AND at_ms < :since_ms;

-- name: take
-- The word of processes that are gone, for the one that takes it over.
DELETE FROM health_digest WHERE process <> :process AND at_ms < :since_ms RETURNING body;
