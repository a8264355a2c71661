"""Routers: what they pick, what binds them, what they refuse, how they stick."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from routing_builders import NOW, index, model, offered, provider

from tollway.canon import Fault, Request
from tollway.catalogue.entries import DataPolicy, Model
from tollway.dialects import dialect
from tollway.errors import CallerError
from tollway.money import Price, Rates
from tollway.routing.candidates import Pool
from tollway.routing.entries import Offer, Plan, Policy
from tollway.routing.health import Health, Outcome
from tollway.routing.plan import plan
from tollway.routing.routers import PICKS, route, routed, session_of

FREE = Price(Rates(prompt=0, completion=0))
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}


def able(id: str, **facts: Any) -> Model:
    facts.setdefault("capabilities", ("tools", "structured_outputs"))
    facts.setdefault("created", "2026-01-01")
    facts.setdefault("context_length", 100_000)
    return model(id, **facts)


def sold(id: str, dollars: float = 1.0, *, tag: str = "alpha", **of: Any) -> Offer:
    return offered(tag, of=able(id, **of), dollars=dollars)


FIVE = [sold(f"a{n}/m{n}", n, created=f"2026-0{n}-01") for n in (1, 2, 3, 4, 5)]
"""Five models of five authors at 1 … 5 USD: one for each band."""


def ask(model: Any = "tollway/auto", text: Any = "Hello", **more: Any) -> Request:
    named = {"model": model} if isinstance(model, str) else {"models": model}
    body = {**named, "messages": [{"role": "user", "content": text}], **more}
    request: Request = dialect("openai_chat").parse_request(json.dumps(body).encode())
    return request


def plugin(**options: Any) -> dict[str, Any]:
    return {"plugins": [{"id": "auto-router", **options}]}


def planned(
    request: Request,
    *offers: Offer,
    health: Health | None = None,
    policy: Policy | None = None,
    remembered: str | None = None,
    seed: int = 1,
    pool: Pool | None = None,
    **facts: Any,
) -> Plan:
    health, policy, random = health or Health(), policy or Policy(), Random(seed)
    pool = pool or Pool(index(*(offers or FIVE), **facts))
    found = route(request, pool, health, policy, now_s=NOW, random=random, remembered=remembered)
    return found.told(plan(request, found.offers, health, policy, now_s=NOW, random=random))


def models(plan: Plan) -> list[str]:
    return list(dict.fromkeys(attempt.model.id for attempt in plan.attempts))


def refused(request: Request, *offers: Offer, **more: Any) -> CallerError:
    with pytest.raises(CallerError) as caught:
        planned(request, *offers, **more)
    return caught.value


# ---- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slugs", "expected"),
    [
        (["tollway/auto"], "tollway/auto"),
        (["openrouter/auto"], "tollway/auto"),
        (["OpenRouter/Auto-Beta"], "tollway/auto"),
        (["tollway/auto:nitro"], "tollway/auto"),
        (["openrouter/free"], "tollway/free"),
        (["a/b", "tollway/free"], "tollway/free"),
        (["a/b"], None),
        (["tollway/echo"], None),
        (["openrouter/automatic"], None),
        (["tollway"], None),
    ],
)
def test_a_router_is_known_by_every_spelling(slugs: list[str], expected: str | None) -> None:
    found = routed(ask(slugs))
    assert (found.id if found else None) == expected


# ---- the automatic one ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("band", "expected"), [("low", 1), ("medium", 2), ("high", 3), ("xhigh", 4), ("max", 5)]
)
def test_the_band_decides_what_it_may_cost(band: str, expected: int) -> None:
    made = planned(ask(**plugin(cost_tier=band)))
    assert models(made) == [f"a{expected}/m{expected}"]
    assert made.wanted_nano > 0


def test_the_best_of_the_band_comes_first_and_two_others_behind_it() -> None:
    offers = [sold(f"a{n}/m", 1, created=f"2026-0{n}-01") for n in range(1, 7)]
    made = planned(ask(), *offers)
    assert models(made) == ["a6/m", "a5/m", "a4/m"]
    assert len(models(made)) == PICKS
    assert (made.strategy, made.router, made.picked) == (
        "auto",
        "tollway/auto",
        ("a6/m", "a5/m", "a4/m"),
    )
    assert made.requested == ("tollway/auto",)
    assert [made.router_of(id) for id in ("a6/m", "a1/m")] == ["tollway/auto", None]


def test_fall_backs_are_of_other_authors_where_there_are_any() -> None:
    twins = [sold("a/new", created="2026-06-03"), sold("a/twin", created="2026-06-02")]
    assert models(planned(ask(), *twins, sold("b/old"))) == ["a/new", "b/old", "a/twin"]


def test_the_kind_of_work_moves_who_can_think_to_the_front() -> None:
    offers = [
        sold("a/quick", created="2026-06-01"),
        sold("b/thinks", created="2025-01-01", capabilities=("tools", "reasoning")),
    ]
    assert models(planned(ask(text="Debug my python function"), *offers))[0] == "b/thinks"
    assert models(planned(ask(text="Write a poem"), *offers))[0] == "a/quick"


def test_the_plan_says_what_was_seen_and_picked() -> None:
    made = planned(ask(text="Translate: hello", tools=[TOOL]), *FIVE)
    assert made.pipeline == (
        {
            "type": "plugin",
            "name": "auto-router",
            "summary": "agent at low: a1/m1",
            "data": {
                "router": "tollway/auto",
                "task_type": "agent",
                "signals": {"translation": 2, "agent": 3},
                "script": "latin",
                "turns": 1,
                "needs": ["text", "tools"],
                "cost_tier": "low",
                "candidates": 5,
                "in_cost_tier": 1,
                "benchmarks": False,
                "kept": False,
                "chosen": ["a1/m1"],
            },
        },
    )


def test_bands_are_of_those_who_can_do_it() -> None:
    """The two that read images are a market of their own."""
    sees = [
        sold("s/one", 50, input_modalities=("text", "image")),
        sold("s/two", 90, input_modalities=("text", "image")),
    ]
    picture = [{"type": "text", "text": "Who is it?"}, IMAGE]
    assert models(planned(ask(text=picture), *FIVE, *sees)) == ["s/one"]
    dear = ask(text=picture, **plugin(cost_tier="max"))
    assert models(planned(dear, *FIVE, *sees)) == ["s/two"]


def test_allowed_and_excluded_models() -> None:
    assert models(planned(ask(**plugin(allowed_models=["a4/*", "A5/*"])))) == ["a4/m4"]
    assert models(planned(ask(**plugin(excluded_models=["a1/*", "*m2"])))) == ["a3/m3"]
    none = refused(ask(**plugin(allowed_models=["nobody/*"])))
    assert (none.status, none.error_type) == (404, "not_found")
    assert "allowed_models" in none.message
    assert none.availability and none.availability["requested_models"] == ["tollway/auto"]


def test_each_slug_reads_its_own_plugin_only() -> None:
    beta = {"plugins": [{"id": "auto-beta-router", "cost_tier": "max"}]}
    assert models(planned(ask("openrouter/auto-beta", **beta))) == ["a5/m5"]
    assert models(planned(ask("openrouter/auto", **beta))) == ["a1/m1"]
    assert models(planned(ask("openrouter/auto-beta", **plugin(cost_tier="max")))) == ["a1/m1"]


def test_a_plugin_that_is_switched_off_says_nothing() -> None:
    off = plugin(enabled=False, cost_tier="max", allowed_models=["nobody/*"])
    assert models(planned(ask(**off))) == ["a1/m1"]


def test_a_bad_option_is_refused_with_its_place() -> None:
    plugins = [{"id": "response-healing"}, {"id": "auto-router", "allowed_models": ["a/*", 7]}]
    error = refused(ask(["a1/m1", "tollway/auto"], plugins=plugins))
    assert (error.status, error.metadata["field"]) == (400, "plugins[1].allowed_models[1]")


def test_patterns_that_fit_everything_a_thousand_times_are_refused() -> None:
    many = [sold(f"a/m{n}") for n in range(60)]
    patterns = ["*" + "*".join(f"a{n}x") for n in range(1024)]
    assert planned(ask(**plugin(excluded_models=patterns[:500])), *many).attempts
    error = refused(ask(**plugin(excluded_models=patterns)), *many)
    assert (error.status, error.metadata["field"]) == (400, "plugins")
    assert "fewer" in error.message


# ---- what binds ----------------------------------------------------------------------------------


def test_who_names_providers_gets_models_they_serve() -> None:
    offers = [*FIVE, sold("b/only", 9, tag="beta")]
    made = planned(ask(provider={"only": ["beta"]}), *offers)
    assert [a.endpoint.tag for a in made.attempts] == ["beta"]
    assert models(planned(ask(provider={"ignore": ["alpha"]}), *offers)) == ["b/only"]
    assert models(planned(ask(), *offers, policy=Policy(only=("beta",)))) == ["b/only"]


def test_privacy_binds_what_is_picked() -> None:
    keeps = provider("keeps", data_policy=DataPolicy(trains_on_data=True))
    made = able("k/cheap")
    offers = [offered("keeps", of=made, by=keeps, dollars=0.1), sold("b/safe", 5)]
    assert models(planned(ask(), *offers))[0] == "k/cheap"
    assert models(planned(ask(provider={"zdr": True}), *offers)) == ["b/safe"]
    strict = Policy(data_collection="deny")
    assert models(planned(ask(), *offers, policy=strict)) == ["b/safe"]
    error = refused(ask(provider={"zdr": True}), offers[0])
    assert (error.status, error.availability and error.availability["code"]) == (
        404,
        "privacy_restricted",
    )


def test_max_price_binds_and_names_what_excluded() -> None:
    assert models(
        planned(ask(provider={"max_price": {"prompt": 2}}, **plugin(cost_tier="max")))
    ) == ["a2/m2"]
    error = refused(ask(provider={"max_price": {"prompt": 0.5}}))
    assert error.status == 404
    assert error.availability and error.availability["excluded_by"] == ["max_price"]


def test_a_window_must_hold_the_prompt_and_should_hold_it_with_the_answer() -> None:
    offers = [
        sold("a/small", 1, context_length=1_000),
        sold("b/tight", 2, context_length=6_000),
        sold("c/roomy", 3, context_length=20_000),
    ]
    text = "word " * 2_000  # likely 2,500 tokens, at most 5,000
    assert models(planned(ask(text="Hi"), *offers)) == ["a/small"]
    assert models(planned(ask(text=text), *offers)) == ["b/tight"]
    assert models(planned(ask(text=text, max_tokens=4_000), *offers)) == ["c/roomy"]
    assert models(planned(ask(text=text, max_tokens=4_000), *offers[:2])) == ["b/tight"]
    error = refused(ask(text=text), offers[0])
    assert (error.status, error.error_type) == (400, "context_length_exceeded")


def test_an_output_limit_above_what_a_model_gives_shuts_it_out() -> None:
    offers = [sold("a/short", 1, output_tokens_max=100), sold("b/long", 2)]
    assert models(planned(ask(max_tokens=200), *offers)) == ["b/long"]


def test_what_is_picked_always_satisfies_every_hard_need() -> None:
    """Random catalogues and requests: whoever is called can do it, and a refusal means nobody
    could have."""
    random = Random(seed := 20_261_128)
    kinds = ("tools", "reasoning", "structured_outputs")
    served = refusals = 0
    for round in range(400):
        offers = [
            offered(
                random.choice(("alpha", "beta", "gamma")),
                of=able(
                    f"a{n % 4}/m{n}",
                    capabilities=tuple(k for k in kinds if random.random() < 0.5),
                    input_modalities=random.choice((("text",), ("text", "image"))),
                    context_length=random.choice((2_000, 50_000)),
                    created=random.choice((None, "2025-03-01", "2026-03-01")),
                ),
                dollars=random.choice((0.1, 1, 3, 9)),
            )
            for n in range(random.randint(1, 9))
        ]
        body: dict[str, Any] = {}
        needs = {k for k in kinds if random.random() < 0.3}
        if "tools" in needs:
            body["tools"] = [TOOL]
        if "reasoning" in needs:
            body["reasoning"] = {"effort": "high"}
        if "structured_outputs" in needs:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "object"}},
            }
        picture = random.random() < 0.3
        text: Any = "word " * random.choice((1, 2_000))
        if picture:
            text = [{"type": "text", "text": text}, IMAGE]
        only = random.choice(((), ("beta",), ("alpha", "gamma")))
        if only:
            body["provider"] = {"only": list(only)}
        request = ask(text=text, **body, **plugin(cost_tier=random.choice(("low", "high", "max"))))

        fitting = {
            o.model.id
            for o in offers
            if needs <= set(o.model.capabilities)
            and (not picture or "image" in o.model.input_modalities)
            and (o.context or 0) > request.prompt_tokens_likely
            and (not only or o.provider.id in only)
        }
        try:
            made = planned(request, *offers, seed=round)
        except CallerError:
            refusals += 1
            assert not fitting, (seed, round)
            continue
        served += 1
        assert set(models(made)) <= fitting, (seed, round)
        assert made.attempts, (seed, round)
        assert set(made.picked) == set(models(made)), (seed, round)
    assert min(served, refusals) > 50


def test_the_same_request_has_the_same_picks() -> None:
    assert len({tuple(models(planned(ask(), seed=n))) for n in range(20)}) == 1


# ---- health --------------------------------------------------------------------------------------

SICK = Fault(503, "provider_unavailable", "down")
PAIR = [sold("a/best", tag="alpha", created="2026-02-01"), sold("b/next", tag="beta")]


def outage(*offers: Offer) -> Health:
    health = Health()
    for offer in offers:
        for _ in range(3):
            health.note(offer.endpoint, Outcome.failed(SICK), NOW - 1)
    return health


def test_a_model_in_trouble_stands_behind_a_well_one() -> None:
    assert models(planned(ask(), *PAIR)) == ["a/best", "b/next"]
    assert models(planned(ask(), *PAIR, health=outage(PAIR[0]))) == ["b/next", "a/best"]
    assert models(planned(ask(), *PAIR, health=outage(*PAIR))) == ["a/best", "b/next"]


def test_trouble_at_one_endpoint_is_no_trouble_of_the_model() -> None:
    second = offered("gamma", of=PAIR[0].model)
    made = planned(ask(), *PAIR, second, health=outage(PAIR[0]))
    assert models(made)[0] == "a/best"
    assert made.attempts[0].endpoint.tag == "gamma"


def test_a_model_that_is_slow_everywhere_stands_behind() -> None:
    health = Health()
    health.note(PAIR[0].endpoint, Outcome.answered(30.0, 10, 31.0), NOW - 1)
    assert models(planned(ask(), *PAIR, health=health)) == ["b/next", "a/best"]


# ---- sticking ------------------------------------------------------------------------------------


def test_a_session_keeps_its_model_while_it_is_a_candidate() -> None:
    made = planned(ask(), *PAIR, remembered="b/next")
    assert models(made) == ["b/next", "a/best"]
    assert made.pipeline[0]["data"]["kept"] is True
    assert models(planned(ask(), remembered="a5/m5")) == ["a5/m5", "a1/m1"]
    tools = [sold("a/tools"), sold("b/none", capabilities=())]
    assert models(planned(ask(tools=[TOOL]), *tools, remembered="b/none")) == ["a/tools"]
    excluded = ask(**plugin(excluded_models=["b/*"]))
    assert models(planned(excluded, *PAIR, remembered="b/next")) == ["a/best"]
    assert models(planned(ask(), *PAIR, remembered="gone/away"))[0] == "a/best"


def test_a_kept_model_in_trouble_waits_behind_one_that_is_well() -> None:
    made = planned(ask(), *PAIR, remembered="a/best", health=outage(PAIR[0]))
    assert models(made) == ["b/next", "a/best"]
    assert made.pipeline[0]["data"]["kept"] is False


def test_pin_model_reuses_the_model_of_the_last_answer() -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "model": "b/next"},
        {"role": "user", "content": "And?"},
    ]
    pinned = planned(ask(messages=messages, **plugin(pin_model=True)), *PAIR)
    assert models(pinned)[0] == "b/next"
    assert models(planned(ask(messages=messages), *PAIR))[0] == "a/best"
    both = planned(ask(messages=messages, **plugin(pin_model=True)), *PAIR, remembered="a/best")
    assert models(both)[0] == "b/next"
    messages[1]["model"] = "no/such"
    lost = planned(ask(messages=messages, **plugin(pin_model=True)), *PAIR, remembered="b/next")
    assert models(lost)[0] == "b/next"


def test_another_band_is_another_session() -> None:
    names = [session_of(r, routed(r)) for r in (ask(), ask(**plugin(cost_tier="max")))]  # type: ignore[arg-type]
    assert names == ["tollway/auto@low", "tollway/auto@max"]
    free = ask("tollway/free")
    assert session_of(free, routed(free)) == "tollway/free"  # type: ignore[arg-type]


# ---- lists ---------------------------------------------------------------------------------------


def test_a_router_in_a_list_takes_its_place() -> None:
    made = planned(ask(["a5/m5", "tollway/auto", "a3/m3"]))
    assert models(made) == ["a5/m5", "a1/m1", "a3/m3"]
    assert (made.strategy, made.router) == ("fallback", "tollway/auto")
    assert made.router_of("a5/m5") is None


def test_a_router_without_a_pick_leaves_the_list_to_the_others() -> None:
    made = planned(ask(["tollway/auto", "a5/m5"], **plugin(allowed_models=["no/*"])))
    assert models(made) == ["a5/m5"]
    assert [(d.reason, d.model) for d in made.drops] == [("model_not_found", "tollway/auto")]
    lost = planned(ask(["no/such", "tollway/auto"]))
    assert models(lost) == ["a1/m1"]


def test_variants_of_a_router_are_those_of_its_picks() -> None:
    one = able("a/one")
    offers = [offered("alpha", of=one, dollars=9), offered("beta", of=one, dollars=1)]
    made = planned(ask("tollway/auto:floor"), *offers)
    assert [a.endpoint.tag for a in made.attempts] == ["beta", "alpha"]


# ---- what it cannot take -------------------------------------------------------------------------


def test_a_prompt_without_messages_is_refused() -> None:
    body = json.dumps({"model": "tollway/auto", "prompt": "Once"}).encode()
    request: Request = dialect("openai_completions").parse_request(body)
    error = refused(request)
    assert (error.status, error.metadata["field"]) == (400, "prompt")
    assert "messages" in error.message


def test_a_router_does_not_embed() -> None:
    body = json.dumps({"model": "openrouter/auto", "input": "Once"}).encode()
    error = refused(dialect("openai_embeddings").parse_request(body))
    assert (error.status, error.availability and error.availability["code"]) == (
        400,
        "wrong_endpoint",
    )


def test_nothing_live_is_404_that_says_so() -> None:
    dead = offered("alpha", of=able("a/one"), live=False)
    for slug in ("tollway/auto", "tollway/free"):
        error = refused(ask(slug), dead)
        assert (error.status, error.availability and error.availability["code"]) == (
            404,
            "no_endpoints",
        )
        assert "credential" in error.message


def test_no_model_that_can_do_it_is_404_that_says_what() -> None:
    error = refused(ask(text=[{"type": "text", "text": "x"}, IMAGE], tools=[TOOL]))
    assert error.status == 404
    assert "image input, tools" in error.message


# ---- the free one --------------------------------------------------------------------------------


def free(id: str, tag: str = "alpha", **of: Any) -> Offer:
    return offered(tag, of=able(id, **of), price=FREE)


def test_a_free_model_is_drawn_evenly_and_costs_nothing() -> None:
    offers = [free(f"a{n}/m:free") for n in range(4)]
    pool = Pool(index(*offers, sold("b/paid")))
    firsts = {f"a{n}/m:free": 0 for n in range(4)}
    for seed in range(2_000):
        made = planned(ask("tollway/free"), pool=pool, seed=seed)
        firsts[made.attempts[0].model.id] += 1
        assert made.wanted_nano == 0
    assert (made.strategy, made.router) == ("free", "tollway/free")
    assert all(420 < count < 580 for count in firsts.values()), firsts
    assert made.pipeline[0]["name"] == "free-router"
    assert made.pipeline[0]["data"]["candidates"] == 4


def test_the_free_router_keeps_to_free_endpoints_and_to_what_is_needed() -> None:
    both = able("a/both", input_modalities=("text", "image"))
    offers = [
        offered("alpha", of=both, dollars=3),
        offered("beta", of=both, price=FREE, free_trial=True),
        free("b/blind:free"),
    ]
    made = planned(ask("tollway/free", [{"type": "text", "text": "x"}, IMAGE]), *offers)
    assert [(a.model.id, a.endpoint.tag) for a in made.attempts] == [("a/both", "beta")]
    assert made.wanted_nano == 0
    named = planned(
        ask(["tollway/free", "a/both"], [{"type": "text", "text": "x"}, IMAGE]), *offers
    )
    assert {a.endpoint.tag for a in named.attempts} <= {"alpha", "beta"}


def test_a_session_stays_with_its_free_model() -> None:
    offers = [free(f"a{n}/m:free") for n in range(4)]
    for seed in range(20):
        made = planned(ask("tollway/free"), *offers, remembered="a2/m:free", seed=seed)
        assert models(made)[0] == "a2/m:free"


def test_no_free_model_is_404() -> None:
    error = refused(ask("openrouter/free"))
    assert (error.status, error.error_type) == (404, "not_found")
    assert "free model" in error.message
