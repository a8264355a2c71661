-- Presets and their versions.

-- name: presets_revision
SELECT CAST(value AS INTEGER) FROM setting WHERE name = 'presets_revision';

-- name: presets_all
SELECT id, workspace_id, slug, name, description, status, status_updated_ms, creator_user_id,
       created_ms, updated_ms, version_id
FROM preset;

-- name: preset_by_slug
SELECT id, workspace_id, slug, name, description, status, status_updated_ms, creator_user_id,
       created_ms, updated_ms, version_id
FROM preset WHERE workspace_id = :workspace_id AND slug = :slug;

-- name: presets_of_workspace
-- Newest first; the id breaks ties so that pages never overlap.
SELECT id, workspace_id, slug, name, description, status, status_updated_ms, creator_user_id,
       created_ms, updated_ms, version_id
FROM preset WHERE workspace_id = :workspace_id
ORDER BY created_ms DESC, id
LIMIT :limit OFFSET :offset;

-- name: presets_count
SELECT count(*) FROM preset WHERE workspace_id = :workspace_id;

-- name: preset_slugs
SELECT slug FROM preset WHERE workspace_id = :workspace_id ORDER BY slug;

-- name: presets_bytes
SELECT coalesce(sum(v.bytes), 0) FROM preset p JOIN preset_version v ON v.preset_id = p.id
WHERE p.workspace_id = :workspace_id;

-- name: preset_insert
INSERT INTO preset (id, workspace_id, slug, name, description, status, status_updated_ms,
                    creator_user_id, created_ms, updated_ms, version_id)
VALUES (:id, :workspace_id, :slug, :name, :description, :status, :status_updated_ms,
        :creator_user_id, :created_ms, :updated_ms, :version_id);

-- name: preset_designate
UPDATE preset SET version_id = :version_id, updated_ms = :updated_ms WHERE id = :id;

-- name: preset_status
UPDATE preset SET status = :status, status_updated_ms = :updated_ms, updated_ms = :updated_ms
WHERE id = :id;

-- name: preset_versions_delete
DELETE FROM preset_version WHERE preset_id = :id;

-- name: preset_delete
DELETE FROM preset WHERE id = :id;

-- name: version_insert
INSERT INTO preset_version (id, preset_id, number, dialect, config, system_prompt, bytes, creator_id,
                            created_ms)
VALUES (:id, :preset_id, :number, :dialect, :config, :system_prompt, :bytes, :creator_id,
        :created_ms);

-- name: version_last
SELECT coalesce(max(number), 0) FROM preset_version WHERE preset_id = :preset_id;

-- name: versions_count
SELECT count(*) FROM preset_version WHERE preset_id = :preset_id;

-- name: version_by_id
SELECT id, preset_id, number, dialect, config, system_prompt, creator_id, created_ms
FROM preset_version WHERE id = :id;

-- name: version_by_number
SELECT id, preset_id, number, dialect, config, system_prompt, creator_id, created_ms
FROM preset_version WHERE preset_id = :preset_id AND number = :number;

-- name: versions_of_preset
-- Oldest first.
SELECT id, preset_id, number, dialect, config, system_prompt, creator_id, created_ms
FROM preset_version WHERE preset_id = :preset_id ORDER BY number
LIMIT :limit OFFSET :offset;
