-- Presets: settings of a request under a name, kept per workspace. Versions are never changed; which
-- one is in force is a column of the preset.

CREATE TABLE preset (
  id                TEXT PRIMARY KEY,
  workspace_id      TEXT NOT NULL REFERENCES workspace (id),
  slug              TEXT NOT NULL,
  name              TEXT NOT NULL,
  description       TEXT,
  status            TEXT NOT NULL CHECK (status IN ('active', 'disabled', 'archived')),
  status_updated_ms INTEGER,
  creator_user_id   TEXT,
  created_ms        INTEGER NOT NULL,
  updated_ms        INTEGER NOT NULL,
  version_id        TEXT NOT NULL,                 -- in force
  UNIQUE (workspace_id, slug)
) STRICT;

CREATE TABLE preset_version (
  id            TEXT PRIMARY KEY,
  preset_id     TEXT NOT NULL REFERENCES preset (id),
  number        INTEGER NOT NULL CHECK (number >= 1),
  dialect       TEXT NOT NULL,                     -- whose own fields `config` may hold
  config        TEXT NOT NULL,                     -- JSON object
  system_prompt TEXT,
  bytes         INTEGER NOT NULL,
  creator_id    TEXT NOT NULL,
  created_ms    INTEGER NOT NULL,
  UNIQUE (preset_id, number)
) STRICT;

-- Polled by every process, as `keys_revision` is. A version is in force through its preset's row, so
-- that table alone moves the number.
INSERT INTO setting (name, value) VALUES ('presets_revision', '1');

CREATE TRIGGER preset_created AFTER INSERT ON preset BEGIN
  UPDATE setting SET value = CAST(value AS INTEGER) + 1 WHERE name = 'presets_revision';
END;

CREATE TRIGGER preset_changed AFTER UPDATE ON preset BEGIN
  UPDATE setting SET value = CAST(value AS INTEGER) + 1 WHERE name = 'presets_revision';
END;

CREATE TRIGGER preset_deleted AFTER DELETE ON preset BEGIN
  UPDATE setting SET value = CAST(value AS INTEGER) + 1 WHERE name = 'presets_revision';
END;
