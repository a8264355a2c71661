-- What the ledger asks of SQLite. Rows travel as JSON arrays, a table at a time, or are bound one by
-- one; the order of columns is the order of fields in rows.py and entries.Generation.

-- name: load_holds
-- What a batch touches, a table at a time, as one JSON array each. What is wanted stands first in
-- every join: a subquery with IN, or a UNION, would build a temporary table for a single id.
SELECT json_group_array(json_array(
    hold.id, workspace, key_id, provider, amount_nano, at_ms, day, deadline_ms, epoch, state,
    progress_charge_nano, progress_cost_nano, charged_nano, lost_nano, ended_ms, reason,
    json(progress_of)))
FROM json_each(?) AS wanted CROSS JOIN hold ON hold.id = wanted.value;

-- name: load_accounts
-- Of some workspaces.
SELECT json_group_array(json_array(workspace, kind, posted, held))
FROM json_each(?) AS wanted CROSS JOIN account ON workspace = wanted.value;

-- name: load_budgets
-- Of some keys.
SELECT json_group_array(json_array(
    key_id, limit_nano, reset, day, held_nano, usage_nano, usage_day_nano, usage_week_nano,
    usage_month_nano))
FROM json_each(?) AS wanted CROSS JOIN budget ON key_id = wanted.value;

-- name: load_transfers
-- Under some ids of their own.
SELECT json_group_array(json_array(
    transfer.id, workspace, source, target, nano, reason, provider, hold_id, at_ms))
FROM json_each(?) AS wanted CROSS JOIN transfer ON transfer.id = wanted.value;

-- name: load_windows
-- Of some buckets. Only holds that are limited in number ask.
SELECT json_group_array(json_array(bucket, period, number, used))
FROM json_each(?) AS wanted CROSS JOIN rate_window ON bucket = wanted.value;

-- name: load_recorded
-- Which of these generations have been written already.
SELECT json_group_array(generation.id)
FROM json_each(?) AS wanted CROSS JOIN generation ON generation.id = wanted.value;

-- name: window
SELECT bucket, period, number, used FROM rate_window WHERE bucket = ? AND period = ?;

-- name: add_holds
-- New ones, open. What became of them in the same batch is written as a change.
INSERT INTO hold (
  id, workspace, key_id, provider, amount_nano, at_ms, day, deadline_ms, epoch, state,
  charged_nano, lost_nano)
SELECT
  value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7,
  value->>8, 'open', 0, 0
FROM jsonb_each(?);

-- name: change_holds
-- What can change of a hold.
UPDATE hold SET
  state = value->>1,
  progress_charge_nano = value->>2,
  progress_cost_nano = value->>3,
  charged_nano = value->>4,
  lost_nano = value->>5,
  ended_ms = value->>6,
  reason = value->>7,
  progress_of = value->>8
FROM jsonb_each(?) WHERE hold.id = value->>0;

-- name: add_transfers
INSERT INTO transfer (id, workspace, source, target, nano, reason, provider, hold_id, at_ms)
SELECT
  value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7,
  value->>8
FROM jsonb_each(?);

-- name: add_account
INSERT INTO account (workspace, kind, posted, held) VALUES (?, ?, ?, ?);

-- name: change_account
-- Takes the whole row, as every statement for one row does.
UPDATE account SET posted = ?3, held = ?4 WHERE workspace = ?1 AND kind = ?2;

-- name: change_budget
-- What requests change of a budget: its counters.
UPDATE budget SET
  day = ?4,
  held_nano = ?5,
  usage_nano = ?6,
  usage_day_nano = ?7,
  usage_week_nano = ?8,
  usage_month_nano = ?9
WHERE key_id = ?1;

-- name: save_budget
-- A new budget, or all of an old one.
INSERT INTO budget (
  key_id, limit_nano, reset, day, held_nano, usage_nano, usage_day_nano, usage_week_nano,
  usage_month_nano)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key_id) DO UPDATE SET
  limit_nano = excluded.limit_nano,
  reset = excluded.reset,
  day = excluded.day,
  held_nano = excluded.held_nano,
  usage_nano = excluded.usage_nano,
  usage_day_nano = excluded.usage_day_nano,
  usage_week_nano = excluded.usage_week_nano,
  usage_month_nano = excluded.usage_month_nano;

-- name: save_window
INSERT INTO rate_window (bucket, period, number, used) VALUES (?, ?, ?, ?)
ON CONFLICT (bucket, period) DO UPDATE SET number = excluded.number, used = excluded.used;

-- name: add_generation
INSERT INTO generation (
  id, at_ms, workspace, key_id, model, provider, endpoint, status, charge_nano, prompt_tokens,
  completion_tokens, reasoning_tokens, cached_tokens, estimated, streamed, finish_reason,
  latency_ms, duration_ms, price_version, detail)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_rollup
INSERT INTO rollup (
  workspace, day, key_id, model, endpoint, provider, requests, prompt_tokens,
  completion_tokens, reasoning_tokens, cached_tokens, charge_nano)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (workspace, day, key_id, model, endpoint, provider) DO UPDATE SET
  requests = requests + excluded.requests,
  prompt_tokens = prompt_tokens + excluded.prompt_tokens,
  completion_tokens = completion_tokens + excluded.completion_tokens,
  reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
  cached_tokens = cached_tokens + excluded.cached_tokens,
  charge_nano = charge_nano + excluded.charge_nano;

-- name: next_epoch
-- A new life of the server: every open hold of an earlier one is nobody's.
UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'epoch'
RETURNING CAST(value AS INTEGER);

-- name: dead_holds
-- Open holds of earlier lives.
SELECT id FROM hold WHERE state = 'open' AND epoch < ?;

-- name: late_holds
-- Open holds past their deadline.
SELECT id FROM hold WHERE state = 'open' AND deadline_ms < ?;

-- name: held_by_day
-- What a key's open holds reserve, by the day they count on.
SELECT day, sum(amount_nano) FROM hold WHERE state = 'open' AND key_id = ? GROUP BY day;

-- name: budget
SELECT
  key_id, limit_nano, reset, day, held_nano, usage_nano, usage_day_nano, usage_week_nano,
  usage_month_nano
FROM budget WHERE key_id = ?;

-- name: budgets
SELECT
  key_id, limit_nano, reset, day, held_nano, usage_nano, usage_day_nano, usage_week_nano,
  usage_month_nano
FROM budget;

-- name: balance
SELECT posted, held FROM account WHERE workspace = ? AND kind = 'wallet';

-- name: posted
-- Balance of every account of a workspace.
SELECT kind, posted FROM account WHERE workspace = ?;

-- name: posted_everywhere
-- Balances by kind over all workspaces.
SELECT kind, sum(posted) FROM account GROUP BY kind;

-- name: generation
SELECT
  id, at_ms, workspace, key_id, model, provider, endpoint, status, charge_nano, prompt_tokens,
  completion_tokens, reasoning_tokens, cached_tokens, estimated, streamed, finish_reason,
  latency_ms, duration_ms, price_version, detail
FROM generation WHERE id = ? AND workspace = ?;

-- name: activity
-- Completed days of one workspace or (NULL) all, of one key or (NULL) all, newest first.
SELECT
  day, model, endpoint, provider, sum(requests), sum(prompt_tokens), sum(completion_tokens),
  sum(reasoning_tokens), sum(cached_tokens), sum(charge_nano)
FROM rollup
WHERE day BETWEEN :first AND :last
  AND (:workspace IS NULL OR workspace = :workspace)
  AND (:key_id IS NULL OR key_id = :key_id)
GROUP BY day, model, endpoint, provider
ORDER BY day DESC, model, endpoint, provider;

-- name: open_holds
SELECT count(*) FROM hold WHERE state = 'open';
