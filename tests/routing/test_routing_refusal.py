"""What a caller is told when nothing is left."""

import pytest
from routing_builders import index, model, offered, planned, provider, request

from tollway.canon import MaxPrice
from tollway.catalogue.entries import Auth, DataPolicy
from tollway.errors import CallerError
from tollway.routing.plan import refusal

KEEPS = provider("alpha", data_policy=DataPolicy(trains_on_data=False, retains_days=30))


def told(asked, *offers, **facts) -> CallerError:
    error = refusal(planned(asked, *offers), index(*offers, **facts))
    assert isinstance(error, CallerError)
    return error


CASES = [
    ("wrong_endpoint", 400, None, offered(of=model(type="embedding")), {}),
    ("model_deprecated", 404, None, offered(retires="2020-01-01"), {}),
    ("model_unavailable_upstream", 404, None, offered(by=provider("alpha", enabled=False)), {}),
    ("model_unavailable_upstream", 404, None, offered(dialect="smoke_signals"), {}),
    ("no_endpoints", 404, None, offered(live=False), {}),
    ("no_endpoints", 404, None, offered("alpha/flex", service_tier="flex"), {}),
    ("no_endpoints", 404, None, offered(), {"modalities": frozenset({"audio"})}),
    ("privacy_restricted", 404, ["data_policy:zdr"], offered(by=KEEPS), {"zdr": True}),
    (
        "privacy_restricted",
        404,
        ["data_policy:training"],
        offered(by=KEEPS),
        {"data_collection": "deny"},
    ),
    ("constraint_filtered", 404, ["max_price"], offered(), {"max_price": MaxPrice(prompt=0)}),
    (
        "constraint_filtered",
        400,
        ["context_length"],
        offered(context_length=9),
        {"prompt_bytes": 99},
    ),
    (
        "constraint_filtered",
        404,
        ["context_length"],
        offered(output_tokens_max=9),
        {"output_tokens_max": 10},
    ),
    (
        "constraint_filtered",
        404,
        ["require_parameters"],
        offered(of=model(params=())),
        {"require_parameters": True, "params": frozenset({"seed"})},
    ),
    ("constraint_filtered", 404, ["quantization"], offered(), {"quantizations": ("fp8",)}),
    ("constraint_filtered", 404, ["allowed_providers"], offered(), {"only": ("beta",)}),
    ("constraint_filtered", 404, ["allowed_providers"], offered(), {"ignore": ("alpha",)}),
    (
        "constraint_filtered",
        404,
        ["allowed_providers"],
        offered(),
        {"order": ("beta",), "allow_fallbacks": False},
    ),
    ("constraint_filtered", 404, None, offered(), {"enforce_distillable_text": True}),
]


@pytest.mark.parametrize(("code", "status", "excluded_by", "one", "wishes"), CASES)
def test_each_reason_has_its_code(code, status, excluded_by, one, wishes) -> None:
    error = told(request(**wishes), one)
    assert error.availability is not None
    assert (error.availability["code"], error.status) == (code, status)
    assert error.availability.get("excluded_by") == excluded_by


def test_the_price_that_is_unknown_is_said() -> None:
    from tollway.money import Price, Rates

    error = told(request(), offered(price=Price(Rates())))
    assert "price is not known" in error.message


def test_missing_credentials_are_named_by_their_variables() -> None:
    offers = [offered(name, live=False) for name in ("groq", "openai")]
    error = told(request(), *offers)
    assert error.message == (
        "No endpoint of acme/one can serve this request: no provider of acme/one has a credential "
        "here; set GROQ_API_KEY or OPENAI_API_KEY."
    )


def test_a_provider_without_a_variable_is_not_asked_for() -> None:
    error = told(request(), offered(live=False, by=provider("alpha", auth=Auth())))
    assert error.message.endswith("no provider of acme/one has a credential here.")


def test_all_that_excluded_is_listed_and_the_nearest_is_the_constraint() -> None:
    offers = [
        offered("alpha", by=KEEPS),
        offered("beta", dollars=9),
        offered("gamma", live=False),
        offered("delta"),
    ]
    asked = request(zdr=True, ignore=("delta",), max_price=MaxPrice(prompt=1))
    error = told(asked, *offers)
    assert error.availability is not None
    assert error.availability["code"] == "constraint_filtered"
    assert error.availability["excluded_by"] == [
        "allowed_providers",
        "data_policy:zdr",
        "max_price",
    ]
    assert error.availability["constraint"] == {
        "field": "provider.max_price",
        "detail": "every endpoint is dearer than max_price",
    }


def test_a_policy_above_the_callers_is_told_as_the_callers_own() -> None:
    error = told(request(data_collection="deny", zdr=True), offered(by=KEEPS))
    assert error.availability is not None
    assert error.availability["code"] == "privacy_restricted"


def test_successors_of_a_retired_model_are_told() -> None:
    error = told(request(), offered(retires="2020-01-01"), retired={"acme/one": ("acme/two",)})
    assert error.availability is not None
    assert error.availability["fallback_models"] == ["acme/two"]


def test_a_model_without_any_endpoint_is_unavailable_upstream() -> None:
    error = refusal(planned(request()), index(offered("beta")))
    assert error.availability is not None
    assert error.availability["code"] == "model_unavailable_upstream"
