"""Facts are joined into one catalogue: tags, prices of tiers, an operator's files on top."""

from __future__ import annotations

import pytest

from tollway.catalogue.compile import compiled, overlaid, tiered
from tollway.catalogue.entries import Auth, Catalogue, price_version
from tollway.catalogue.files import CatalogueError, Source
from tollway.money import Override, Price, Rates, parse_price

MODELS = Source(
    "models/acme.toml",
    """
[[models]]
id = "acme/one"
name = "One"
author = "acme"
type = "chat"
context_length = 1000
canonical_slug = "acme/one-20260101"
[[models]]
id = "acme/two"
""",
)
SHOP = Source(
    "providers/shop.toml",
    """
id = "shop"
name = "The Shop"
base_url = "https://shop.example/v1"
auth = { scheme = "bearer", env = "SHOP_KEY" }
aliases = ["shoppe"]
[[endpoints]]
model = "acme/one"
id = "one-v1"
pricing = { prompt = "0.000002", completion = "0.000004" }
service_tiers = { flex = { prompt = "0.000001" }, priority = { prompt = "0.000004" } }
[[endpoints]]
model = "acme/one"
id = "one-v1-turbo"
variant = "turbo"
region = "eu"
quantization = "fp8"
dialect = "anthropic_messages"
pricing = { prompt = "0.000003", completion = "0.000004" }
""",
)
ALIASES = Source(
    "aliases.toml",
    '[aliases]\n"acme/uno" = "acme/one"\n[retired]\n"acme/zero" = ["acme/one", "acme/two"]\n',
)


def base() -> Catalogue:
    return compiled([MODELS], [SHOP], ALIASES)


def test_an_endpoint_is_tagged_by_provider_variant_region_quantization_and_tier() -> None:
    assert [(e.key, e.service_tier) for e in base().endpoints["acme/one"]] == [
        ("acme/one@shop", None),
        ("acme/one@shop/flex", "flex"),
        ("acme/one@shop/priority", "priority"),
        ("acme/one@shop/turbo-eu-fp8", None),
    ]


def test_an_endpoint_speaks_its_own_dialect_or_its_providers() -> None:
    assert [e.dialect for e in base().endpoints["acme/one"]] == [
        "openai_chat",
        "openai_chat",
        "openai_chat",
        "anthropic_messages",
    ]


def test_spellings_resolve_to_the_slug() -> None:
    catalogue = base()
    assert catalogue.resolve("acme/one-20260101") == "acme/one"
    assert catalogue.resolve("Acme/Uno") == "acme/one"
    assert catalogue.resolve("acme/zero") is None
    assert catalogue.retired == {"acme/zero": ("acme/one", "acme/two")}
    assert {catalogue.provider_slug(n) for n in ("shop", "The Shop", "shoppe")} == {"shop"}


def test_a_tier_scales_what_it_does_not_name() -> None:
    price = parse_price(
        {
            "prompt": "0.000002",
            "completion": "0.000008",
            "input_cache_read": "0.0000002",
            "internal_reasoning": "0.000009",
            "web_search": "0.01",
            "overrides": [{"min_prompt_tokens": 100, "prompt": "0.000004"}],
        }
    )
    tier = Price(Rates(prompt=1_000_000, completion=6_000_000))
    assert tiered(price, tier) == Price(
        Rates(
            prompt=1_000_000,
            completion=6_000_000,
            input_cache_read=100_000,
            internal_reasoning=6_750_000,
            web_search=10_000_000_000,
        ),
        (Override(Rates(prompt=2_000_000), min_prompt_tokens=100),),
    )


def test_a_scaled_rate_is_rounded_up() -> None:
    price = Price(Rates(prompt=3, completion=3, input_cache_read=2))
    assert tiered(price, Price(Rates(prompt=2))).base.input_cache_read == 2  # 4/3
    assert tiered(price, Price(Rates(prompt=1))).base.input_cache_read == 1  # 2/3


def test_a_tier_of_something_free_keeps_the_base_rates() -> None:
    price = Price(Rates(prompt=0, completion=5, input_cache_read=7))
    assert tiered(price, Price(Rates(prompt=0))).base.input_cache_read == 7


def test_a_price_version_follows_the_price_alone() -> None:
    one, turbo = base().endpoints["acme/one"][0], base().endpoints["acme/one"][3]
    assert one.price_version == price_version(one.price) != turbo.price_version
    assert len(one.price_version) == 12


def test_a_known_id_overrides_what_it_says_and_keeps_the_rest() -> None:
    mine = Source("mine.toml", 'id = "shop"\nbase_url = "https://proxy.example/v1"\n')
    shop = overlaid(base(), [mine]).providers["shop"]
    assert (shop.base_url, shop.name) == ("https://proxy.example/v1", "The Shop")
    assert shop.auth == Auth("header", ("SHOP_KEY",), "Authorization", "Bearer {key}")


def test_an_operators_endpoint_replaces_the_one_with_the_same_tag_and_adds_others() -> None:
    mine = Source(
        "mine.toml",
        """
id = "shop"
[[endpoints]]
model = "acme/one"
id = "one-v2"
pricing = { prompt = "0", completion = "0" }
[[endpoints]]
model = "acme/two"
id = "two"
pricing = { prompt = "0.1", completion = "0.2" }
""",
    )
    before, after = base(), overlaid(base(), [mine])
    owned = {one.key: one.own for rows in after.endpoints.values() for one in rows}
    assert {key for key, own in owned.items() if own} == {"acme/one@shop", "acme/two@shop"}
    assert not any(one.own for rows in before.endpoints.values() for one in rows)
    assert [(e.tag, e.id) for e in after.endpoints["acme/one"]] == [
        ("shop", "one-v2"),
        ("shop/flex", "one-v1"),
        ("shop/priority", "one-v1"),
        ("shop/turbo-eu-fp8", "one-v1-turbo"),
    ]
    assert [e.id for e in after.endpoints["acme/two"]] == ["two"]
    assert before == base(), "the old catalogue is untouched"


def test_a_changed_dialect_takes_the_endpoints_that_inherited_it_along() -> None:
    mine = Source("mine.toml", 'id = "shop"\ndialect = "openai_responses"\n')
    assert [e.dialect for e in overlaid(base(), [mine]).endpoints["acme/one"]] == [
        "openai_responses",
        "openai_responses",
        "openai_responses",
        "anthropic_messages",
    ]


def test_an_unknown_slug_becomes_a_chat_model_with_the_facts_the_file_gives() -> None:
    mine = Source(
        "mine.toml",
        """
id = "home"
base_url = "http://localhost:8080/v1"
private_network = true
auth = { scheme = "none" }
[[models]]
id = "home/llama"
name = "My Llama"
context_length = 4096
capabilities = ["tools"]
[[endpoints]]
model = "home/llama"
id = "llama.gguf"
pricing = { prompt = "0", completion = "0" }
[[endpoints]]
model = "home/other"
id = "other.gguf"
context_length = 2048
pricing = { prompt = "0", completion = "0" }
""",
    )
    models = overlaid(base(), [mine]).models
    llama, other = models["home/llama"], models["home/other"]
    assert (llama.name, llama.author, llama.type, llama.context_length, llama.capabilities) == (
        "My Llama",
        "home",
        "chat",
        4096,
        ("tools",),
    )
    assert (other.name, other.author, other.type, other.context_length) == (
        "other",
        "home",
        "chat",
        2048,
    )


def test_a_slug_that_comes_back_is_no_longer_retired() -> None:
    mine = Source(
        "mine.toml",
        'id = "shop"\n[[endpoints]]\nmodel = "acme/zero"\nid = "z"\npricing = { prompt = "1" }\n',
    )
    catalogue = overlaid(base(), [mine])
    assert catalogue.retired == {}
    assert catalogue.resolve("acme/zero") == "acme/zero"


def test_switching_a_provider_on_forgets_why_it_was_off() -> None:
    off = Source("off.toml", 'id = "x"\nenabled = false\ndisabled_because = "no URL"\n')
    on = Source("on.toml", 'id = "x"\nenabled = true\nbase_url = "https://x.example"\n')
    first = overlaid(base(), [off])
    assert first.providers["x"].disabled_because == "no URL"
    assert overlaid(first, [on]).providers["x"].disabled_because is None


@pytest.mark.parametrize(
    ("aliases", "field"),
    [
        ('[aliases]\n"a/b" = "acme/none"\n', "aliases.a/b"),
        ('[retired]\n"a/b" = ["acme/one", "acme/none"]\n', "retired.a/b"),
    ],
)
def test_an_alias_to_nowhere_is_refused(aliases: str, field: str) -> None:
    with pytest.raises(CatalogueError, match="acme/none is not a model") as caught:
        compiled([MODELS], [SHOP], Source("aliases.toml", aliases))
    assert (caught.value.field, caught.value.line) == (field, 2)


def test_a_model_or_provider_listed_twice_is_refused() -> None:
    with pytest.raises(CatalogueError, match="acme/one is listed twice"):
        compiled([MODELS, MODELS], [], None)
    with pytest.raises(CatalogueError, match="shop is listed twice"):
        compiled([MODELS], [SHOP, SHOP], None)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ('headers = { "X Bad" = "v" }', "headers.X Bad"),
        ('headers = { "X-Bad:" = "v" }', "headers.X-Bad:"),
        ('headers = { "" = "v" }', "headers."),
        ('headers = { "X\\n" = "v" }', "headers"),
        ('headers = { "X-Füße" = "v" }', "headers.X-Füße"),
        ('headers = { X-Ok = "v", X-Two = "a\\r\\nX-Evil: b" }', "headers.X-Two"),
        ('headers = { X-Two = "nul\\u0000" }', "headers.X-Two"),
        ('headers = { X-Two = "tab\\t" }', "headers.X-Two"),
        ('headers = { X-Two = " padded" }', "headers.X-Two"),
        ('headers = { X-Two = "é" }', "headers.X-Two"),
        ('auth = { scheme = "header", env = "K", header = "X: Y" }', "auth.header"),
        ('auth = { scheme = "bearer", env = "K", header = "X\\n" }', "auth.header"),
        ('auth = { scheme = "header", env = "K", format = "a\\n{key}" }', "auth.format"),
    ],
)
def test_what_would_not_stay_one_header_is_refused_with_its_line(said: str, field: str) -> None:
    mine = Source("mine.toml", f'id = "mine"\nbase_url = "https://mine.example"\n{said}\n')
    with pytest.raises(CatalogueError) as refused:
        overlaid(base(), [mine])
    assert (refused.value.file, refused.value.line, refused.value.field) == ("mine.toml", 3, field)
    assert "\n" not in str(refused.value)


def test_ordinary_headers_are_taken_as_they_are() -> None:
    text = 'id = "mine"\nbase_url = "https://mine.example"\n'
    said = 'headers = { X-Title = "a b; c=\\"d\\"", "x.y_z~1" = "" }\n'
    made = overlaid(base(), [Source("mine.toml", text + said)]).providers["mine"]
    assert made.headers == {"X-Title": 'a b; c="d"', "x.y_z~1": ""}
