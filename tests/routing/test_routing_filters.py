"""Every filter: what it drops, what it leaves, and what an unknown fact counts as."""

import pytest
from routing_builders import (
    NOW,
    endpoint,
    model,
    offered,
    planned,
    provider,
    reasons,
    request,
    tags,
    usd,
)

from tollway.canon import MaxPrice
from tollway.catalogue.entries import DataPolicy
from tollway.money import Override, Price, Rates
from tollway.routing.entries import Policy
from tollway.routing.filters import resolved

KEEPS = provider("alpha", data_policy=DataPolicy(trains_on_data=False, retains_days=30))
TRAINS = provider("alpha", data_policy=DataPolicy(trains_on_data=True, retains_days=0))
SILENT = provider("alpha", data_policy=DataPolicy())
LISTED = model(params=("temperature", "tools", "max_tokens"))
PRICED = Price(Rates(prompt=usd(2), completion=usd(8), request=10**9, image=10**10, audio=usd(40)))

CASES = [
    ("disabled", offered(by=provider("alpha", enabled=False)), {}),
    ("dialect", offered(dialect="smoke_signals"), {}),
    ("not_live", offered(live=False), {}),
    ("model_type", offered(of=model(type="embedding")), {}),
    ("unknown_price", offered(price=Price(Rates(prompt=1))), {}),
    ("retired", offered(retires="2020-01-31"), {}),
    ("service_tier", offered("alpha/priority", service_tier="priority"), {}),
    (
        "batch",
        offered("alpha/batch", service_tier="batch"),
        {"fields": {"service_tier": b'"flex"'}},
    ),
    ("service_tier", offered("alpha/flex", service_tier="flex"), {"only": ("alpha",)}),
    ("allowed_providers", offered(), {"only": ("beta", "alpha/turbo")}),
    ("ignored_providers", offered("alpha/turbo"), {"ignore": ("alpha",)}),
    ("ignored_providers", offered("alpha/turbo"), {"ignore": ("alpha/turbo",)}),
    ("fallbacks_off", offered(), {"order": ("beta",), "allow_fallbacks": False}),
    ("data_policy:zdr", offered(by=KEEPS), {"zdr": True}),
    ("data_policy:zdr", offered(by=SILENT), {"zdr": True}),
    ("data_policy:training", offered(by=TRAINS), {"data_collection": "deny"}),
    ("data_policy:training", offered(by=KEEPS), {"data_collection": "deny"}),
    ("data_policy:training", offered(by=SILENT), {"data_collection": "deny"}),
    ("distillable", offered(), {"enforce_distillable_text": True}),
    ("quantization", offered(quantization="fp4"), {"quantizations": ("fp8", "bf16")}),
    ("quantization", offered(), {"quantizations": ("fp8",)}),
    ("modality", offered(), {"modalities": frozenset({"text", "image"})}),
    ("context_length", offered(context_length=101), {"prompt_bytes": 400}),
    ("context_length", offered(of=model(context_length=100)), {"prompt_bytes": 400}),
    ("max_output", offered(output_tokens_max=99), {"output_tokens_max": 100}),
    ("max_output", offered(of=model(output_tokens_max=99)), {"output_tokens_max": 100}),
    (
        "require_parameters",
        offered(of=LISTED),
        {"require_parameters": True, "params": frozenset({"seed"})},
    ),
    (
        "require_parameters",
        offered(of=model(no_sampling=True)),
        {"require_parameters": True, "params": frozenset({"temperature"})},
    ),
    ("max_price", offered(price=PRICED), {"max_price": MaxPrice(prompt=usd(1.99))}),
    ("max_price", offered(price=PRICED), {"max_price": MaxPrice(completion=usd(7.99))}),
    ("max_price", offered(price=PRICED), {"max_price": MaxPrice(request=10**9 - 1)}),
    ("max_price", offered(price=PRICED), {"max_price": MaxPrice(image=10**10 - 1)}),
    ("max_price", offered(price=PRICED), {"max_price": MaxPrice(audio=usd(39.99))}),
]


@pytest.mark.parametrize(("reason", "one", "wishes"), CASES)
def test_a_filter_drops_with_its_reason(reason, one, wishes) -> None:
    made = planned(request(**wishes), one)
    assert (tags(made), reasons(made)) == ([], {one.endpoint.tag: reason})
    assert (made.drops[0].model, made.drops[0].provider) == ("acme/one", "alpha")


LEFT = [
    (offered(retires="2999-01-01"), {}),
    (offered("alpha/turbo"), {"only": ("alpha",)}),
    (offered("alpha/turbo"), {"only": ("alpha/turbo",)}),
    (offered("alpha/turbo"), {"ignore": ("alpha/base",)}),
    (offered("alpha/priority", service_tier="priority"), {"only": ("alpha/priority",)}),
    (offered("alpha/priority", service_tier="priority"), {"order": ("alpha/priority",)}),
    (offered("alpha/priority", service_tier="priority"), {"fields": {"service_tier": b'"fast"'}}),
    (offered("alpha/fast", service_tier="ultrafast"), {"fields": {"service_tier": b'"ultrafast"'}}),
    (offered(), {"fields": {"service_tier": b'"flex"'}}),
    (offered(), {"fields": {"service_tier": b"7"}}),
    (offered(), {"zdr": True, "data_collection": "deny"}),
    (offered(by=KEEPS), {"data_collection": "allow"}),
    (offered(of=model(capabilities=("distillable",))), {"enforce_distillable_text": True}),
    (offered(), {"quantizations": ("unknown",)}),
    (
        offered(of=model(input_modalities=("text", "image"))),
        {"modalities": frozenset({"text", "image"})},
    ),
    (offered(), {"prompt_bytes": 10**9}),
    (offered(context_length=102), {"prompt_bytes": 400}),
    (offered(output_tokens_max=100), {"output_tokens_max": 100}),
    (
        offered(of=LISTED),
        {"require_parameters": True, "params": frozenset({"tool_choice", "max_completion_tokens"})},
    ),
    (offered(), {"require_parameters": True, "params": frozenset({"seed", "logprobs"})}),
    (offered(price=PRICED), {"max_price": MaxPrice(usd(2), usd(8), 10**9, 10**10, usd(40))}),
    (offered(), {"max_price": MaxPrice(request=0, image=0, audio=0)}),
]


@pytest.mark.parametrize(("one", "wishes"), LEFT)
def test_what_satisfies_a_filter_is_kept(one, wishes) -> None:
    made = planned(request(**wishes), one)
    assert (tags(made), made.drops) == ([one.endpoint.tag], ())


def test_the_lists_of_caller_and_policy_are_intersected_and_their_refusals_united() -> None:
    offers = [offered(name) for name in ("alpha", "beta", "gamma", "delta")]
    policy = Policy(only=("beta", "gamma", "delta"), ignore=("gamma",))
    made = planned(request(only=("alpha", "beta", "gamma")), *offers, policy=policy)
    assert tags(made) == ["beta"]
    assert reasons(made) == {
        "alpha": "allowed_providers",
        "gamma": "ignored_providers",
        "delta": "allowed_providers",
    }


def test_a_request_cannot_switch_off_the_policys_privacy() -> None:
    zdr = planned(request(zdr=False), offered(by=KEEPS), policy=Policy(zdr=True))
    deny = planned(request(), offered(by=TRAINS), policy=Policy(data_collection="deny"))
    assert (reasons(zdr), reasons(deny)) == (
        {"alpha": "data_policy:zdr"},
        {"alpha": "data_policy:training"},
    )


def test_an_endpoint_serves_until_the_end_of_its_last_day() -> None:
    one = offered(retires="2027-01-15")
    midnight = 1_800_057_600.0  # 2027-01-16T00:00:00Z
    assert tags(planned(request(), one, now_s=midnight - 1)) == ["alpha"]
    assert reasons(planned(request(), one, now_s=midnight)) == {"alpha": "retired"}


def test_the_first_filter_in_the_fixed_order_gives_the_reason() -> None:
    one = offered(by=KEEPS, quantization="fp4", context_length=10, retires="2020-01-01")
    wishes = {"zdr": True, "quantizations": ("fp8",), "prompt_bytes": 1000}
    assert reasons(planned(request(**wishes), one)) == {"alpha": "retired"}
    assert reasons(planned(request(**wishes), one, now_s=0.0)) == {"alpha": "data_policy:zdr"}


def test_max_price_is_what_the_caller_would_pay_margin_included() -> None:
    asked = request(max_price=MaxPrice(prompt=usd(1.05)))
    assert tags(planned(asked, offered(dollars=1.0), policy=Policy(margin_ppm=50_000))) == ["alpha"]
    made = planned(asked, offered(dollars=1.0), policy=Policy(margin_ppm=50_001))
    assert reasons(made) == {"alpha": "max_price"}


def test_max_price_sees_the_rates_in_force_for_this_size_and_hour() -> None:
    long = Override(Rates(prompt=usd(4)), min_prompt_tokens=1_000)
    night = Override(Rates(prompt=usd(0.5)), utc_start=0, utc_end=600)
    one = offered(price=Price(Rates(prompt=usd(1), completion=usd(1)), (night, long)))
    cheap = MaxPrice(prompt=usd(1))
    assert tags(planned(request(max_price=cheap), one)) == ["alpha"]
    assert reasons(planned(request(max_price=cheap, prompt_bytes=2_000), one)) == {
        "alpha": "max_price"
    }
    half = request(max_price=MaxPrice(prompt=usd(0.5)))
    assert reasons(planned(half, one, now_s=NOW)) == {"alpha": "max_price"}  # 08:00 UTC
    assert tags(planned(half, one, now_s=NOW - 8 * 3600)) == ["alpha"]


def test_names_are_resolved_whole_or_by_their_first_part() -> None:
    known = {
        "moonshot ai": "moonshotai",
        "vertex": "google-vertex",
        "tollway/sandbox": "tollway/sandbox",
    }

    def resolve(name: str) -> str:
        return known.get(name.lower(), name.lower())

    assert [
        resolved(n, resolve) for n in ("Moonshot AI", "vertex/us-east5", "groq", "tollway/sandbox")
    ] == [
        "moonshotai",
        "google-vertex/us-east5",
        "groq",
        "tollway/sandbox",
    ]
    made = planned(
        request(only=("vertex",)), offered("google-vertex/eu"), offered(), resolve=resolve
    )
    assert tags(made) == ["google-vertex/eu"]


@pytest.mark.parametrize(
    ("sent", "dropped_from_the_other"),
    [("tools", "tools"), ("verbosity", "verbosity"), ("structured_outputs", "structured_outputs")],
)
def test_some_parameters_prefer_endpoints_that_support_them(sent, dropped_from_the_other) -> None:
    able, unable = model(params=(sent,)), model(params=("seed",))
    asked = request(params=frozenset({sent}))
    made = planned(asked, offered("alpha", of=unable), offered("beta", of=able))
    assert (tags(made), reasons(made)) == (["beta"], {"alpha": "require_parameters"})
    alone = planned(asked, offered("alpha", of=unable))
    assert alone.attempts[0].dropped_params == (dropped_from_the_other,)


def test_an_ordinary_parameter_prefers_nobody() -> None:
    able, unable = model(params=("seed",)), model(params=("top_p",))
    made = planned(
        request(params=frozenset({"seed"})), offered("alpha", of=unable), offered("beta", of=able)
    )
    assert {a.endpoint.tag: a.dropped_params for a in made.attempts} == {
        "alpha": ("seed",),
        "beta": (),
    }


def test_a_free_trial_serves_only_who_named_it_or_has_no_other() -> None:
    trial, paid = offered("alpha", dollars=0, free_trial=True), offered("beta")
    assert reasons(planned(request(), trial, paid)) == {"alpha": "free_trial"}
    assert tags(planned(request(), trial)) == ["alpha"]
    assert tags(planned(request(only=("alpha",)), trial, paid)) == ["alpha"]
    assert tags(planned(request(order=("alpha",)), trial, paid)) == ["alpha", "beta"]
    assert tags(planned(request(max_price=MaxPrice(prompt=0)), trial, paid)) == ["alpha"]


def test_flex_keeps_to_flex_where_a_model_has_it() -> None:
    flex = offered("alpha/flex", dollars=1, service_tier="flex")
    cheaper = offered("beta/flex", dollars=0.5, service_tier="flex")
    base = offered("alpha", dollars=0.1)
    asked = request(fields={"service_tier": b'"flex"'})
    made = planned(asked, base, flex, cheaper)
    assert (tags(made), reasons(made)) == (["beta/flex", "alpha/flex"], {"alpha": "service_tier"})
    assert planned(asked, base).attempts[0].dropped_params == ("service_tier",)


def test_priority_comes_first_and_falls_back_to_the_base_tier_without_its_name() -> None:
    fast = offered("alpha/priority", dollars=9, service_tier="priority")
    made = planned(request(fields={"service_tier": b'"priority"'}), offered(), fast)
    assert [(a.endpoint.tag, a.dropped_params) for a in made.attempts] == [
        ("alpha/priority", ()),
        ("alpha", ("service_tier",)),
    ]


@pytest.mark.parametrize(
    ("wishes", "served"),
    [
        ({}, ["alpha", "alpha/priority"]),
        ({"order": ("alpha",)}, ["alpha"]),
        ({"fields": {"service_tier": b'"default"'}}, ["alpha"]),
    ],
)
def test_nitro_admits_priority_unless_order_or_the_default_tier_forbid(wishes, served) -> None:
    fast = offered("alpha/priority", dollars=9, service_tier="priority")
    made = planned(request("acme/one:nitro", **wishes), offered(), fast)
    assert sorted(tags(made)) == served


def test_endpoints_of_the_test_builders_are_what_they_say() -> None:
    assert endpoint("alpha/turbo").provider == "alpha"
