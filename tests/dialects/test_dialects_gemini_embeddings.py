"""dialects/gemini_embeddings on the caller's side: what Gemini's clients ask, and their vectors."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from dialect_support import BILL, WHOLE, attempt

from tollway import dialects, errors
from tollway.canon import Request
from tollway.catalogue.entries import Provider
from tollway.dialects import dialect, embeddings, gemini_embeddings
from tollway.errors import CallerError

PATH = "/v1beta/models/acme/one:free:"
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}


def one(text: str = "hi", **fields: Any) -> dict[str, Any]:
    return {"content": {"parts": [{"text": text}]}, **fields}


def single(path: str = PATH, **fields: Any) -> Request:
    body = json.dumps({**one(), **fields}).encode()
    return gemini_embeddings.parse_request(body, {"x-session-id": "s"}, path + "embedContent")


def batch(*requests: dict[str, Any], **fields: Any) -> Request:
    body = json.dumps({"requests": list(requests), **fields}).encode()
    return gemini_embeddings.parse_request(body, {}, PATH + "batchEmbedContents")


def sent(name: str, request: Request, provider: str = "acme", *quirks: str) -> tuple[Any, Any]:
    to = msgspec.structs.replace(
        attempt(quirks), provider=Provider(id=provider, name=provider, quirks=quirks)
    )
    out = dialect(name).render_request(request, to, 0)
    return json.loads(out.body), out.dropped


# ---- asking --------------------------------------------------------------------------------------


def test_one_content_is_one_input() -> None:
    request = single(
        taskType="RETRIEVAL_QUERY",
        outputDimensionality=64,
        provider={"order": ["Acme"]},
        models=["acme/two"],
        user="u",
    )
    assert request.models == ("acme/one:free", "acme/two")
    assert (request.kind, request.stream, request.modalities) == ("embedding", False, {"text"})
    assert embeddings.inputs_of(request) == ["hi"]
    assert embeddings.purpose_of(request) == "query"
    assert embeddings.dimensions_of(request) == 64
    assert (request.prompt_bytes, request.window_bytes) == (2, 2)
    assert request.preferences.order == ("acme",)
    assert (request.session_id, request.user) == ("s", "u")


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1beta/models/gemini-embedding-001:", "google/gemini-embedding-001"),
        ("/v1/models/openai/text-embedding-3-small:", "openai/text-embedding-3-small"),
        ("/api/v1beta/models/openai%2Ftext-embedding-3-small:", "openai/text-embedding-3-small"),
    ],
)
def test_the_model_stands_in_the_path(path: str, model: str) -> None:
    assert single(path).models == (model,)


def test_a_batch_is_several_inputs() -> None:
    request = batch(one("a"), one("bcd", title="t"))
    assert embeddings.inputs_of(request) == ["a", "bcd"]
    assert request.modalities == {"text", "batch"}
    assert (request.prompt_bytes, request.window_bytes) == (5, 3)


def test_vertexs_clients_write_the_configuration_deeper_and_in_either_case() -> None:
    deeper = single(embedContentConfig={"taskType": "CLUSTERING", "outputDimensionality": 8})
    snake = single(task_type="CLUSTERING", output_dimensionality=8)
    assert deeper.fields == snake.fields
    assert embeddings.purpose_of(snake) == "clustering"
    plain = {"parts": {"text": "hi"}}
    assert embeddings.inputs_of(single(content=plain)) == ["hi"]


def test_parts_of_a_content_are_embedded_together() -> None:
    texts = single(content={"parts": [{"text": "a"}, {"text": "b"}]})
    assert embeddings.inputs_of(texts) == ["a\nb"]
    url = {"fileData": {"fileUri": "https://example.com/a.pdf", "mimeType": "application/pdf"}}
    mixed = batch({"content": {"parts": [{"text": "a"}, IMAGE, url]}}, one("b"))
    first, second = embeddings.inputs_of(mixed)
    assert first == embeddings.Mixed(
        [
            embeddings.TextPart("a"),
            embeddings.ImagePart(embeddings.Url("data:image/png;base64,aGk=")),
            embeddings.FilePart(embeddings.Media("https://example.com/a.pdf")),
        ]
    )
    assert second == embeddings.Mixed([embeddings.TextPart("b")])
    assert mixed.modalities == {"text", "image", "file", "batch"}


@pytest.mark.parametrize("n", range(8))
def test_every_purpose_survives_the_way_to_google(n: int) -> None:
    task = sorted({*gemini_embeddings.PURPOSES.values()})[n]
    assert sent("vertex_embeddings", single(taskType=task))[0]["instances"][0]["task_type"] == task


@pytest.mark.parametrize(
    ("requests", "path"),
    [
        ([], "requests"),
        ([one(), {}], "requests[1].content"),
        ([one(), {"content": {"parts": []}}], "requests[1].content.parts"),
        (
            [{"content": {"parts": [{"functionCall": {"name": "f"}}]}}],
            "requests[0].content.parts[0]",
        ),
        ([one(taskType="QUERY")], "requests[0].taskType"),
        ([one(outputDimensionality=0)], "requests[0].outputDimensionality"),
        ([one(), one(outputDimensionality=8)], "requests[1].outputDimensionality"),
        (
            [{"content": {"parts": [{"fileData": {"fileUri": "gs://ours/a"}}]}}],
            "requests[0].content.parts[0].fileData.fileUri",
        ),
    ],
)
def test_what_breaks_the_contract_is_refused_with_its_path(requests: Any, path: str) -> None:
    with pytest.raises(CallerError) as refused:
        batch(*requests)
    assert (refused.value.status, refused.value.metadata["field"]) == (400, path)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"content":1}', b'{"content":{"parts":[{"text":"\xff"}]}}']
)
def test_what_is_no_request_is_a_400(body: bytes) -> None:
    with pytest.raises(CallerError) as refused:
        gemini_embeddings.parse_request(body, {}, PATH + "embedContent")
    assert refused.value.status == 400


# ---- sending -------------------------------------------------------------------------------------

WISHES: dict[str, Any] = {
    "taskType": "RETRIEVAL_DOCUMENT",
    "title": "T",
    "outputDimensionality": 8,
}


def test_google_is_sent_the_callers_own_requests() -> None:
    given = [one("a", **WISHES), {"content": {"role": "user", "parts": [{"text": "b"}, IMAGE]}}]
    given[1] |= {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8}
    body, dropped = sent("gemini_embeddings", batch(*given))
    assert body["requests"] == [{"model": "models/one-v1", **each} for each in given]
    assert dropped == ()
    body, dropped = sent("gemini_embeddings", single(embedContentConfig={"autoTruncate": True}))
    assert body["requests"] == [{"model": "models/one-v1", **one()}]
    assert dropped == ("autoTruncate",)


def test_vertex_is_sent_titles() -> None:
    body, dropped = sent(
        "vertex_embeddings",
        batch(
            one("a", **WISHES),
            one(
                "b",
                **WISHES,
            ),
        ),
    )
    assert body == {
        "instances": [
            {"content": text, "task_type": "RETRIEVAL_DOCUMENT", "title": "T"} for text in "ab"
        ],
        "parameters": {"outputDimensionality": 8},
    }
    assert dropped == ()


@pytest.mark.parametrize(
    ("name", "provider", "quirks", "wanted", "lost"),
    [
        ("embed_openai", "acme", (), {"input": ["a"], "dimensions": 8}, {"input_type", "title"}),
        (
            "embed_openai",
            "voyage",
            ("input_type_param", "output_dimension_param"),
            {"input": ["a"], "output_dimension": 8, "input_type": "document"},
            {"title"},
        ),
        (
            "embed_openai",
            "jina",
            ("task_param",),
            {"input": ["a"], "dimensions": 8, "task": "retrieval.passage"},
            {"title"},
        ),
        (
            "embed_cohere",
            "acme",
            (),
            {
                "texts": ["a"],
                "output_dimension": 8,
                "input_type": "search_document",
                "embedding_types": ["float"],
            },
            {"title"},
        ),
        (
            "ollama_embeddings",
            "acme",
            (),
            {"input": ["a"], "dimensions": 8},
            {"input_type", "title"},
        ),
    ],
)
def test_others_are_sent_what_they_know_and_the_rest_is_named(
    name: str, provider: str, quirks: tuple[str, ...], wanted: Any, lost: set[str]
) -> None:
    body, dropped = sent(name, batch(one("a", **WISHES)), provider, *quirks)
    assert body == {"model": "one-v1", **wanted}
    assert set(dropped) == lost


def test_bedrock_is_sent_what_it_knows_and_the_rest_is_named() -> None:
    body, dropped = sent("bedrock_embed_one", batch(one("a", **WISHES)))
    assert body == {"inputText": "a"}
    assert set(dropped) == {"dimensions", "input_type", "title"}  # the oldest Titan
    body, dropped = sent("bedrock_embed_cohere", batch(one("a", **WISHES)))
    assert (body["texts"], dropped) == (["a"], ("title",))


def test_purposes_that_differ_are_told_to_google_alone() -> None:
    mixed = batch(one("a", taskType="RETRIEVAL_QUERY"), one("b", taskType="RETRIEVAL_DOCUMENT"))
    body, dropped = sent("embed_openai", mixed, "voyage", "input_type_param")
    assert (body, dropped) == ({"model": "one-v1", "input": ["a", "b"]}, ("input_type",))


# ---- answering -----------------------------------------------------------------------------------


def answered(request: Request, outbound: str, body: Any) -> Any:
    way = dialects.relay(request, WHOLE, outbound, ())
    assert way.feed(json.dumps(body).encode()) == b""
    assert way.finish() == b""
    return way


OPENAI = {"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": "AACAPw=="}]}
USED = {"promptTokenCount": BILL.usage.prompt_tokens, "totalTokenCount": BILL.usage.prompt_tokens}


def test_several_are_answered_in_the_order_of_the_requests() -> None:
    way = answered(batch(one("a"), one("b")), "embed_openai", OPENAI)
    assert json.loads(way.ending(BILL)) == {
        "embeddings": [{"values": [1.0]}, {"values": [2.0]}],
        "usageMetadata": USED,
    }


def test_one_is_answered_alone_and_a_batch_of_one_as_a_batch() -> None:
    google = {"embeddings": [{"values": [0.5, -0.25]}]}
    way = answered(single(), "gemini_embeddings", google)
    assert json.loads(way.ending(BILL)) == {
        "embedding": {"values": [0.5, -0.25]},
        "usageMetadata": USED,
    }
    way = answered(batch(one()), "gemini_embeddings", google)
    assert json.loads(way.ending(BILL))["embeddings"] == google["embeddings"]


def test_too_few_vectors_are_a_fault() -> None:
    way = answered(
        batch(one("a"), one("b")), "gemini_embeddings", {"embeddings": [{"values": [1]}]}
    )
    assert way.meter.fault is not None
    assert way.meter.fault.status == 502


def test_errors_are_googles() -> None:
    error = json.loads(gemini_embeddings.render_error(errors.bad_field("content", "is required")))
    assert (error["error"]["code"], error["error"]["status"]) == (400, "INVALID_ARGUMENT")
    way = answered(single(), "gemini_embeddings", {"embeddings": [{"values": [1]}]})
    assert json.loads(way.failure(errors.Internal()))["error"]["status"] == "INTERNAL"
