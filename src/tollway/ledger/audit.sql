-- The invariants of the books. Every query gives one text column: what is wrong, one row for each
-- place; no row means the invariant holds. The comment under a name says what must be true.

-- name: every_workspace_sums_to_zero
-- Money only moves: the balances of a workspace's accounts add up to zero.
SELECT 'workspace ' || workspace || ' sums to ' || sum(posted)
FROM account GROUP BY workspace HAVING sum(posted) <> 0;

-- name: posted_is_the_sum_of_transfers
-- A balance is what transfers brought in less what they took out.
WITH moved AS (
  SELECT workspace, kind, sum(nano) AS nano FROM (
    SELECT workspace, target AS kind, nano FROM transfer
    UNION ALL SELECT workspace, source, -nano FROM transfer)
  GROUP BY workspace, kind)
SELECT 'account ' || workspace || '/' || kind || ' has ' || coalesce(posted, 0)
  || ', its transfers give ' || coalesce(nano, 0)
FROM account FULL JOIN moved USING (workspace, kind)
WHERE coalesce(posted, 0) <> coalesce(nano, 0);

-- name: held_is_the_sum_of_open_holds
-- What a wallet holds back is what its open holds reserved.
WITH open AS (
  SELECT workspace, sum(amount_nano) AS nano FROM hold WHERE state = 'open' GROUP BY workspace)
SELECT 'wallet ' || workspace || ' holds ' || coalesce(held, 0) || ', its open holds are '
  || coalesce(nano, 0)
FROM (SELECT workspace, held FROM account WHERE kind = 'wallet') FULL JOIN open USING (workspace)
WHERE coalesce(held, 0) <> coalesce(nano, 0);

-- name: no_wallet_was_ever_overdrawn
-- A wallet covers its holds now and was never below zero in its history.
SELECT 'wallet ' || workspace || ' has ' || posted || ' and holds ' || held
FROM account WHERE kind = 'wallet' AND (posted - held < 0 OR held < 0)
UNION ALL
SELECT 'wallet ' || workspace || ' was at ' || min(balance) FROM (
  SELECT workspace, sum(CASE WHEN target = 'wallet' THEN nano ELSE -nano END)
    OVER (PARTITION BY workspace ORDER BY seq) AS balance
  FROM transfer WHERE 'wallet' IN (source, target))
GROUP BY workspace HAVING min(balance) < 0;

-- name: transfers_are_sound
-- A transfer moves a positive amount between two different accounts that exist.
SELECT 'transfer ' || seq || ' moves ' || nano || ' from ' || source || ' to ' || target
FROM transfer
WHERE nano <= 0 OR source = target
  OR NOT EXISTS (SELECT 1 FROM account a WHERE (a.workspace, a.kind) = (transfer.workspace, source))
  OR NOT EXISTS (SELECT 1 FROM account a WHERE (a.workspace, a.kind) = (transfer.workspace, target));

-- name: what_ends_a_hold_belongs_to_it
-- Transfers under a hold are of the kinds an end makes, in the hold's workspace, at its end.
SELECT 'transfer ' || t.seq || ' (' || t.reason || ') under hold ' || t.hold_id
FROM transfer t LEFT JOIN hold h ON h.id = t.hold_id
WHERE t.hold_id IS NOT NULL AND (
  h.id IS NULL OR h.workspace <> t.workspace OR h.state = 'open' OR h.ended_ms <> t.at_ms
  OR (t.reason, t.source, t.target) NOT IN (VALUES
    ('charge', 'wallet', 'revenue'),
    ('overrun', 'platform_loss', 'revenue'),
    ('cost', 'revenue', 'provider_payable'),
    ('possible cost', 'platform_loss', 'provider_unreconciled')));

-- name: every_hold_ends_once
-- An ended hold has one end, an open one none; only a posted one was charged.
SELECT 'hold ' || id || ' is ' || state || ' with end ' || coalesce(ended_ms, 'none')
  || ', charged ' || charged_nano || ', lost ' || lost_nano
FROM hold
WHERE (state = 'open') <> (ended_ms IS NULL) OR (state = 'open') <> (reason IS NULL)
  OR (state <> 'posted' AND charged_nano + lost_nano <> 0);

-- name: every_charge_is_booked_once
-- What a hold was charged and what was lost is what its transfers moved, each at most once, and
-- a cost is booked at most once and only for a posted hold.
WITH moved AS (
  SELECT hold_id,
    sum(CASE reason WHEN 'charge' THEN nano ELSE 0 END) AS charged,
    sum(CASE reason WHEN 'overrun' THEN nano ELSE 0 END) AS lost,
    max(sum(reason = 'charge'), sum(reason = 'overrun'), sum(reason = 'cost')) AS times,
    sum(reason = 'cost') AS costs
  FROM transfer WHERE hold_id IS NOT NULL GROUP BY hold_id)
SELECT 'hold ' || id || ' (' || state || ') was charged ' || charged_nano || ' and lost '
  || lost_nano || '; booked ' || coalesce(charged, 0) || ' and ' || coalesce(lost, 0)
  || ' in at most ' || coalesce(times, 0) || ' transfers each'
FROM hold LEFT JOIN moved ON hold_id = id
WHERE charged_nano <> coalesce(charged, 0) OR lost_nano <> coalesce(lost, 0)
  OR coalesce(times, 0) > 1 OR (state <> 'posted' AND coalesce(costs, 0) > 0);

-- name: losses_only_when_the_wallet_was_empty
-- Nothing is lost to the platform that the hold itself could have paid.
SELECT 'hold ' || id || ' of ' || amount_nano || ' paid only ' || charged_nano || ' and lost '
  || lost_nano
FROM hold WHERE lost_nano > 0 AND charged_nano < amount_nano;

-- name: every_posted_hold_has_its_generation
-- A posted hold and its generation tell the same charge; other generations charge nothing.
SELECT 'hold ' || h.id || ' (' || h.state || ') was charged ' || (h.charged_nano + h.lost_nano)
  || ', its generation says ' || coalesce(g.charge_nano, 'nothing')
FROM hold h LEFT JOIN generation g ON g.id = h.id
WHERE (h.state = 'posted' AND g.id IS NULL)
  OR (g.id IS NOT NULL AND (
    h.state = 'open' OR g.charge_nano <> h.charged_nano + h.lost_nano
    OR g.workspace <> h.workspace OR g.key_id <> h.key_id))
UNION ALL
SELECT 'generation ' || g.id || ' has no hold'
FROM generation g
WHERE NOT EXISTS (SELECT 1 FROM hold h WHERE h.id = g.id)
  AND g.detail->>'response_cache_source_id' IS NULL;

-- name: cached_answers_are_free_and_name_their_source
-- An answer out of the cache has no hold, used and cost nothing, and tells again a generation of
-- the same key that was completed under a hold.
SELECT 'generation ' || g.id || ' tells ' || coalesce(s.id, 'nothing known') || ' again, charged '
  || g.charge_nano || CASE WHEN own.id IS NULL THEN '' ELSE ', and has a hold' END
FROM generation g
LEFT JOIN generation s ON s.id = g.detail->>'response_cache_source_id'
LEFT JOIN hold paid ON paid.id = s.id AND paid.state = 'posted'
LEFT JOIN hold own ON own.id = g.id
WHERE g.detail->>'response_cache_source_id' IS NOT NULL AND (
  own.id IS NOT NULL OR paid.id IS NULL OR s.status <> 'completed'
  OR s.workspace <> g.workspace OR s.key_id <> g.key_id
  OR g.charge_nano + g.prompt_tokens + g.completion_tokens + g.reasoning_tokens + g.cached_tokens
    <> 0);

-- name: no_window_counts_more_than_was_admitted
-- Every request that a limit in number counted has a hold of that key or workspace.
WITH admitted AS (
  SELECT 'key:' || key_id AS bucket, count(*) AS n FROM hold GROUP BY key_id
  UNION ALL SELECT 'free:' || workspace, count(*) FROM hold GROUP BY workspace)
SELECT 'the ' || w.period || ' of ' || w.bucket || ' counts ' || w.used || ', admitted were '
  || coalesce(a.n, 0) || ' in all'
FROM rate_window w LEFT JOIN admitted a ON a.bucket = w.bucket
WHERE w.used > coalesce(a.n, 0);

-- name: budgets_equal_their_holds
-- What a key has used, in all and in its last day, week and month, is what its holds were charged;
-- what its limit holds back are the open holds of the limit's window.
WITH spans AS (
  SELECT h.key_id, h.state, h.amount_nano, h.charged_nano + h.lost_nano AS nano,
    h.day = b.day AS today,
    (h.day + 3) / 7 = (b.day + 3) / 7 AS this_week,
    strftime('%Y%m', h.day * 86400, 'unixepoch') = strftime('%Y%m', b.day * 86400, 'unixepoch')
      AS this_month,
    b.reset
  FROM hold h LEFT JOIN budget b ON b.key_id = h.key_id),
sums AS (
  SELECT key_id, sum(nano) AS nano, sum(nano * today) AS today, sum(nano * this_week) AS week,
    sum(nano * this_month) AS month,
    sum(CASE WHEN state <> 'open' THEN 0 ELSE amount_nano * CASE reset
      WHEN 'daily' THEN today WHEN 'weekly' THEN this_week WHEN 'monthly' THEN this_month
      ELSE 1 END END) AS held
  FROM spans GROUP BY key_id)
SELECT 'key ' || coalesce(b.key_id, s.key_id) || ' used ' || coalesce(b.usage_nano, 'nothing')
  || ' (' || coalesce(b.usage_day_nano, 0) || ' day, ' || coalesce(b.usage_week_nano, 0)
  || ' week, ' || coalesce(b.usage_month_nano, 0) || ' month), holds '
  || coalesce(b.held_nano, 0) || '; its holds give ' || coalesce(s.nano, 0) || ' ('
  || coalesce(s.today, 0) || ', ' || coalesce(s.week, 0) || ', ' || coalesce(s.month, 0) || '), '
  || coalesce(s.held, 0)
FROM budget b FULL JOIN sums s ON s.key_id = b.key_id
WHERE b.key_id IS NULL
  OR b.usage_nano <> coalesce(s.nano, 0) OR b.usage_day_nano <> coalesce(s.today, 0)
  OR b.usage_week_nano <> coalesce(s.week, 0) OR b.usage_month_nano <> coalesce(s.month, 0)
  OR b.held_nano <> coalesce(s.held, 0);

-- name: activity_equals_generations
-- Each row of the activity is the sum of the generations admitted that day; answers out of the
-- cache, which have no hold, count on the day they were asked for.
WITH made AS (
  SELECT g.workspace, coalesce(h.day, g.at_ms / 86400000) AS day, g.key_id, g.model, g.endpoint, g.provider, count(*) AS requests,
    sum(g.prompt_tokens) AS p, sum(g.completion_tokens) AS c, sum(g.reasoning_tokens) AS r,
    sum(g.cached_tokens) AS k, sum(g.charge_nano) AS nano
  FROM generation g LEFT JOIN hold h ON h.id = g.id
  GROUP BY g.workspace, 2, g.key_id, g.model, g.endpoint, g.provider)
SELECT 'activity of day ' || coalesce(a.day, m.day) || ', key ' || coalesce(a.key_id, m.key_id)
  || ', ' || coalesce(a.endpoint, m.endpoint) || ': ' || coalesce(a.requests, 0) || ' requests, '
  || coalesce(a.charge_nano, 0) || '; generations give ' || coalesce(m.requests, 0) || ', '
  || coalesce(m.nano, 0)
FROM rollup a FULL JOIN made m
  ON (a.workspace, a.day, a.key_id, a.model, a.endpoint, a.provider)
   = (m.workspace, m.day, m.key_id, m.model, m.endpoint, m.provider)
WHERE a.key_id IS NULL OR m.key_id IS NULL
  OR (a.requests, a.prompt_tokens, a.completion_tokens, a.reasoning_tokens, a.cached_tokens,
      a.charge_nano) <> (m.requests, m.p, m.c, m.r, m.k, m.nano);

-- name: history_is_protected
-- The triggers that forbid changing the past are in place.
SELECT 'the trigger ' || value || ' is missing' FROM json_each('["transfer_is_never_updated",
  "transfer_is_never_deleted", "hold_ends_once", "hold_is_never_deleted",
  "budget_is_never_deleted"]')
WHERE value NOT IN (SELECT name FROM sqlite_schema WHERE type = 'trigger');

-- name: the_file_is_whole
-- SQLite finds its own pages, indexes and constraints consistent.
SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok';
