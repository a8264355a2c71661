"""Explain: what a caller reads of a plan is what was decided."""

import msgspec
from routing_builders import endpoint, offered, planned, request

from tollway.canon import Fault
from tollway.routing.entries import Stuck
from tollway.routing.explain import explained, metadata

DOWN = Fault(503, "provider_unavailable", "down")
PLAN = planned(
    request(sort="price", output_tokens_max=7, ignore=("gamma",)),
    offered("alpha"),
    offered("beta", dollars=2.0, region="eu"),
    offered("gamma"),
)
ALPHA, BETA = PLAN.attempts


def test_metadata_tells_who_was_tried_and_who_answered() -> None:
    told = metadata("openrouter", PLAN, [(ALPHA, DOWN)], BETA, 12)
    assert told == {
        "openrouter_metadata": {
            "requested": "acme/one",
            "strategy": "direct",
            "region": "eu",
            "summary": "available=2, dropped=1, attempt=2, selected=Beta",
            "attempt": 2,
            "is_byok": False,
            "endpoints": {
                "total": 3,
                "available": [
                    {"provider": "Alpha", "model": "acme/one", "selected": False},
                    {"provider": "Beta", "model": "acme/one", "selected": True},
                ],
            },
            "attempts": [
                {"provider": "Alpha", "model": "acme/one", "status": 503},
                {"provider": "Beta", "model": "acme/one", "status": 200},
            ],
            "params": {},
            "generation_time": 12,
            "pipeline": [],
        }
    }


def test_an_answer_that_broke_off_is_told_once() -> None:
    told = metadata("openrouter", PLAN, [(ALPHA, DOWN)], ALPHA, 12, broke=True)
    said = told["openrouter_metadata"]
    assert said["attempts"] == [{"provider": "Alpha", "model": "acme/one", "status": 503}]


def test_an_endpoint_that_answered_when_it_was_called_again_is_told_twice() -> None:
    told = metadata("openrouter", PLAN, [(ALPHA, DOWN)], ALPHA, 12)["openrouter_metadata"]
    assert [each["status"] for each in told["attempts"]] == [503, 200]
    assert told["attempt"] == 2


def test_a_plan_that_reached_nobody_is_attempt_0() -> None:
    told = metadata("openrouter", PLAN, [], None, 0)["openrouter_metadata"]
    assert (told["attempt"], told["attempts"], told["region"]) == (0, [], None)


def test_our_own_part_says_what_decided_and_what_it_may_cost() -> None:
    told = metadata("tollway", PLAN, [], None, 0)["openrouter_metadata"]["tollway"]
    assert told["sort"] == "price"
    assert told["drops"] == [
        {
            "reason": "ignored_providers",
            "model": "acme/one",
            "provider": "gamma",
            "tag": "gamma",
            "excluded_by": "allowed_providers",
        }
    ]
    assert [each["endpoint"] for each in told["order"]] == ["acme/one@alpha", "acme/one@beta"]
    assert [each["output_tokens_max"] for each in told["order"]] == [7, 7]
    assert told["order"][1]["pricing"] == {"prompt": "0.000002", "completion": "0.000002"}
    assert told["price_ceiling_usd"] == PLAN.wanted_nano / 10**9 > 0
    assert told["sticky"] is None and told["hedge"] is None


def test_what_the_dialect_could_not_carry_is_our_own_part_s_alone() -> None:
    told = metadata("tollway", PLAN, [], ALPHA, 0, ("top_k",))["openrouter_metadata"]
    assert told["tollway"]["dropped"] == ["top_k"]
    assert metadata("tollway", PLAN, [], None, 0)["openrouter_metadata"]["tollway"]["dropped"] == []
    assert "top_k" not in str(metadata("openrouter", PLAN, [], ALPHA, 0, ("top_k",)))


def test_what_was_done_to_the_answer_stands_behind_what_was_done_to_the_request() -> None:
    healed = {"type": "response_healing", "name": "response-healing"}
    hedged = {"type": "plugin", "name": "hedge"}
    plan = msgspec.structs.replace(PLAN, pipeline=(hedged,))
    told = metadata("openrouter", plan, [], ALPHA, 0, (), (healed,))["openrouter_metadata"]
    assert told["pipeline"] == [hedged, healed]


def test_what_explains_a_request_beforehand_is_the_same_decision() -> None:
    told = explained(PLAN)
    assert told["requested"] == ["acme/one"]
    assert (
        told["order"]
        == metadata("tollway", PLAN, [], None, 0)["openrouter_metadata"]["tollway"]["order"]
    )


def test_a_conversation_that_sticks_says_where() -> None:

    stuck = Stuck(endpoint("beta").key, pinned=True)
    told = explained(msgspec.structs.replace(PLAN, stuck=stuck))
    assert told["sticky"] == {"endpoint": "acme/one@beta", "pinned": True}
