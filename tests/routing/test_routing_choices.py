"""Sessions keep their model while they live, and no longer."""

from __future__ import annotations

from tollway.routing.choices import Choices

KEY = ("ws", "tollway/auto@low", "s1")
NOW = 1_800_000_000.0


def test_a_choice_is_kept_for_ten_idle_minutes_and_every_answer_renews_it() -> None:
    kept = Choices()
    kept.note(KEY, "acme/one", NOW)
    assert kept.recall(KEY, NOW + 599) == "acme/one"
    assert kept.recall(KEY, NOW + 600) is None
    assert len(kept) == 0
    kept.note(KEY, "acme/one", NOW)
    kept.note(KEY, "acme/one", NOW + 500)
    assert kept.recall(KEY, NOW + 1_099) == "acme/one"
    assert kept.recall(KEY, NOW + 1_101) is None


def test_asking_does_not_renew() -> None:
    kept = Choices()
    kept.note(KEY, "acme/one", NOW)
    assert kept.recall(KEY, NOW + 590) == "acme/one"
    assert kept.recall(KEY, NOW + 610) is None


def test_workspaces_routers_and_sessions_are_apart() -> None:
    kept = Choices()
    kept.note(KEY, "acme/one", NOW)
    for other in (("w2", *KEY[1:]), ("ws", "tollway/auto@max", "s1"), (*KEY[:2], "s2")):
        assert kept.recall(other, NOW) is None


def test_the_longest_idle_session_makes_room() -> None:
    kept = Choices(sessions_max=2)
    for n in range(2):
        kept.note(("ws", "r", f"s{n}"), "acme/one", NOW + n)
    kept.note(("ws", "r", "s0"), "acme/one", NOW + 2)
    kept.note(("ws", "r", "s9"), "acme/one", NOW + 3)
    assert len(kept) == 2
    assert kept.recall(("ws", "r", "s1"), NOW + 4) is None
    assert kept.recall(("ws", "r", "s0"), NOW + 4) == "acme/one"
