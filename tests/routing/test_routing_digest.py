"""Digests between two processes, with a clock of our own."""

from random import Random

import pytest
from routing_builders import NOW, endpoint

from tollway.canon import Fault
from tollway.routing import digest
from tollway.routing.digest import Digest, packed, unpacked
from tollway.routing.health import (
    COOLING,
    DEGRADED,
    EJECTED,
    NORMAL,
    RESTING,
    STABLE,
    UNSTABLE,
    Health,
    Outcome,
)

ONE, TWO = endpoint("alpha"), endpoint("beta")
SEED = 5
ILL = Outcome.failed(Fault(502, "x", "x"), 0.1)


def copy(health: Health, now_s: float = NOW) -> Digest:
    """What another process reads of it."""
    found = unpacked(packed(health.tell(now_s)))
    assert found is not None
    return found


def heard(*others: Health, now_s: float = NOW) -> Health:
    health = Health()
    health.hear([copy(other, now_s) for other in others], now_s)
    return health


def adopted(other: Health, now_s: float = NOW) -> Health:
    health = Health()
    health.adopt(copy(other, now_s), now_s)
    return health


def busy(calls: int = 40, seed: int = SEED) -> Health:
    random, health = Random(seed), Health()
    for n in range(calls):
        at = NOW - 200 + n
        health.note(ONE, Outcome.answered(random.random(), 100, 1 + random.random()), at)
        health.note_tools(ONE, n % 4 != 0, at)
    return health


@pytest.mark.parametrize("way", [heard, adopted])
def test_what_one_process_measured_the_other_knows(way) -> None:
    told = busy()
    knows = way(told)
    own, other = told.snapshot_for(ONE.key, NOW), knows.snapshot_for(ONE.key, NOW)
    for name in ("latency_last_30m", "throughput_last_30m"):
        assert other[name] == pytest.approx(own[name], rel=1e-5)
        del own[name], other[name]
    assert other == own
    assert own["tool_call_success_last_2h"] == 75.0
    assert knows.p95_latency(ONE.key, NOW) == pytest.approx(
        told.p95_latency(ONE.key, NOW), rel=1e-5
    )
    assert knows.success(ONE.key, NOW) == 1.0


def test_figures_of_two_processes_are_figures_of_one() -> None:
    health = Health()
    for n in range(10):
        health.note(ONE, Outcome.answered(1.0, 10, 1.0), NOW - n)
    other = Health()
    for n in range(30):
        other.note(ONE, Outcome.answered(3.0, 10, 1.0), NOW - n)
        other.note_tools(ONE, True, NOW)
    for _ in range(10):
        health.note_tools(ONE, False, NOW)
    assert health.latency(ONE.key, NOW)["p50"] == 1.0
    health.hear([copy(other)], NOW)
    assert health.latency(ONE.key, NOW)["p50"] == pytest.approx(3.0)
    assert health.measured(ONE.key, "alpha", NOW).calls == 40
    assert health.snapshot_for(ONE.key, NOW)["tool_call_success_last_2h"] == 75.0


@pytest.mark.parametrize("way", [heard, adopted])
def test_figures_for_a_plan_are_the_figures_of_each(way) -> None:
    for health in (busy(), way(busy())):
        for _ in range(2):
            figures = health.figures_at(NOW)
            assert figures(ONE.key) == health.figures(ONE.key, NOW) != (None, None)
            assert figures(TWO.key) == (None, None)
            health.note(ONE, Outcome.answered(9.0, 1, 9.0), NOW - 100)


def test_hearing_the_same_again_counts_nothing_twice() -> None:
    other, health = busy(), Health()
    for _ in range(3):
        health.hear([copy(other)], NOW)
    assert health.measured(ONE.key, "alpha", NOW).calls == 40
    health.hear([], NOW)
    assert health.latency(ONE.key, NOW) is None


def test_what_was_heard_is_not_told_as_our_own() -> None:
    assert heard(busy()).tell(NOW).records == {}
    assert adopted(busy()).tell(NOW).records.keys() == {ONE.key}


def test_troubles_are_of_all_processes() -> None:
    told = Health()
    for _ in range(5):
        told.note(ONE, ILL, NOW)
    told.note(TWO, Outcome.failed(Fault(429, "x", "x", retry_after_s=40)), NOW)
    third, fourth = endpoint("gamma"), endpoint("delta")
    told.note(third, Outcome.failed(Fault(401, "x", "x", "cool")), NOW)
    told.note(fourth, ILL, NOW)
    knows = heard(told)

    def ranks(now_s: float) -> list[int]:
        return [knows.rank(e.key, e.provider, now_s) for e in (ONE, TWO, third, fourth)]

    assert ranks(NOW + 1) == [EJECTED, RESTING, COOLING, UNSTABLE]
    assert ranks(NOW + 61) == [STABLE] * 4
    assert knows.troubled(NOW + 1)


def test_a_probe_that_closed_an_ejection_elsewhere_closes_it_here() -> None:
    one, other = Health(), Health()
    for _ in range(5):
        one.note(ONE, ILL, NOW)
    other.hear([copy(one)], NOW)
    assert other.rank(ONE.key, "alpha", NOW + 1) == EJECTED
    before = copy(other, NOW + 2)
    one.note(ONE, Outcome.answered(0.1, 1, 0.5), NOW + 31)
    other.claim(ONE.key, NOW + 31)
    assert other.rank(ONE.key, "alpha", NOW + 31) == EJECTED
    other.hear([copy(one, NOW + 32)], NOW + 32)
    assert other.rank(ONE.key, "alpha", NOW + 32) == STABLE
    # and what the other said before does not bring it back
    one.hear([before], NOW + 33)
    assert not one.troubled(NOW + 33)


def test_an_ejection_is_longer_after_a_restart_too() -> None:
    health = Health()
    for _ in range(5):
        health.note(ONE, ILL, NOW)
    again = adopted(health, NOW + 2)
    again.note(ONE, ILL, NOW + 31)
    assert [again.rank(ONE.key, "alpha", NOW + 31 + s) for s in (59, 61)] == [EJECTED, STABLE]


def test_failures_in_a_row_go_on_after_a_restart() -> None:
    health = Health()
    for _ in range(4):
        health.note(ONE, ILL, NOW)
    again = adopted(health, NOW + 1)
    again.note(ONE, ILL, NOW + 2)
    assert again.rank(ONE.key, "alpha", NOW + 2) == EJECTED


def test_what_was_measured_long_ago_counts_for_nothing_after_a_restart() -> None:
    health = busy()
    for _ in range(10):
        health.note(ONE, ILL, NOW - 100)
    again = adopted(health, NOW)
    late = NOW + 1_900
    assert again.rank(ONE.key, "alpha", late) == STABLE
    assert again.latency(ONE.key, late) is None
    assert again.measured(ONE.key, "alpha", late).calls == 0
    seen = again.snapshot_for(ONE.key, late)
    assert (seen["latency_last_30m"], seen["uptime_last_30m"]) == (None, None)
    assert seen["uptime_last_1d"] is not None
    assert seen["tool_call_success_last_2h"] == 75.0
    assert again.snapshot_for(ONE.key, NOW + 90_000)["uptime_last_1d"] is None


def test_classes_of_uptime_are_of_all_processes_together() -> None:
    one, other = Health(), Health()
    for n in range(60):
        for health in (one, other):
            failed = n % 10 == 0
            health.note(ONE, ILL if failed else Outcome.answered(0.1, 1, 0.1), NOW - 300 + n)
    assert one.uptime_class(ONE.key, NOW) == NORMAL  # sixty calls are too few
    one.hear([copy(other)], NOW)
    assert one.uptime_class(ONE.key, NOW) == DEGRADED
    assert one.troubled(NOW)
    one.hear([], NOW)
    assert one.uptime_class(ONE.key, NOW) == NORMAL


def test_the_minute_that_was_running_at_the_end_has_its_verdict() -> None:
    health, start_s = Health(), NOW - NOW % 60
    for _ in range(10):
        health.note(ONE, ILL, start_s + 5)
    again = adopted(health, start_s + 10)
    assert again.snapshot_for(ONE.key, start_s + 20)["uptime_last_5m"] == 0.0
    later = adopted(health, start_s + 130)
    assert later.snapshot_for(ONE.key, start_s + 130)["uptime_last_5m"] == 0.0
    assert later.snapshot_for(ONE.key, start_s + 130)["uptime_last_1d"] == 0.0


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"not msgpack", packed(Digest(99, NOW, {}, {}, {}, {}, {}))],
)
def test_a_body_that_cannot_be_read_is_nothing(body) -> None:
    assert unpacked(body) is None


@pytest.mark.parametrize("field", ["latency", "recent", "sick", "day"])
def test_a_piece_that_makes_no_sense_is_left_out(field) -> None:
    import msgspec

    told = copy(busy())
    bad = msgspec.structs.replace(told.records[ONE.key], **{field: b"\x01"})
    health = Health()
    health.hear([msgspec.structs.replace(told, records={ONE.key: bad})], NOW)
    assert health.latency(ONE.key, NOW) is None
    health.hear([told], NOW)
    assert health.latency(ONE.key, NOW) is not None


def test_a_digest_is_bounded_and_compact(monkeypatch) -> None:
    monkeypatch.setattr(digest, "ENDPOINTS_TOLD", 3)
    health = Health()
    for n in range(9):
        for _ in range(300):
            health.note(endpoint(f"p{n}"), Outcome.answered(0.5, 9, 1.0), NOW - 100 + n)
    told = health.tell(NOW)
    assert sorted(told.records) == [f"acme/one@p{n}" for n in (6, 7, 8)]
    assert len(packed(told)) < 3 * 1_800
    health.note(ONE, Outcome.answered(0.5, 9, 1.0), NOW - 90_000)
    assert ONE.key not in health.tell(NOW).records


def test_the_revision_moves_with_what_is_told() -> None:
    health = Health()
    before = health.revision
    health.tell(NOW)
    health.hear([copy(busy())], NOW)
    assert health.revision == before
    health.note(ONE, ILL, NOW)
    assert health.revision > before
