"""The index: what routing knows of a catalogue before any request."""

import pytest
from routing_builders import (
    MODEL,
    catalogue,
    index,
    model,
    offered,
    planned,
    reasons,
    request,
    tags,
    usd,
)

from tollway.errors import CallerError
from tollway.money import Override, Price, Rates
from tollway.routing.offers import Index


def test_offers_come_by_resolved_slug_in_the_order_of_the_request() -> None:
    two = model("acme/two")
    shop = index(offered(), offered("beta"), offered(of=two), aliases={"one": MODEL})
    found = shop.offers(["Acme/Two", "one:nitro", "acme/two"])
    assert {key: [o.endpoint.tag for o in offers] for key, offers in found.items()} == {
        "acme/two": ["alpha"],
        "acme/one:nitro": ["alpha", "beta"],
    }
    assert list(found) == ["acme/two", "acme/one:nitro"]
    assert shop.of(MODEL) is shop.of(MODEL)
    assert shop.of("acme/none") == ()


def test_of_several_slugs_an_unknown_one_is_empty_and_of_unknown_ones_the_first_is_told() -> None:
    shop = index(offered(), retired={"acme/old": (MODEL,)})
    assert list(shop.offers(["acme/zero", MODEL])) == ["acme/zero", MODEL]
    assert shop.offers(["acme/zero", MODEL])["acme/zero"] == ()
    with pytest.raises(CallerError, match="acme/old is no longer offered"):
        shop.offers(["acme/old", "acme/zero"])


def test_a_provider_is_asked_once_whether_it_is_live() -> None:
    asked: list[str] = []

    def live(provider) -> bool:
        asked.append(provider.id)
        return provider.id == "beta"

    shop = Index(catalogue(offered(), offered("beta"), offered("beta/turbo")), live)
    assert [(o.endpoint.tag, o.live, o.standing) for o in shop.of(MODEL)] == [
        ("alpha", False, "not_live"),
        ("beta", True, None),
        ("beta/turbo", True, None),
    ]
    assert asked == ["alpha", "beta"]
    assert (shop.live("beta"), shop.live("nobody")) == (True, False)


def test_limits_are_the_endpoints_own_or_the_models() -> None:
    sold = model(context_length=1_000, output_tokens_max=100)
    assert [
        (o.context, o.output_max)
        for o in (
            offered(of=sold),
            offered(of=sold, context_length=500, output_tokens_max=200),
            offered(),
        )
    ] == [
        (1_000, 100),
        (500, 200),
        (None, None),
    ]


def test_ceilings_take_the_dearest_override() -> None:
    dear = Override(Rates(prompt=usd(3), completion=usd(9)), min_prompt_tokens=200_000)
    one = offered(price=Price(Rates(prompt=usd(1), completion=usd(2)), (dear,)))
    assert (one.prompt_pico, one.output_pico) == ((usd(3),) * 8, usd(9))
    assert one.typical_pico == 3_000 * usd(1) + 1_000 * usd(2)


def test_an_endpoint_may_support_fewer_parameters_than_its_model() -> None:
    sold = model(params=("max_tokens", "temperature", "tools", "tool_choice"))
    whole, part = offered("alpha", of=sold), offered("beta", of=sold, params=("temperature",))
    assert not {"tools", "temperature"} & whole.unsupported
    assert "tools" in part.unsupported and "temperature" not in part.unsupported
    asked = request(params=frozenset({"tools"}))
    assert tags(planned(asked, whole, part)) == ["alpha"], "one that can is preferred"
    assert tags(planned(asked, part)) == ["beta"], "and where none can, the parameter is left out"
    strict = request(params=frozenset({"tools"}), require_parameters=True)
    assert reasons(planned(strict, whole, part)) == {"beta": "require_parameters"}
