"""The README promises no more than the shipped catalogue holds."""

import re
import tomllib
from pathlib import Path

from tollway.catalogue.entries import Catalogue
from tollway.catalogue.load import load
from tollway.dialects import OUTBOUND
from tollway.routing.entries import Offer
from tollway.routing.offers import Index
from tollway.upstream.auth import KEY_HEADER_SCHEMES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SCHEMES = {"none", "aws-sigv4", "oauth2-bearer", *KEY_HEADER_SCHEMES}
SANDBOX = {"tollway", "tollway-b"}


def said(pattern: str) -> list[int]:
    found = re.findall(pattern, " ".join(README.split()))
    assert len(found) == 1, (pattern, found)
    numbers = found[0] if isinstance(found[0], tuple) else (found[0],)
    return [int(number.replace(",", "")) for number in numbers]


def callable_offers(catalogue: Catalogue) -> list[Offer]:
    """What can be called today by whoever has every provider's key."""
    index = Index(catalogue, lambda provider: provider.auth.scheme in SCHEMES)
    offers = (offer for model in catalogue.models for offer in index.of(model))
    return [o for o in offers if o.standing is None and o.provider.id not in SANDBOX]


def test_the_models_and_providers_that_can_be_called_are_at_least_as_many_as_promised() -> None:
    offers = callable_offers(load())
    models, providers = said(r"reach ([\d,]+) models at ([\d,]+) providers")
    assert 0 < models <= len({o.model.id for o in offers})
    assert 0 < providers <= len({o.provider.id for o in offers})
    (more,) = said(r"… (\d+) more")
    named = len(re.findall(r"├──► \w+$", README, re.M))
    assert named + more <= len({o.provider.id for o in offers})


def test_the_directory_lists_at_least_as_many_as_promised() -> None:
    catalogue = load()
    models, sellers = said(r"with prices: ([\d,]+) models of ([\d,]+) providers")
    assert 0 < models <= len(catalogue.models)
    selling = {e.provider for found in catalogue.endpoints.values() for e in found}
    assert 0 < sellers <= len(selling - SANDBOX)
    speaking, known, priced = said(
        r"with (\d+) of the (\d+) known providers \((\d+) of them have priced models here\)"
    )
    speakers = {p.id for p in catalogue.providers.values() if p.dialect in OUTBOUND and p.enabled}
    assert speaking <= len(speakers - SANDBOX)
    assert known <= len(catalogue.providers.keys() - SANDBOX)
    assert priced <= len({o.provider.id for o in callable_offers(catalogue)})


def test_the_direct_dependencies_are_counted() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    words = ("Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")
    count = words.index(re.findall(r"(\w+) direct dependencies", README)[0]) + 6
    assert count == len(project["dependencies"])
