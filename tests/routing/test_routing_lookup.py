"""From what a caller wrote to a model, or to help."""

import time

import pytest
from routing_builders import catalogue, model, offered

from tollway.errors import CallerError
from tollway.routing.lookup import close_slugs, lookup

SHOP = catalogue(
    *(
        offered(of=model(id))
        for id in (
            "openai/gpt-4o",
            "openai/gpt-4o-mini",
            "meta/llama-3:free",
            "azure/gpt-4o",
            "qwen/qwq",
        )
    ),
    offered(of=model("openai/embed", type="embedding")),
    aliases={"openai/gpt-4o-2024-05-13": "openai/gpt-4o", "gpt-4o": "openai/gpt-4o"},
    retired={"google/gemini-pro-1.5": ("google/gemini-3",)},
)


@pytest.mark.parametrize(
    ("slug", "found"),
    [
        ("openai/gpt-4o", ("openai/gpt-4o", ())),
        ("OpenAI/GPT-4o", ("openai/gpt-4o", ())),
        ("gpt-4o", ("openai/gpt-4o", ())),
        ("openai/gpt-4o-2024-05-13:nitro", ("openai/gpt-4o", ("nitro",))),
        ("openai/gpt-4o:floor:nitro", ("openai/gpt-4o", ("floor", "nitro"))),
        ("meta/llama-3:free", ("meta/llama-3:free", ())),
        ("meta/llama-3:nitro:free", ("meta/llama-3:free", ("nitro",))),
    ],
)
def test_a_slug_is_found(slug, found) -> None:
    assert lookup(SHOP, slug) == found


def refused(slug: str) -> tuple[int, str, list[str]]:
    with pytest.raises(CallerError) as error:
        lookup(SHOP, slug)
    told = error.value.availability
    assert told is not None
    return error.value.status, told["code"], told.get("fallback_models", [])


@pytest.mark.parametrize(
    ("slug", "told"),
    [
        ("openai/gpt-4o-minni", (400, "model_not_found", ["openai/gpt-4o-mini", "openai/gpt-4o"])),
        ("gpt-4o-mini", (400, "model_not_found", ["openai/gpt-4o-mini"])),
        ("mistral/gpt-4o", (400, "model_not_found", ["openai/gpt-4o", "azure/gpt-4o"])),
        ("openai/gpt-4o:tee", (400, "model_not_found", ["openai/gpt-4o", "azure/gpt-4o"])),
        ("openai/gpt-4o:thinking", (400, "model_not_found", ["openai/gpt-4o", "azure/gpt-4o"])),
        ("meta/llama-3", (400, "model_not_found", ["meta/llama-3:free"])),
        ("", (400, "model_not_found", [])),
        ("x" * 5_000, (400, "model_not_found", [])),
        ("google/gemini-pro-1.5", (404, "model_deprecated", ["google/gemini-3"])),
        ("google/gemini-pro-1.5:nitro", (404, "model_deprecated", ["google/gemini-3"])),
        ("openai/gpt-4o:free", (404, "free_variant_ended", ["openai/gpt-4o"])),
        ("openai/gpt-4o:nitro:free", (404, "free_variant_ended", ["openai/gpt-4o"])),
        ("openai/gpt-4o:batch", (404, "no_endpoints", ["openai/gpt-4o"])),
    ],
)
def test_a_slug_that_is_not_found_helps(slug, told) -> None:
    status, code, close = refused(slug)
    assert (status, code) == told[:2]
    assert [s for s in close if s in told[2]] == told[2]


def test_looking_for_close_slugs_in_a_large_catalogue_is_bounded() -> None:
    large = catalogue(
        *(offered(of=model(f"author{n % 60}/model-{n}-instruct")) for n in range(1_300))
    )
    began = time.process_time()
    for slug in ("author1/model-77-instrukt", "model-1299-instruct", "a/" + "b" * 250):
        close_slugs(large, slug)
    assert time.process_time() - began < 1.0


def test_two_suffixes_that_name_models_exclude_each_other() -> None:
    with pytest.raises(CallerError) as error:
        lookup(SHOP, "openai/gpt-4o:thinking:nitro:free")
    assert error.value.status == 400
    assert error.value.message == (
        "model: openai/gpt-4o:thinking:nitro:free: :thinking and :free are different models; "
        "name one of them"
    )


def test_batch_prices_that_exist_are_refused_as_the_wrong_way_to_ask() -> None:
    shop = catalogue(offered("alpha"), offered("alpha/batch", service_tier="batch"))
    with pytest.raises(CallerError) as error:
        lookup(shop, "acme/one:batch")
    told = error.value.availability
    assert told is not None
    assert (error.value.status, told["code"]) == (400, "wrong_endpoint")
    assert told["fallback_models"] == ["acme/one"]
    assert "batch jobs only" in error.value.message
