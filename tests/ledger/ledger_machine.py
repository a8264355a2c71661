"""A random machine over the books and an oracle that shares no arithmetic with them.

The oracle keeps what happened, in fractions of a USD and calendar dates, and recomputes every
balance and every limit from that history each time it is asked.
"""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from fractions import Fraction
from types import ModuleType
from typing import Any

from ledger_support import DAY_MS, Books, at, grant

from tollway.ledger import budgets, rules, sqlite
from tollway.ledger.entries import (
    Ended,
    Held,
    Hold,
    PlatformCost,
    Progress,
    Refused,
    Settle,
    Transfer,
    Void,
)

WORKSPACES = ("a", "b")
KEYS = {"k1": "a", "k2": "a", "k3": "b"}
RESETS = (None, "daily", "weekly", "monthly")


def usd(nano: int) -> Fraction:
    return Fraction(nano, 10**9)


class Past:
    """One hold in the oracle's memory."""

    def __init__(self, hold: Hold, granted: Fraction, counts_on: date) -> None:
        self.hold, self.granted, self.counts_on = hold, granted, counts_on
        self.open = True
        self.paid = self.lost = Fraction(0)
        self.progress: tuple[Fraction, Fraction] | None = None


class Oracle:
    def __init__(self) -> None:
        self.moves: list[tuple[str, str, str, Fraction]] = []
        self.transfers: dict[str, Transfer] = {}
        self.holds: dict[str, Past] = {}
        self.limits: dict[str, tuple[Fraction | None, str | None]] = {}
        self.seen: dict[str, date] = {}

    def balance(self, workspace: str, kind: str) -> Fraction:
        own = [m for m in self.moves if m[0] == workspace]
        return sum((m[3] for m in own if m[2] == kind), Fraction(0)) - sum(
            (m[3] for m in own if m[1] == kind), Fraction(0)
        )

    def available(self, workspace: str) -> Fraction:
        open_ = [p for p in self.holds.values() if p.open and p.hold.workspace == workspace]
        return self.balance(workspace, "wallet") - sum((p.granted for p in open_), Fraction(0))

    def window(self, key: str) -> list[Past]:
        """The key's holds that count in its limit's current window."""
        reset, today = self.limits.get(key, (None, None))[1], self.seen[key]
        same = {
            None: lambda d: True,
            "daily": lambda d: d == today,
            "weekly": lambda d: d.isocalendar()[:2] == today.isocalendar()[:2],
            "monthly": lambda d: (d.year, d.month) == (today.year, today.month),
        }[reset]
        return [p for p in self.holds.values() if p.hold.key_id == key and same(p.counts_on)]

    def limit_left(self, key: str) -> Fraction | None:
        limit = self.limits.get(key, (None, None))[0]
        if limit is None:
            return None
        own = self.window(key)
        used = sum((p.paid + p.lost for p in own), Fraction(0))
        return limit - used - sum((p.granted for p in own if p.open), Fraction(0))

    def note_day(self, key: str, at_ms: int) -> date:
        day = datetime.fromtimestamp(at_ms / 1000, UTC).date()
        self.seen[key] = max(day, self.seen.get(key, day))
        return self.seen[key]

    def hold(self, c: Hold) -> Any:
        if c.id in self.holds:
            past = self.holds[c.id]
            return ("held", past.granted) if past.open else "HoldEnded"
        day = self.note_day(c.key_id, c.at_ms)
        left = self.limit_left(c.key_id)
        free = self.available(c.workspace)
        free = free if left is None else min(free, max(left, Fraction(0)))
        granted = min(usd(c.wanted_nano), free)
        if granted < usd(c.least_nano):
            return "refused"
        self.holds[c.id] = Past(c, granted, day)
        return ("held", granted)

    def end(self, id: str, charge: Fraction, cost: Fraction, owed: Any, booked: bool) -> Any:
        past = self.holds.get(id)
        if past is None:
            return "UnknownHold"
        if not past.open:
            return ("ended", False, past.paid, past.lost)
        past.open = False
        ws = past.hold.workspace
        key = past.hold.key_id
        room = self.limit_left(key)
        if room is not None:
            room = max(past.granted, room if past in self.window(key) else past.granted)
        past.paid = min(charge, self.available(ws), charge if room is None else room)
        past.lost = charge - past.paid
        self.moves += [
            (ws, "wallet", "revenue", past.paid),
            (ws, "platform_loss", "revenue", past.lost),
            (ws, "revenue", "provider_payable", cost),
            *((ws, "platform_loss", "provider_unreconciled", nano) for nano in owed),
        ]
        return ("ended", True, past.paid, past.lost)

    def abandon(self, id: str) -> Any:
        past = self.holds[id]
        if not past.open:
            return None
        charge, cost = past.progress or (Fraction(0), Fraction(0))
        owed = [] if past.progress else [past.granted]
        self.end(id, charge, cost, owed, booked=True)
        return "posted" if past.progress else "released"

    def transfer(self, c: Transfer) -> Any:
        known = self.transfers.get(c.id)
        if known is not None:
            same = (known.workspace, known.source, known.target, known.nano) == (
                c.workspace,
                c.source,
                c.target,
                c.nano,
            )
            return False if same else "IdConflict"
        if c.nano <= 0:
            return "BadCommand"
        if c.source == "wallet" and usd(c.nano) > self.available(c.workspace):
            return "Overdrawn"
        self.transfers[c.id] = c
        self.moves.append((c.workspace, c.source, c.target, usd(c.nano)))
        return True


class Machine:
    """`Machine(seed).run(50)`: random commands, every answer and every balance compared."""

    def __init__(self, seed: int, rules_: ModuleType = rules, sqlite_: ModuleType = sqlite) -> None:
        self.random = random.Random(seed)
        self.books = Books(rules_, sqlite_)
        self.oracle = Oracle()
        self.now = at("2026-11-20T12:00:00") + self.random.randrange(40) * DAY_MS
        self.made = 0

    def run(self, steps: int) -> None:
        while steps > 0:
            size = min(steps, self.random.choice((1, 1, 2, 5, 12)))
            steps -= size
            if self.random.random() < 0.15:
                self.change_limit()
            if self.random.random() < 0.1:
                self.restart()
            batch = [self.command() for _ in range(size)]
            answers = self.books.apply(*(command for command, _ in batch))
            for (command, expect), answer in zip(batch, answers, strict=True):
                wanted = expect()
                assert self.shape(answer) == wanted, (command, answer, wanted)
            self.compare()
        assert self.books.violations() == []

    def command(self) -> tuple[Any, Any]:
        """A command and what the oracle says to it, asked in the same order."""
        r, o = self.random, self.oracle
        self.now += r.choice((0, 1, 1000, 60_000, 3_600_000, DAY_MS // 2, -5_000))
        now = self.now
        match r.choices(("hold", "settle", "void", "progress", "transfer"), (8, 8, 2, 2, 3))[0]:
            case "hold":
                wanted = self.amount()
                key = r.choice(list(KEYS))
                c = Hold(
                    self.id(new=0.9),
                    KEYS[key],
                    key,
                    wanted,
                    r.choice((0, wanted, wanted // 2)),
                    now,
                    now + 1000,
                    "mock",
                )
                return c, lambda: o.hold(c)
            case "settle":
                c = Settle(self.id(), self.amount(), self.amount(), "mock", now, None, self.owed())
                owed = [usd(p.nano) for p in c.platform_costs]
                return c, lambda: o.end(c.hold_id, usd(c.charge_nano), usd(c.cost_nano), owed, True)
            case "void":
                c = Void(self.id(), "failed", now, None, self.owed())
                owed = [usd(p.nano) for p in c.platform_costs]
                return c, lambda: o.end(c.hold_id, Fraction(0), Fraction(0), owed, False)
            case "progress":
                c = Progress(self.id(), self.amount(), self.amount())
                return c, lambda: self.note_progress(c)
            case _:
                return self.a_transfer()

    def a_transfer(self) -> tuple[Any, Any]:
        r, ws = self.random, self.random.choice(WORKSPACES)
        self.made += 1
        name = f"t{r.randrange(self.made) if r.random() < 0.2 else self.made}"
        c = grant(name, r.choice((0, 1000, 5000, 50_000)), ws)
        if r.random() < 0.3:
            c = Transfer(name, ws, "wallet", "payments_clearing", self.amount() + 1, "refund", 1)
        return c, lambda: self.oracle.transfer(c)

    def note_progress(self, c: Progress) -> None:
        past = self.oracle.holds.get(c.hold_id)
        if past is not None and past.open:
            before = past.progress or (Fraction(0), Fraction(0))
            past.progress = (
                max(before[0], usd(c.charge_nano)),
                max(before[1], usd(c.cost_nano)),
            )

    def change_limit(self) -> None:
        key, reset = self.random.choice(list(KEYS)), self.random.choice(RESETS)
        limit = self.random.choice((None, 0, 3000, 20_000))
        with self.books.connection:
            budgets.set_budget(
                self.books.connection, key, limit_nano=limit, reset=reset, now_ms=self.now
            )
        self.oracle.note_day(key, self.now)
        self.oracle.limits[key] = (None if limit is None else usd(limit), reset)

    def restart(self) -> None:
        """Kill the owner: a new epoch ends what is open."""
        self.books.epoch += 1
        dead = [id for id, past in self.oracle.holds.items() if past.open]
        reason = self.random.choice(("recovered", "expired"))
        ends = [self.books.rules.Abandon(id, reason, self.now) for id in dead]
        gone = "expired" if reason == "expired" else "voided"
        wanted = [self.oracle.abandon(id) for id in dead]
        answers = self.books.apply(*ends)
        assert answers == [gone if w == "released" else w for w in wanted]

    def id(self, new: float = 0.05) -> str:
        if self.random.random() < new or not self.made:
            self.made += 1
            return f"h{self.made}"
        recent = self.random.random() < 0.7
        return f"h{self.random.randint(max(1, self.made - 8) if recent else 1, self.made)}"

    def amount(self) -> int:
        return self.random.choice((0, 1, 7, 500, 999, 1000, 4000, 9000))

    def owed(self) -> tuple[PlatformCost, ...]:
        return tuple(
            PlatformCost("mock", self.amount()) for _ in range(self.random.choice((0, 0, 2)))
        )

    def shape(self, answer: Any) -> Any:
        match answer:
            case Held():
                return ("held", usd(answer.granted_nano))
            case Refused():
                return "refused"
            case Ended():
                return ("ended", answer.applied, usd(answer.charged_nano), usd(answer.lost_nano))
            case Exception():
                return type(answer).__name__
            case _:
                return answer

    def compare(self) -> None:
        for workspace in WORKSPACES:
            posted = self.books.posted(workspace)
            for kind in rules.ACCOUNTS:
                assert usd(posted.get(kind, 0)) == self.oracle.balance(workspace, kind), kind
            held = self.books.held(workspace)
            free = usd(posted.get("wallet", 0) - held)
            assert free == self.oracle.available(workspace) and free >= 0
        for key in self.oracle.seen:
            budget = budgets.read_budget(self.books.connection, key)
            left = self.oracle.limit_left(key)
            if budget is not None and left is not None and budget.limit_nano is not None:
                own = budget.limit_nano - budget.spent_nano - budget.held_nano
                assert usd(own) == left, key
