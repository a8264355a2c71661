-- The books. Amounts are nano-USD, times Unix milliseconds, days whole UTC days since 1970-01-01.
-- What SQL can forbid it forbids here; what it cannot is asked by ledger/audit.sql.

CREATE TABLE meta (
  name TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
) STRICT;

INSERT INTO meta (name, value) VALUES ('epoch', '0');

-- Balances: a cache over `transfer` (posted) and the open rows of `hold` (held).
CREATE TABLE account (
  workspace TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN (
    'wallet', 'promo', 'revenue', 'provider_payable', 'platform_loss', 'provider_unreconciled',
    'payments_clearing')),
  posted INTEGER NOT NULL,
  held INTEGER NOT NULL CHECK (held >= 0),
  PRIMARY KEY (workspace, kind),
  CONSTRAINT wallet_never_overdrawn CHECK (kind <> 'wallet' OR posted - held >= 0),
  CONSTRAINT only_wallets_are_held CHECK (kind = 'wallet' OR held = 0)
) STRICT, WITHOUT ROWID;

-- Every movement of money, in the order it was booked. Corrections are new rows. What ends a hold
-- is named by the hold and needs no id of its own: a hold ends once.
CREATE TABLE transfer (
  seq INTEGER PRIMARY KEY,
  id TEXT,
  workspace TEXT NOT NULL,
  source TEXT NOT NULL,
  target TEXT NOT NULL,
  nano INTEGER NOT NULL CHECK (nano > 0),
  reason TEXT NOT NULL,
  provider TEXT NOT NULL,
  hold_id TEXT,
  at_ms INTEGER NOT NULL,
  CHECK (source <> target),
  CHECK ((id IS NULL) <> (hold_id IS NULL))
) STRICT;

CREATE UNIQUE INDEX transfer_id ON transfer (id) WHERE id IS NOT NULL;

CREATE TRIGGER transfer_is_never_updated BEFORE UPDATE ON transfer
BEGIN SELECT RAISE(ABORT, 'transfers are append-only'); END;

CREATE TRIGGER transfer_is_never_deleted BEFORE DELETE ON transfer
BEGIN SELECT RAISE(ABORT, 'transfers are append-only'); END;

-- One row per admitted request. `day` is the UTC day on which its charge counts.
CREATE TABLE hold (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  workspace TEXT NOT NULL,
  key_id TEXT NOT NULL,
  provider TEXT NOT NULL,
  amount_nano INTEGER NOT NULL CHECK (amount_nano >= 0),
  at_ms INTEGER NOT NULL,
  day INTEGER NOT NULL,
  deadline_ms INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'posted', 'voided', 'expired')),
  progress_charge_nano INTEGER CHECK (progress_charge_nano >= 0),
  progress_cost_nano INTEGER CHECK (progress_cost_nano >= 0),
  progress_of TEXT,  -- JSON of entries.Delivered
  charged_nano INTEGER NOT NULL CHECK (charged_nano >= 0),
  lost_nano INTEGER NOT NULL CHECK (lost_nano >= 0),
  ended_ms INTEGER,
  reason TEXT,
  CHECK ((state = 'open') = (ended_ms IS NULL)),
  CHECK (state = 'posted' OR (charged_nano = 0 AND lost_nano = 0))
) STRICT;

CREATE INDEX hold_open ON hold (deadline_ms) WHERE state = 'open';

CREATE TRIGGER hold_ends_once BEFORE UPDATE ON hold WHEN old.state <> 'open'
BEGIN SELECT RAISE(ABORT, 'a hold ends once'); END;

CREATE TRIGGER hold_is_never_deleted BEFORE DELETE ON hold
BEGIN SELECT RAISE(ABORT, 'holds are kept'); END;

-- What a key may spend and has spent. `day` is the last day seen; the counters are those of that
-- day, its week (from Monday) and its month. `held_nano` counts open holds of the current window.
CREATE TABLE budget (
  key_id TEXT PRIMARY KEY NOT NULL,
  limit_nano INTEGER CHECK (limit_nano >= 0),
  reset TEXT CHECK (reset IN ('daily', 'weekly', 'monthly')),
  day INTEGER NOT NULL,
  held_nano INTEGER NOT NULL CHECK (held_nano >= 0),
  usage_nano INTEGER NOT NULL CHECK (usage_nano >= 0),
  usage_day_nano INTEGER NOT NULL CHECK (usage_day_nano >= 0),
  usage_week_nano INTEGER NOT NULL CHECK (usage_week_nano >= 0),
  usage_month_nano INTEGER NOT NULL CHECK (usage_month_nano >= 0)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER budget_is_never_deleted BEFORE DELETE ON budget
BEGIN SELECT RAISE(ABORT, 'budgets are kept: holds and usage belong to them'); END;

-- The record of every generation, written with the end of its hold.
CREATE TABLE generation (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  at_ms INTEGER NOT NULL,
  workspace TEXT NOT NULL,
  key_id TEXT NOT NULL,
  model TEXT NOT NULL,
  provider TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('completed', 'cancelled', 'failed', 'refused')),
  charge_nano INTEGER NOT NULL CHECK (charge_nano >= 0),
  prompt_tokens INTEGER NOT NULL CHECK (prompt_tokens >= 0),
  completion_tokens INTEGER NOT NULL CHECK (completion_tokens >= 0),
  reasoning_tokens INTEGER NOT NULL CHECK (reasoning_tokens >= 0),
  cached_tokens INTEGER NOT NULL CHECK (cached_tokens >= 0),
  estimated INTEGER NOT NULL,
  streamed INTEGER NOT NULL,
  finish_reason TEXT,
  latency_ms INTEGER,
  duration_ms INTEGER NOT NULL,
  price_version TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;

-- Activity: generations summed per day, key and endpoint, in the transaction that writes them.
CREATE TABLE rollup (
  workspace TEXT NOT NULL,
  day INTEGER NOT NULL,
  key_id TEXT NOT NULL,
  model TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  provider TEXT NOT NULL,
  requests INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  charge_nano INTEGER NOT NULL,
  PRIMARY KEY (workspace, day, key_id, model, endpoint, provider)
) STRICT, WITHOUT ROWID;
