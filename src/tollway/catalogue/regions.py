"""Regions: in which part of the world an endpoint handles what it is sent.

Pure. Three words, as OpenRouter spells them: `europe`, `us`, and `global` for everything that is
not known to stay in one of the two. A provider's headquarters say nothing about where its machines
stand, and a door that it keeps elsewhere (`Provider.regions`) is not the one that is used here.
"""

from __future__ import annotations

from typing import Literal

from .entries import Endpoint, Provider

Region = Literal["global", "europe", "us"]

_EU = "EU AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
COUNTRIES: dict[str, frozenset[str]] = {"us": frozenset({"US"}), "eu": frozenset(_EU.split())}
"""The countries (ISO 3166) of the regions that the catalogue's files name; `EU` is the whole."""

_NAMES: dict[str, Region] = {"us": "us", "eu": "europe"}


def data_region(endpoint: Endpoint, provider: Provider) -> Region:
    """The endpoint's own region, else that of all its provider's data centres, else `global`."""
    if endpoint.region is not None:
        return _NAMES.get(endpoint.region, "global")
    houses = set(provider.datacenters)
    if houses:
        for region, countries in COUNTRIES.items():
            if houses <= countries:
                return _NAMES[region]
    return "global"
