-- Workspaces and keys. A key's limit is the ledger's `budget` row, read beside it.

-- name: keys_revision
SELECT CAST(value AS INTEGER) FROM setting WHERE name = 'keys_revision';

-- name: keys_all
SELECT k.digest, k.hash, k.workspace_id, k.name, k.label, k.disabled, k.management,
       b.limit_nano, b.reset, k.include_byok_in_limit, k.created_ms, k.updated_ms,
       k.expires_ms, k.last_used_ms, k.creator_user_id, k.external_user,
       k.requests_per_minute, k.requests_per_day
FROM key k LEFT JOIN budget b ON b.key_id = k.hash;

-- name: key_by_digest
SELECT k.digest, k.hash, k.workspace_id, k.name, k.label, k.disabled, k.management,
       b.limit_nano, b.reset, k.include_byok_in_limit, k.created_ms, k.updated_ms,
       k.expires_ms, k.last_used_ms, k.creator_user_id, k.external_user,
       k.requests_per_minute, k.requests_per_day
FROM key k LEFT JOIN budget b ON b.key_id = k.hash
WHERE k.digest = :digest;

-- name: key_by_hash
SELECT k.digest, k.hash, k.workspace_id, k.name, k.label, k.disabled, k.management,
       b.limit_nano, b.reset, k.include_byok_in_limit, k.created_ms, k.updated_ms,
       k.expires_ms, k.last_used_ms, k.creator_user_id, k.external_user,
       k.requests_per_minute, k.requests_per_day
FROM key k LEFT JOIN budget b ON b.key_id = k.hash
WHERE k.hash = :hash;

-- name: keys_of_workspace
-- Newest first; the hash breaks ties so that pages never overlap.
SELECT k.digest, k.hash, k.workspace_id, k.name, k.label, k.disabled, k.management,
       b.limit_nano, b.reset, k.include_byok_in_limit, k.created_ms, k.updated_ms,
       k.expires_ms, k.last_used_ms, k.creator_user_id, k.external_user,
       k.requests_per_minute, k.requests_per_day
FROM key k LEFT JOIN budget b ON b.key_id = k.hash
WHERE k.workspace_id = :workspace_id
  AND (:include_disabled OR k.disabled = 0)
  AND (:include_expired OR k.expires_ms IS NULL OR k.expires_ms > :now_ms)
ORDER BY k.created_ms DESC, k.hash
LIMIT :limit OFFSET :offset;

-- name: key_insert
INSERT INTO key (hash, digest, workspace_id, name, label, disabled, management,
                 include_byok_in_limit, created_ms, expires_ms, creator_user_id, external_user,
                 requests_per_minute, requests_per_day)
VALUES (:hash, :digest, :workspace_id, :name, :label, 0, :management,
        :include_byok_in_limit, :created_ms, :expires_ms, :creator_user_id, :external_user,
        :requests_per_minute, :requests_per_day);

-- name: key_update
UPDATE key SET name = :name, disabled = :disabled, workspace_id = :workspace_id,
               include_byok_in_limit = :include_byok_in_limit, updated_ms = :updated_ms,
               requests_per_minute = :requests_per_minute, requests_per_day = :requests_per_day
WHERE hash = :hash;

-- name: key_rotate
UPDATE key SET digest = :digest, label = :label, updated_ms = :updated_ms WHERE hash = :hash;

-- name: key_delete
DELETE FROM key WHERE hash = :hash;

-- name: key_used
-- Later wins, whichever process writes last.
UPDATE key SET last_used_ms = :at_ms
WHERE hash = :hash AND (last_used_ms IS NULL OR last_used_ms < :at_ms);

-- name: keys_of_creator
SELECT hash FROM key WHERE creator_user_id = :id ORDER BY created_ms, hash;

-- name: workspace_exists
SELECT 1 FROM workspace WHERE id = :id;

-- name: workspaces_revision
SELECT CAST(value AS INTEGER) FROM setting WHERE name = 'workspaces_revision';

-- name: workspaces_all
SELECT id, name, created_ms, description, default_text_model, default_provider_sort, routing,
       updated_ms
FROM workspace ORDER BY created_ms, id;

-- name: workspace_by_id
SELECT id, name, created_ms, description, default_text_model, default_provider_sort, routing,
       updated_ms
FROM workspace WHERE id = :id;

-- name: workspace_update
UPDATE workspace SET name = :name, description = :description,
                     default_text_model = :default_text_model,
                     default_provider_sort = :default_provider_sort, routing = :routing,
                     updated_ms = :updated_ms
WHERE id = :id;

-- name: workspace_insert
INSERT INTO workspace (id, name, created_ms) VALUES (:id, :name, :created_ms)
ON CONFLICT (id) DO NOTHING;

-- name: setting_get
SELECT value FROM setting WHERE name = :name;

-- name: setting_put
INSERT INTO setting (name, value) VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;
