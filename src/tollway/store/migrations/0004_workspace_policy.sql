-- What a workspace imposes on the requests of its keys.
--
-- `routing` is JSON of accounts.workspaces.Routing: it is read and written whole, and only the
-- gateway's memory is ever asked about a part of it.

ALTER TABLE workspace ADD COLUMN description TEXT;
ALTER TABLE workspace ADD COLUMN default_text_model TEXT;
ALTER TABLE workspace ADD COLUMN default_provider_sort TEXT
  CHECK (default_provider_sort IN ('price', 'throughput', 'latency', 'exacto'));
ALTER TABLE workspace ADD COLUMN routing TEXT NOT NULL DEFAULT '{}';
ALTER TABLE workspace ADD COLUMN updated_ms INTEGER;

-- Every process polls this number and reads the workspaces anew when it has moved, as it does for
-- keys. Triggers, so that no writer can forget.
INSERT INTO setting (name, value) VALUES ('workspaces_revision', '1');

CREATE TRIGGER workspace_created AFTER INSERT ON workspace BEGIN
  UPDATE setting SET value = CAST(value AS INTEGER) + 1 WHERE name = 'workspaces_revision';
END;

CREATE TRIGGER workspace_changed AFTER UPDATE ON workspace BEGIN
  UPDATE setting SET value = CAST(value AS INTEGER) + 1 WHERE name = 'workspaces_revision';
END;

CREATE TRIGGER workspace_deleted AFTER DELETE ON workspace BEGIN
  UPDATE setting SET value = CAST(value AS INTEGER) + 1 WHERE name = 'workspaces_revision';
END;
