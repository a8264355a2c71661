-- Workspaces, API keys and settings of the control plane.
--
-- A key's limit is not here: it lives in the ledger's `budget` row, which admission reads in the
-- same transaction as the hold. Both are written in one transaction.

CREATE TABLE workspace (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE key (
  hash                  TEXT PRIMARY KEY CHECK (length(hash) = 64),   -- public id, survives rotation
  digest                BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
  workspace_id          TEXT NOT NULL REFERENCES workspace (id),
  name                  TEXT NOT NULL,
  label                 TEXT NOT NULL,
  disabled              INTEGER NOT NULL CHECK (disabled IN (0, 1)),
  management            INTEGER NOT NULL CHECK (management IN (0, 1)),
  include_byok_in_limit INTEGER NOT NULL CHECK (include_byok_in_limit IN (0, 1)),
  created_ms            INTEGER NOT NULL,
  updated_ms            INTEGER,
  expires_ms            INTEGER,
  last_used_ms          INTEGER,
  creator_user_id       TEXT,
  external_user         TEXT
) STRICT;

CREATE INDEX key_by_workspace ON key (workspace_id, created_ms);

CREATE TABLE setting (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

-- Every process polls this number and reloads its keys when it has moved. Triggers, so that no
-- writer can forget; `last_used_ms` is left out, or every use would make everyone reload.
INSERT INTO setting (name, value) VALUES ('keys_revision', '1');

CREATE TRIGGER key_created AFTER INSERT ON key BEGIN
  UPDATE setting SET value = CAST(value AS INTEGER) + 1 WHERE name = 'keys_revision';
END;

CREATE TRIGGER key_changed AFTER UPDATE OF
  hash, digest, workspace_id, name, label, disabled, management, include_byok_in_limit, updated_ms,
  expires_ms, creator_user_id, external_user ON key BEGIN
  UPDATE setting SET value = CAST(value AS INTEGER) + 1 WHERE name = 'keys_revision';
END;

CREATE TRIGGER key_deleted AFTER DELETE ON key BEGIN
  UPDATE setting SET value = CAST(value AS INTEGER) + 1 WHERE name = 'keys_revision';
END;
