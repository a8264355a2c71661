"""Rerank: what callers may ask, what each provider is sent, and rankings back."""

import json
from typing import Any

import msgspec
import pytest
from cohere.v2.types import V2RerankResponse
from dialect_support import BILL, WHOLE, attempt
from openrouter.operations.creatererank import CreateRerankResponseBody

from tollway.canon import Usage
from tollway.catalogue.entries import Provider
from tollway.dialects import dialect
from tollway.dialects.rerank import parse_request, relay
from tollway.dialects.rerank.request import search_units_max
from tollway.errors import CallerError

DOCUMENTS = ["apples", {"text": "pears"}, "plums"]


def asked(path: str = "/api/v1/rerank", **fields: Any) -> Any:
    body = {"model": "acme/one", "query": "fruit", "documents": DOCUMENTS, **fields}
    return parse_request(json.dumps(body).encode(), {}, path)


def sent(name: str, request: Any, provider: str = "acme") -> tuple[str, Any, Any]:
    to = msgspec.structs.replace(attempt(), provider=Provider(id=provider, name=provider))
    out = dialect(name).render_request(request, to, 0)
    return out.path, json.loads(out.body), out.dropped


def answered(name: str, request: Any, body: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    one = relay(WHOLE, name, (), request)
    for n in range(len(data)):
        one.feed(data[n : n + 1])
    one.finish()
    return one


def test_a_query_is_read_with_every_document() -> None:
    request = asked(query="é" * 50)
    assert request.prompt_bytes == 6 + 5 + 5 + 3 * 100
    assert request.window_bytes == 106
    assert (request.kind, request.stream, request.search_units) == ("rerank", False, 1)


@pytest.mark.parametrize(
    ("query", "documents", "units"),
    [
        (10, [10], 1),
        (10, [10] * 100, 1),
        (10, [10] * 101, 2),
        (0, [1_000] * 100, 1),
        (0, [1_002] * 100, 2),
        (100_000, [1_000] * 100, 2),
        (0, [100_000], 1),
        (0, [100_000] * 2, 2),
    ],
)
def test_units_are_a_query_over_a_hundred_pieces(query, documents, units) -> None:
    assert search_units_max(query, documents) == units


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"query": ""}, "query"),
        ({"query": ["a"]}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": [{}]}, "documents[0]"),
        ({"documents": [1]}, "documents[0]"),
        ({"top_n": 0}, "top_n"),
        ({"model": None}, "model"),
        ({"provider": {"x": 1}}, "provider.x"),
    ],
)
def test_what_breaks_the_contract_is_refused_with_its_path(fields, path) -> None:
    with pytest.raises(CallerError) as refused:
        asked(**fields)
    assert refused.value.status == 400
    assert path in str(refused.value)


def test_each_provider_is_sent_its_own_shape() -> None:
    request = asked(top_n=2)
    texts = ["apples", "pears", "plums"]
    assert sent("rerank_cohere", request) == (
        "/rerank",
        {"model": "one-v1", "query": "fruit", "documents": texts, "top_n": 2},
        (),
    )
    assert sent("rerank_voyage", request) == (
        "/rerank",
        {"model": "one-v1", "query": "fruit", "documents": texts, "top_k": 2},
        (),
    )
    assert sent("rerank_tei", request) == ("/rerank", {"query": "fruit", "texts": texts}, ())


def test_bedrock_is_sent_texts_and_a_version() -> None:
    to = attempt()
    end = msgspec.structs.replace(to.endpoint, id="cohere.rerank-v3-5:0")
    out = dialect("bedrock_rerank").render_request(
        asked(top_n=2), msgspec.structs.replace(to, endpoint=end), 0
    )
    assert out.path == "/model/cohere.rerank-v3-5%3A0/invoke"
    assert json.loads(out.body) == {
        "query": "fruit",
        "documents": ["apples", "pears", "plums"],
        "api_version": 2,
        "top_n": 2,
    }


def test_images_go_to_who_takes_them_and_are_named_where_they_cannot() -> None:
    documents = [{"image": "https://example.com/a.png"}, "b"]
    request = asked(documents=documents)
    assert (request.images, request.modalities) == (1, {"text", "image"})
    assert sent("rerank_cohere", request, "jina")[1]["documents"] == documents
    assert sent("rerank_cohere", request)[1:] == (
        {"model": "one-v1", "query": "fruit", "documents": ["", "b"]},
        ("document images",),
    )


BODIES: dict[str, tuple[str, Any, Usage]] = {
    "cohere": (
        "rerank_cohere",
        {
            "id": "x",
            "results": [
                {"index": 2, "relevance_score": 0.9},
                {"index": 0, "relevance_score": 0.5},
                {"index": 1, "relevance_score": 0.1},
            ],
            "meta": {"billed_units": {"search_units": 1}},
        },
        Usage(search_units=1),
    ),
    "jina": (
        "rerank_cohere",
        {
            "results": [
                {"index": 2, "relevance_score": 0.9, "document": {"text": "plums"}},
                {"index": 0, "relevance_score": 0.5},
                {"index": 1, "relevance_score": 0.1},
            ],
            "usage": {"total_tokens": 12},
        },
        Usage(prompt_tokens=12),
    ),
    "voyage": (
        "rerank_voyage",
        {
            "object": "list",
            "data": [
                {"index": 2, "relevance_score": 0.9},
                {"index": 0, "relevance_score": 0.5},
                {"index": 1, "relevance_score": 0.1},
            ],
            "usage": {"total_tokens": 12},
        },
        Usage(prompt_tokens=12),
    ),
    "tei": (
        "rerank_tei",
        [
            {"index": 0, "score": 0.5},
            {"index": 2, "score": 0.9},
            {"index": 1, "score": 0.1},
        ],
        None,
    ),
}


@pytest.mark.parametrize("case", BODIES)
def test_every_providers_ranking_comes_best_first_with_its_documents(case) -> None:
    name, body, usage = BODIES[case]
    one = answered(name, asked(top_n=2), body)
    assert (one.meter.fault, one.meter.ended, one.meter.usage) == (None, True, usage)
    told = json.loads(one.ending(BILL))
    assert told["results"] == [
        {"index": 2, "relevance_score": 0.9, "document": {"text": "plums"}},
        {"index": 0, "relevance_score": 0.5, "document": {"text": "apples"}},
    ]
    assert told["usage"] == {"search_units": 0, "total_tokens": 5, "cost": 1.5e-06}
    assert "meta" not in told
    CreateRerankResponseBody.model_validate(told)


def test_a_client_of_coheres_own_path_finds_what_it_looks_for() -> None:
    one = answered(*BODIES["cohere"][:1], asked("/v2/rerank"), BODIES["cohere"][1])
    bill = msgspec.structs.replace(BILL, usage=Usage(search_units=1))
    read = V2RerankResponse.model_validate(json.loads(one.ending(bill)))
    assert [result.index for result in read.results] == [2, 0, 1]
    assert read.meta is not None and read.meta.billed_units is not None
    assert read.meta.billed_units.search_units == 1


def test_what_is_not_reported_is_counted_both_ways() -> None:
    for case, filled in (
        ("cohere", Usage(prompt_tokens=40, search_units=1)),
        ("voyage", Usage(prompt_tokens=12, search_units=1)),
        ("tei", Usage(prompt_tokens=40, search_units=1, estimated=True)),
    ):
        name, body, _ = BODIES[case]
        assert answered(name, asked(), body).meter.usage_or_estimate(40) == filled


def test_reported_units_stand() -> None:
    name, body, _ = BODIES["cohere"]
    told = {**body, "meta": {"billed_units": {"search_units": 2.0}}}
    assert answered(name, asked(), told).meter.usage_or_estimate(40).search_units == 2


@pytest.mark.parametrize(
    "results",
    [
        [],
        [{"index": 3, "relevance_score": 0.1}],
        [{"index": -1, "relevance_score": 0.1}],
        [{"index": 0, "relevance_score": 0.1}, {"index": 0, "relevance_score": 0.2}],
        [{"index": 0, "relevance_score": "high"}],
        [{"index": "0", "relevance_score": 0.1}],
        [{"relevance_score": 0.1}],
        {"index": 0},
        None,
    ],
)
def test_a_ranking_that_does_not_fit_the_documents_is_broken(results) -> None:
    one = answered("rerank_cohere", asked(), {"results": results})
    assert one.meter.fault is not None and one.meter.fault.retry == "elsewhere"
    assert not one.meter.ended and not one.meter.spoke
