"""The shipped catalogue is sound, and each kind of fault is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tollway.catalogue.check import check, quirk_names
from tollway.catalogue.entries import Auth, Catalogue, Endpoint, Model, Provider, price_version
from tollway.catalogue.load import load
from tollway.money import Override, Price, Rates


def test_the_shipped_catalogue_has_no_problem() -> None:
    report = check(load())
    print(report.counts)
    assert report.problems == ()
    assert report.counts["providers"] >= 208
    assert report.counts["models of type chat"] >= 850
    assert report.counts["endpoints in openai_chat"] >= 2_300


def endpoint(price: Price | None = None, **changed: Any) -> Endpoint:
    price = price or Price(Rates(prompt=1_000_000, completion=2_000_000))
    row = Endpoint(
        key="a/m@p",
        model="a/m",
        provider="p",
        tag="p",
        id="m",
        price=price,
        price_version=price_version(price),
    )
    return msgspec.structs.replace(row, **changed)


def sound() -> Catalogue:
    return Catalogue(
        providers={"p": Provider("p", "P", base_url="https://p.example", auth=Auth(env=("K",)))},
        models={"a/m": Model("a/m", "M", "a")},
        endpoints={"a/m": (endpoint(),)},
        aliases={"a/n": "a/m"},
        retired={"a/l": ("a/m",)},
    )


def test_a_sound_catalogue_has_no_problem() -> None:
    assert check(sound()).problems == ()


def test_a_quirk_nobody_knows_is_a_warning_and_no_problem() -> None:
    catalogue = sound()
    provider = msgspec.structs.replace(
        catalogue.providers["p"], quirks=("no_tools", "seed_field=random_seed", "no_tolls", "x=1")
    )
    changed = msgspec.structs.replace(catalogue, providers={"p": provider})
    assert quirk_names(changed) == {"no_tools", "seed_field", "no_tolls", "x"}
    report = check(changed, {"no_tools", "seed_field"})
    assert report.problems == ()
    assert report.warnings == (
        "provider p: the quirk 'no_tolls' is unknown and changes nothing",
        "provider p: the quirk 'x' is unknown and changes nothing",
    )
    assert check(changed).warnings == ()


def priced(**rates: int) -> dict[str, Any]:
    base = {"prompt": 1_000_000, "completion": 2_000_000, **rates}
    return {"endpoints": {"a/m": (endpoint(Price(Rates(**base))),)}}


def overridden(**conditions: Any) -> dict[str, Any]:
    price = Price(Rates(prompt=1, completion=1), (Override(Rates(prompt=2), **conditions),))
    return {"endpoints": {"a/m": (endpoint(price),)}}


FAULTS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "an endpoint twice": (
        lambda: {"endpoints": {"a/m": (endpoint(), endpoint())}},
        "endpoint a/m@p: is there twice",
    ),
    "an endpoint of nobody": (
        lambda: {"endpoints": {"a/m": (endpoint(provider="q"),)}},
        "endpoint a/m@p: its provider q does not exist",
    ),
    "an endpoint of nothing": (
        lambda: {"endpoints": {"a/m": (endpoint(),), "a/x": (endpoint(model="a/x", key="a/x@p"),)}},
        "endpoint a/x@p: its model a/x does not exist",
    ),
    "an endpoint in the wrong place": (
        lambda: {"endpoints": {"a/m": (endpoint(tag="p/fast"),)}},
        "endpoint a/m@p: does not belong to a/m, under which it is indexed",
    ),
    "a dialect nobody knows": (
        lambda: {"endpoints": {"a/m": (endpoint(dialect="esperanto"),)}},
        "endpoint a/m@p: esperanto is not a dialect",
    ),
    "a stale price version": (
        lambda: {"endpoints": {"a/m": (endpoint(price_version="0"),)}},
        "endpoint a/m@p: its price_version is not that of its price",
    ),
    "a slipped decimal point": (
        lambda: priced(completion=1_000_000_001),
        "endpoint a/m@p: completion is above 1,000 USD per million tokens",
    ),
    "a dear cache": (
        lambda: priced(input_cache_read=1_000_001),
        "endpoint a/m@p: input_cache_read is dearer than prompt",
    ),
    "a very dear cache write": (
        lambda: priced(input_cache_write=10_000_001),
        "endpoint a/m@p: input_cache_write is more than 10 times prompt",
    ),
    "an hour that is none": (
        lambda: overridden(utc_start=1260, utc_end=1300),
        "endpoint a/m@p: overrides[0].utc_start 1260 is not a time of day (HHMM)",
    ),
    "an eighth day": (
        lambda: overridden(weekdays=(8,)),
        "endpoint a/m@p: overrides[0].weekdays are 1 (Monday) to 7",
    ),
    "a model nobody serves": (
        lambda: {"models": {**sound().models, "a/x": Model("a/x", "X", "a")}},
        "model a/x: no endpoint serves it",
    ),
    "an alias to nowhere": (
        lambda: {"aliases": {"a/n": "a/x"}},
        "alias a/n: a/x does not exist",
    ),
    "an alias that hides a model": (
        lambda: {"aliases": {"a/m": "a/m"}},
        "alias a/m: is a model itself",
    ),
    "a retired slug that still answers": (
        lambda: {"retired": {"a/n": ("a/m",)}},
        "retired a/n: still answers",
    ),
    "a successor that does not exist": (
        lambda: {"retired": {"a/l": ("a/x",)}},
        "retired a/l: its successor a/x does not exist",
    ),
    "a provider without URL": (
        lambda: {"providers": {"p": Provider("p", "P", auth=Auth(env=("K",)))}},
        "provider p: is enabled and has no base_url",
    ),
    "a provider without credential": (
        lambda: {"providers": {"p": Provider("p", "P", base_url="https://p.example")}},
        "provider p: needs a credential and names no environment variable (auth.env)",
    ),
    "a provider that is off without a reason": (
        lambda: {"providers": {"p": Provider("p", "P", enabled=False)}},
        "provider p: is disabled and does not say why (disabled_because)",
    ),
    "two providers of one name": (
        lambda: {
            "providers": {
                "p": sound().providers["p"],
                "q": msgspec.structs.replace(sound().providers["p"], id="q", name="p"),
            }
        },
        "provider q: is also called 'p', as is p",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen_and_named(fault: str) -> None:
    changes, problem = FAULTS[fault]
    assert check(msgspec.structs.replace(sound(), **changes())).problems == (problem,)
