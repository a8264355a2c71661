"""Which concrete model an alias of a family means."""

import msgspec
import pytest

from routing.routing_builders import catalogue, model, offered, provider
from tollway.catalogue import listing
from tollway.catalogue.entries import Catalogue, Family
from tollway.catalogue.families import belongs, with_latest
from tollway.catalogue.load import load
from tollway.routing.lookup import lookup

TODAY = "2026-11-22"
ALIAS = "~acme/one-latest"
FAMILIES = {
    ALIAS: Family("Acme: One Latest", r"one-\d+(\.\d+)?(-\d{4})?(-preview)?(-fast)?", ".*-fast")
}


def one(name: str, created: str | None, tag: str = "alpha", **facts) -> object:
    return offered(tag, of=model(f"acme/{name}", created=created), **facts)


def meant(*offers, live=("alpha", "beta"), today=TODAY) -> str | None:
    return with_latest(catalogue(*offers, families=FAMILIES), live, today).latest.get(ALIAS)


@pytest.mark.parametrize(
    ("offers", "newest"),
    [
        ([one("one-2", "2026-01-01"), one("one-3", "2026-02-01")], "acme/one-3"),
        # The day decides before the number: 4.20 came before 4.7.
        ([one("one-4.20", "2026-03-31"), one("one-4.7", "2026-11-10")], "acme/one-4.7"),
        ([one("one-4.9", "2026-01-01"), one("one-4.10", "2026-01-01")], "acme/one-4.10"),
        ([one("one-9", None), one("one-1", "2020-01-01")], "acme/one-1"),
        ([one("one-2", "2026-01-01"), one("one-3:free", "2026-02-01")], "acme/one-2"),
        ([one("one-2", "2026-01-01"), one("one-3-fast", "2026-02-01")], "acme/one-2"),
        ([one("one-2", "2026-01-01"), one("two-3", "2026-02-01")], "acme/one-2"),
        ([one("one-2", "2026-01-01"), one("one-2-0813", "2026-01-01")], "acme/one-2"),
        ([one("one-2", "2026-01-01"), one("one-2-0813", "2026-08-13")], "acme/one-2-0813"),
        # A preview only where it is ahead of what is stable.
        ([one("one-3-preview", "2026-02-01"), one("one-2", "2026-01-01")], "acme/one-3-preview"),
        ([one("one-3-preview", "2026-02-01"), one("one-3", "2026-03-01")], "acme/one-3"),
        ([one("one-3-preview", "2026-03-01"), one("one-3", "2026-02-01")], "acme/one-3"),
        ([one("one-3-preview", "2026-03-01")], "acme/one-3-preview"),
        # Only what can be had.
        ([one("one-2", "2026-01-01"), one("one-3", "2026-02-01", retires="2026-11-21")], "acme/one-2"),
        ([one("one-3", "2026-02-01", retires="2026-11-22")], "acme/one-3"),
        ([one("one-2", "2026-01-01"), one("one-3", "2026-02-01", "alpha/batch", service_tier="batch")], "acme/one-2"),
        ([one("one-2", "2026-01-01"), one("one-3", "2026-02-01", "off", by=provider("off", enabled=False))], "acme/one-2"),
        ([one("two-2", "2026-01-01")], None),
    ],
)  # fmt: skip
def test_the_newest_member_that_can_be_had_is_meant(offers, newest) -> None:
    assert meant(*offers) == newest
    assert meant(*reversed(offers)) == newest


def test_a_variant_is_no_member_whatever_the_pattern_says() -> None:
    loose = Family("Acme: Any", ".*")
    assert belongs(model("acme/one-3"), loose)
    assert not belongs(model("acme/one-3:free"), loose)


def test_what_can_be_called_from_here_comes_before_what_is_newer() -> None:
    offers = [one("one-2", "2026-01-01", "alpha"), one("one-3", "2026-02-01", "beta")]
    assert meant(*offers) == "acme/one-3"
    assert meant(*offers, live=("alpha",)) == "acme/one-2"
    assert meant(*offers, live=()) == "acme/one-3"


def resolved() -> Catalogue:
    offers = [one("one-2", "2026-01-01"), one("one-3", "2026-02-01")]
    return with_latest(catalogue(*offers, families=FAMILIES), ("alpha",), TODAY)


def test_an_alias_is_looked_up_like_a_slug_with_its_variants() -> None:
    assert lookup(resolved(), "~Acme/One-Latest:nitro") == ("acme/one-3", ("nitro",))


def test_the_list_shows_an_alias_with_its_target_and_the_targets_price() -> None:
    rows, total = listing.list_models(resolved(), {}, now_s=0.0)
    views = {view["id"]: view for view in map(msgspec.json.decode, rows)}
    assert total == len(views) == 4, "two models, the alias, and the router that picks"
    alias, target = views[ALIAS], views["acme/one-3"]
    assert alias["name"] == "Acme: One Latest"
    assert alias["alias_target"] == {"name": target["name"], "slug": "acme/one-3"}
    assert alias["pricing"] == target["pricing"]
    assert "alias_target" not in target
    assert alias["links"]["details"] == "/api/v1/models/~acme/one-latest/endpoints"


def test_an_alias_is_neither_news_nor_an_endpoint_of_its_own() -> None:
    feed = listing.rss(resolved(), {}, now_s=0.0, site="http://127.0.0.1").decode()
    assert feed.count("<item>") == 2
    assert len(listing.zdr_endpoints(resolved())) == 2


def test_every_family_that_ships_has_a_member_and_a_target_that_fits_its_name() -> None:
    shipped = load()
    found = with_latest(shipped, (), TODAY).latest
    assert set(found) == set(shipped.families)
    for slug, target in found.items():
        assert target.partition("/")[0] == slug[1:].partition("/")[0]
        line = slug.partition("/")[2].removesuffix("-latest").split("-")[-1]
        known = target in shipped.models and ":" not in target
        assert known and (line in target or line == "chat"), (slug, target)


def test_an_operators_own_model_joins_a_family_by_its_name(tmp_path) -> None:
    (tmp_path / "providers").mkdir()
    (tmp_path / "providers" / "own.toml").write_text(
        """
id = "own"
dialect = "openai_chat"
base_url = "http://127.0.0.1:9/v1"
private_network = true
auth = { scheme = "none" }

[[models]]
id = "anthropic/claude-opus-99"
created = "2099-01-01"

[[endpoints]]
model = "anthropic/claude-opus-99"
id = "x"
pricing = { prompt = "0.000001", completion = "0.000001" }
"""
    )
    found = with_latest(load(tmp_path), ("own",), TODAY).latest
    assert found["~anthropic/claude-opus-latest"] == "anthropic/claude-opus-99"
