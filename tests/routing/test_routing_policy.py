"""What a workspace imposes, met with what a request wishes."""

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from routing_builders import NOW, index, model, offered, planned, provider, reasons, request, tags

from tollway.catalogue.entries import DataPolicy
from tollway.errors import CallerError
from tollway.routing.entries import Policy
from tollway.routing.health import Health, Outcome
from tollway.routing.plan import plan, refusal
from tollway.routing.policy import listed, with_default_model

KEEPS = DataPolicy(trains_on_data=False, retains_days=30)
TRAINS = DataPolicy(trains_on_data=True, retains_days=0)
QUIET = DataPolicy(trains_on_data=False, retains_days=0)

OFFERS = [
    offered("alpha", dollars=3, by=provider("alpha", data_policy=QUIET, datacenters=("DE",))),
    offered("beta", dollars=2, by=provider("beta", data_policy=KEEPS, datacenters=("US",))),
    offered("gamma", dollars=1, by=provider("gamma", data_policy=TRAINS)),
    offered("delta", dollars=4, region="us", by=provider("delta", data_policy=QUIET)),
    offered("epsilon", dollars=5, region="eu", by=provider("epsilon", data_policy=KEEPS)),
    offered("epsilon/global", region="global", by=provider("epsilon", data_policy=KEEPS)),
    offered("zeta", by=provider("zeta", data_policy=QUIET, datacenters=("DE", "US"))),
]
NAMES = ["alpha", "beta", "gamma", "delta", "epsilon", "epsilon/global", "zeta"]

lists = st.lists(st.sampled_from(NAMES), max_size=4).map(tuple)
wishes = st.fixed_dictionaries(
    {
        "only": lists,
        "ignore": lists,
        "zdr": st.booleans(),
        "data_collection": st.sampled_from(["allow", "deny"]),
    }
)


def kept(asked: dict, imposed: dict) -> set[str]:
    policy = Policy(attempts_per_model=10, **imposed)
    return set(tags(planned(request(**asked), *OFFERS, policy=policy)))


@settings(max_examples=200, deadline=None)
@given(wishes, wishes)
def test_what_serves_is_what_both_would_let_serve(asked, imposed) -> None:
    assert kept(asked, imposed) == kept(asked, {}) & kept({}, imposed)


@settings(max_examples=100, deadline=None)
@given(wishes, wishes)
def test_it_does_not_matter_who_of_the_two_says_it(asked, imposed) -> None:
    assert kept(asked, imposed) == kept(imposed, asked)


@settings(max_examples=100, deadline=None)
@given(wishes, wishes)
def test_a_rule_more_never_lets_more_serve(asked, imposed) -> None:
    without = {**imposed, "zdr": False, "data_collection": "allow", "ignore": ()}
    assert kept(asked, imposed) <= kept(asked, without)


@pytest.mark.parametrize(
    ("regions", "served"),
    [
        ((), NAMES),
        (("global",), NAMES),
        (("global", "us"), NAMES),
        (("us",), ["beta", "delta"]),
        (("europe",), ["alpha", "epsilon"]),
        (("us", "europe"), ["alpha", "beta", "delta", "epsilon"]),
    ],
)
def test_what_is_not_known_to_stay_in_a_region_is_everywhere(regions, served) -> None:
    assert kept({}, {"data_regions": frozenset(regions)}) == set(served)


@pytest.mark.parametrize(
    ("patterns", "yes"),
    [
        (("acme/one",), True),
        (("acme/*",), True),
        (("acme/on",), False),
        (("acme/one:free",), False),
        (("acm/*", "*/*"), False),
    ],
)
def test_a_model_is_listed_by_its_slug_or_its_author(patterns, yes) -> None:
    assert listed("acme/one", patterns) is yes


def test_models_that_the_policy_shuts_out_are_passed_over_in_a_list() -> None:
    one, two = offered("alpha"), offered("beta", of=model("acme/two"))
    asked = request("acme/one", "acme/two")
    only_two = planned(asked, one, two, policy=Policy(allowed_models=("acme/two",)))
    assert (tags(only_two), reasons(only_two)) == (["beta"], {"alpha": "allowed_models"})
    not_two = planned(asked, one, two, policy=Policy(ignored_models=("acme/two",)))
    assert (tags(not_two), reasons(not_two)) == (["alpha"], {"beta": "ignored_models"})
    ignored_wins = Policy(allowed_models=("acme/*",), ignored_models=("acme/one",))
    assert tags(planned(asked, one, two, policy=ignored_wins)) == ["beta"]


BY_PRICE, BY_NAME = ["gamma", "beta", "alpha"], ["alpha", "beta", "gamma"]
BY_LATENCY = ["beta", "gamma", "alpha"]


def measured() -> Health:
    health = Health()
    for offer, latency_s in zip(OFFERS, (3.0, 1.0, 2.0), strict=False):
        health.note(offer.endpoint, Outcome.answered(latency_s, 10, 5.0), NOW)
    return health


@pytest.mark.parametrize(
    ("slug", "asked", "imposed", "served"),
    [
        ("acme/one", {}, {"sort": "price"}, BY_PRICE),
        ("acme/one", {"order": ("alpha", "beta")}, {"sort": "price"}, BY_NAME),
        (
            "acme/one",
            {"order": ("alpha", "beta")},
            {"sort": "price", "prevent_overrides": True},
            BY_PRICE,
        ),
        ("acme/one", {"sort": "price"}, {"sort": "latency"}, BY_PRICE),
        ("acme/one:floor", {}, {"sort": "latency"}, BY_PRICE),
        ("acme/one:nitro", {}, {"sort": "price", "prevent_overrides": True}, BY_PRICE),
        ("acme/one", {"sort": "latency"}, {"sort": "price", "prevent_overrides": True}, BY_PRICE),
        ("acme/one", {"sort": "latency"}, {"sort": "price"}, BY_LATENCY),
        ("acme/one", {}, {"sort": "latency"}, BY_LATENCY),
        ("acme/one", {"sort": "price"}, {"prevent_overrides": True}, BY_PRICE),
        ("acme/one", {"fields": {"service_tier": b'"flex"'}}, {"sort": "latency"}, BY_PRICE),
    ],
)
def test_the_workspaces_sort_stands_behind_the_requests_unless_it_is_to_stand(
    slug, asked, imposed, served
) -> None:
    offers = {slug: OFFERS[:3]}
    for seed in range(5):
        made = plan(
            request(slug, **asked),
            offers,
            measured(),
            Policy(**imposed),
            now_s=NOW,
            random=Random(seed),
        )
        assert tags(made) == served


def test_only_what_the_request_did_not_ask_itself_is_told_as_the_workspaces() -> None:
    def field(asked: dict, imposed: dict) -> str:
        made = planned(request(**asked), OFFERS[1], policy=Policy(**imposed))
        told = refusal(made, index(OFFERS[1])).availability
        assert told is not None
        return str(told["constraint"]["field"])

    assert field({}, {"zdr": True}) == "workspace.routing.zdr"
    assert field({"zdr": True}, {"zdr": True}) == "provider.zdr"
    assert field({}, {"only": ("alpha",)}) == "workspace.routing.allowed_providers"
    assert field({"only": ("alpha",)}, {"only": ("alpha",)}) == "provider.only"
    assert field({}, {"data_collection": "deny"}) == "workspace.routing.data_collection"


@pytest.mark.parametrize(
    ("imposed", "code", "status", "excluded"),
    [
        ({"data_regions": frozenset({"europe"})}, "region_restricted", 403, ["data_region"]),
        (
            {"data_regions": frozenset({"us"}), "zdr": True},
            "privacy_restricted",
            404,
            ["data_region", "data_policy:zdr"],
        ),
    ],
)
def test_a_region_alone_forbids_and_with_privacy_restricts(imposed, code, status, excluded) -> None:
    offers = [OFFERS[1], OFFERS[2]]  # in the US and keeping; anywhere
    error = refusal(planned(request(), *offers, policy=Policy(**imposed)), index(*offers))
    assert error.availability is not None
    assert (error.availability["code"], error.status) == (code, status)
    assert error.availability["excluded_by"] == excluded


def test_a_request_without_a_model_takes_the_workspaces_or_is_told() -> None:
    silent = msgspec.structs.replace(request(), models=())
    assert with_default_model(silent, Policy(default_model="a/b:nitro")).models == ("a/b:nitro",)
    with pytest.raises(CallerError) as error:
        with_default_model(silent, Policy())
    assert error.value.message.startswith("model: is required")
