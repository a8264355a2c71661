"""Embeddings: what callers may ask, what each provider is sent, and vectors back in any encoding."""

import base64
import json
import struct
from typing import Any

import cohere
import msgspec
import openai.types
import pytest
from dialect_support import BILL, WHOLE, attempt
from mistralai.client.models import EmbeddingRequest as MistralRequest
from openrouter.operations.createembeddings import CreateEmbeddingsResponseBody

from tollway.canon import Usage
from tollway.catalogue.entries import Provider
from tollway.dialects import dialect, embeddings
from tollway.dialects.openai_embeddings import parse_request, relay
from tollway.errors import CallerError, Unavailable


def asked(**fields: Any) -> Any:
    return parse_request(json.dumps({"model": "acme/one", "input": "hi", **fields}).encode())


def sent(name: str, request: Any, provider: str = "acme", *quirks: str) -> tuple[str, Any, Any]:
    """Path, body and dropped names of one outbound dialect."""
    to = msgspec.structs.replace(
        attempt(quirks), provider=Provider(id=provider, name=provider, quirks=quirks)
    )
    out = dialect(name).render_request(request, to, 0)
    return out.path, json.loads(out.body), out.dropped


def answered(name: str, request: Any, body: Any, cut: int | None = None) -> Any:
    """The relay after a provider's whole body, and its answer to the caller."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    one = relay(WHOLE, name, (), request)
    for n in range(0, len(data), cut or len(data) or 1):
        assert one.feed(data[n : n + (cut or len(data))]) == b""
    assert one.finish() == b""
    return one


# ---- asking --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "inputs", "modalities", "prompt", "longest"),
    [
        ("héllo", ["héllo"], {"text"}, 6, 6),
        (["a", "bcd"], ["a", "bcd"], {"text", "batch"}, 4, 3),
        ([1, 2, 3], [[1, 2, 3]], {"tokens"}, 12, 12),
        ([[1], [2, 3]], [[1], [2, 3]], {"tokens", "batch"}, 12, 8),
    ],
)
def test_an_input_comes_in_four_shapes(given, inputs, modalities, prompt, longest) -> None:
    request = asked(input=given)
    assert embeddings.inputs_of(request) == inputs
    assert request.modalities == modalities
    assert (request.prompt_bytes, request.window_bytes) == (prompt, longest)
    assert (request.kind, request.stream, request.output_tokens_max) == ("embedding", False, None)


def test_an_input_of_parts_counts_its_media() -> None:
    url = {"url": "https://example.com/a.png"}
    parts = [{"type": "text", "text": "cat"}, {"type": "image_url", "image_url": url}]
    request = asked(input=[{"content": parts}, {"content": parts[:1]}])
    assert request.modalities == {"text", "image", "batch"}
    assert (request.images, request.media_tokens, request.prompt_bytes) == (1, 1_600, 6)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"input": []}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": ["a", [1]]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": None}, "input"),
        ({"input": [{"content": []}]}, "input[0].content"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "64"}, "dimensions"),
        ({"provider": {"sorted": "price"}}, "provider.sorted"),
        ({"model": None}, "model"),
    ],
)
def test_what_breaks_the_contract_is_refused_with_its_path(fields, path) -> None:
    with pytest.raises(CallerError) as refused:
        asked(**fields)
    assert refused.value.status == 400
    assert path in str(refused.value)


def test_the_routers_own_fields_are_read_here_too() -> None:
    request = asked(models=["acme/two"], provider={"order": ["Acme"]}, session_id="s", user="u")
    assert request.models == ("acme/one", "acme/two")
    assert request.preferences.order == ("acme",)
    assert (request.session_id, request.user) == ("s", "u")


# ---- sending -------------------------------------------------------------------------------------


def test_openai_is_sent_the_callers_own_input_and_nothing_of_the_routers() -> None:
    request = asked(
        input=[[5, 6]], dimensions=64, encoding_format="base64", user="u", provider={}, trace={}
    )
    assert sent("embed_openai", request) == (
        "/embeddings",
        {"model": "one-v1", "input": [[5, 6]], "dimensions": 64, "encoding_format": "base64"},
        (),
    )
    assert sent("embed_openai", asked(encoding_format="float", input_type="query")) == (
        "/embeddings",
        {"model": "one-v1", "input": "hi"},
        ("input_type",),
    )


def test_those_who_follow_openai_get_their_own_names() -> None:
    request = asked(dimensions=64, input_type="document", encoding_format="base64")
    voyage = sent("embed_openai", request, "voyage", "input_type_param", "output_dimension_param")
    assert voyage[1:] == (
        {
            "model": "one-v1",
            "input": "hi",
            "output_dimension": 64,
            "input_type": "document",
            "encoding_format": "base64",
        },
        (),
    )
    jina = sent("embed_openai", request, "jina", "task_param")
    assert jina[1] == {
        "model": "one-v1",
        "input": "hi",
        "dimensions": 64,
        "task": "retrieval.passage",
        "embedding_type": "base64",
    }
    _, mistral, dropped = sent("embed_openai", request, "mistral")
    assert MistralRequest.model_validate(mistral).output_dimension == 64
    assert dropped == ("input_type",)


def test_options_of_the_provider_are_added_but_cannot_change_the_model() -> None:
    wishes = {"options": {"acme": {"truncate": True, "model": "other"}, "else": {"x": 1}}}
    assert sent("embed_openai", asked(provider=wishes))[1] == {
        "model": "one-v1",
        "input": "hi",
        "truncate": True,
    }


def test_cohere_is_told_what_the_texts_are_for() -> None:
    request = asked(input=["a", "b"], input_type="query", dimensions=256)
    assert sent("embed_cohere", request) == (
        "/embed",
        {
            "model": "one-v1",
            "texts": ["a", "b"],
            "input_type": "search_query",
            "embedding_types": ["float"],
            "output_dimension": 256,
        },
        (),
    )
    assert sent("embed_cohere", asked())[1]["input_type"] == "search_document"
    assert sent("embed_cohere", asked(input_type="odd"))[2] == ("input_type",)


def test_cohere_gets_images_as_its_own_sdk_writes_them() -> None:
    url = {"url": "data:image/png;base64,aGk="}
    parts = [{"type": "text", "text": "cat"}, {"type": "image_url", "image_url": url}]
    body = sent("embed_cohere", asked(input=[{"content": parts}]))[1]
    (one,) = [cohere.EmbedInput.model_validate(given) for given in body["inputs"]]
    assert [part.type for part in one.content] == ["text", "image_url"]
    assert body["inputs"] == [{"content": parts}]


def test_gemini_is_sent_a_batch() -> None:
    request = asked(input=["a", "b"], input_type="document", dimensions=8)
    path, body, dropped = sent("gemini_embeddings", request)
    assert (path, dropped) == ("/models/one-v1:batchEmbedContents", ())
    assert body["requests"] == [
        {
            "model": "models/one-v1",
            "taskType": "RETRIEVAL_DOCUMENT",
            "outputDimensionality": 8,
            "content": {"parts": [{"text": text}]},
        }
        for text in "ab"
    ]


def test_vertex_and_ollama_are_sent_texts() -> None:
    request = asked(input=["a", "b"], input_type="query", dimensions=8)
    assert sent("vertex_embeddings", request) == (
        "/publishers/google/models/one-v1:predict",
        {
            "instances": [{"content": t, "task_type": "RETRIEVAL_QUERY"} for t in "ab"],
            "parameters": {"outputDimensionality": 8},
        },
        (),
    )
    assert sent("ollama_embeddings", request) == (
        "/api/embed",
        {"model": "one-v1", "input": ["a", "b"], "dimensions": 8},
        ("input_type",),
    )


def test_bedrock_is_sent_each_vendors_own_body() -> None:
    def invoked(name: str, id: str, **fields: Any) -> tuple[str, Any, Any]:
        to = attempt()
        to = msgspec.structs.replace(to, endpoint=msgspec.structs.replace(to.endpoint, id=id))
        out = dialect(name).render_request(asked(**fields), to, 0)
        return out.path, json.loads(out.body), out.dropped

    assert invoked("bedrock_embed_cohere", "cohere.embed-v4:0", input=["a", "b"]) == (
        "/model/cohere.embed-v4%3A0/invoke",
        {"texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"]},
        (),
    )
    wishes: dict[str, Any] = {"dimensions": 256, "input_type": "query"}
    assert invoked("bedrock_embed_one", "amazon.titan-embed-text-v2:0", **wishes)[1:] == (
        {"inputText": "hi", "dimensions": 256},
        ("input_type",),
    )
    assert invoked("bedrock_embed_one", "amazon.titan-embed-text-v1", **wishes)[1:] == (
        {"inputText": "hi"},
        ("dimensions", "input_type"),
    )
    assert invoked("bedrock_embed_one", "amazon.nova-2-multimodal-embeddings-v1:0", **wishes)[
        1:
    ] == (
        {
            "taskType": "SINGLE_EMBEDDING",
            "singleEmbeddingParams": {
                "embeddingPurpose": "TEXT_RETRIEVAL",
                "text": {"truncationMode": "NONE", "value": "hi"},
                "embeddingDimension": 256,
            },
        },
        (),
    )


# ---- answering -----------------------------------------------------------------------------------

ONE, TWO = [0.5, -0.25], [1.0, 2.0]
PACKED = [base64.b64encode(struct.pack("<2f", *v)).decode() for v in (ONE, TWO)]

BODIES: dict[str, tuple[Any, Usage | None]] = {
    "embed_openai": (
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": 1, "embedding": TWO},
                {"object": "embedding", "index": 0, "embedding": PACKED[0]},
            ],
            "model": "m",
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        },
        Usage(prompt_tokens=5),
    ),
    "embed_cohere": (
        {
            "id": "x",
            "embeddings": {"float": [ONE, TWO]},
            "meta": {"billed_units": {"input_tokens": 5.0, "image_tokens": 2}},
        },
        Usage(prompt_tokens=7, image_tokens=2),
    ),
    "gemini_embeddings": ({"embeddings": [{"values": ONE}, {"values": TWO}]}, None),
    "vertex_embeddings": (
        {
            "predictions": [
                {"embeddings": {"values": v, "statistics": {"token_count": n, "truncated": False}}}
                for n, v in ((2, ONE), (3, TWO))
            ]
        },
        Usage(prompt_tokens=5),
    ),
    "bedrock_embed_cohere": (
        {"embeddings": [ONE, TWO], "response_type": "embeddings_floats"},
        None,
    ),
    "ollama_embeddings": (
        {"model": "m", "embeddings": [ONE, TWO], "prompt_eval_count": 5},
        Usage(prompt_tokens=5),
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_every_providers_vectors_come_in_the_callers_encoding_and_order(name) -> None:
    body, usage = BODIES[name]
    for encoding, vectors in (("float", [ONE, TWO]), ("base64", PACKED)):
        one = answered(name, asked(input=["a", "b"], encoding_format=encoding), body)
        assert one.meter.fault is None
        assert (one.meter.ended, one.meter.spoke, one.meter.usage) == (True, True, usage)
        told = json.loads(one.ending(BILL))
        assert [(v["index"], v["embedding"]) for v in told["data"]] == list(enumerate(vectors))
        assert told["usage"] == {
            "prompt_tokens": 5,
            "total_tokens": 12,
            "cost": 1.5e-06,
            "is_byok": False,
            "cost_details": told["usage"]["cost_details"],
            "prompt_tokens_details": told["usage"]["prompt_tokens_details"],
        }
        assert (told["model"], told["id"], told["object"]) == ("acme/one", "gen-1", "list")
        if encoding == "float":
            openai.types.CreateEmbeddingResponse.model_validate(told, strict=True)
        CreateEmbeddingsResponseBody.model_validate(told)


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"embedding": ONE, "inputTextTokenCount": 5}, Usage(prompt_tokens=5)),
        ({"embeddings": [{"embeddingType": "TEXT", "embedding": ONE}]}, None),
    ],
)
def test_amazons_single_vector_is_a_list_of_one(body, usage) -> None:
    one = answered("bedrock_embed_one", asked(), body)
    assert (one.meter.fault, one.meter.usage) == (None, usage)
    (vector,) = json.loads(one.ending(BILL))["data"]
    assert (vector["index"], vector["embedding"]) == (0, ONE)


def test_tokens_are_counted_only_where_every_text_was() -> None:
    body = {
        "predictions": [
            {"embeddings": {"values": ONE, "statistics": {"token_count": 2}}},
            {"embeddings": {"values": TWO}},
        ]
    }
    assert answered("vertex_embeddings", asked(input=["a", "b"]), body).meter.usage is None


def test_an_answer_is_ended_once() -> None:
    body, _ = BODIES["embed_openai"]
    parser = dialect("embed_openai").parser(False)
    parser.feed(json.dumps(body).encode())
    assert len(parser.finish()) == 4
    assert parser.finish() == []


def test_voyages_total_is_the_prompt_and_an_absurd_report_is_none() -> None:
    body = BODIES["embed_openai"][0]
    request = asked(input=["a", "b"])
    for report, usage in (
        ({"total_tokens": 9}, Usage(prompt_tokens=9)),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": 1e30}, None),
        ({"prompt_tokens": True}, None),
        ({"prompt_tokens": 1.5}, None),
        ({"prompt_tokens": 12.0}, Usage(prompt_tokens=12)),
        ("many", None),
    ):
        one = answered("embed_openai", request, {**body, "usage": report})
        assert (one.meter.fault, one.meter.usage) == (None, usage)


def test_an_answer_cut_anywhere_is_the_same() -> None:
    body, _ = BODIES["embed_openai"]
    request = asked(input=["a", "b"])
    whole = answered("embed_openai", request, body).ending(BILL)
    for size in range(1, 40):
        assert answered("embed_openai", request, body, size).ending(BILL) == whole


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"[1, 2",
        b'{"data": null}',
        b'{"data": [{"embedding": ["a"]}]}',
        b'{"data": [{"embedding": "!!!"}]}',
        b'{"data": [{"embedding": "YWJj"}]}',
        b'{"data": []}',
        b'{"data": [{"embedding": [1]}, {"embedding": [2]}]}',
        b'{"data": [{"index": 7, "embedding": [1]}]}',
        b'{"object": "list"}',
        b'\xff{"data": [{"embedding": [1]}]}',
        b'{"data": 5}',
    ],
)
def test_an_answer_that_is_none_is_a_fault_before_anything_is_said(body) -> None:
    one = answered("embed_openai", asked(), body)
    assert one.meter.fault is not None
    assert (one.meter.fault.status, one.meter.fault.retry) == (502, "elsewhere")
    assert not one.meter.ended and not one.meter.spoke


def test_an_error_under_200_is_what_it_says() -> None:
    error = {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}
    one = answered("embed_openai", asked(), error)
    assert one.meter.fault is not None
    assert one.meter.fault.error_type == "rate_limit_exceeded"


def test_a_failure_is_an_error_body() -> None:
    one = relay(WHOLE, "embed_openai")
    assert "error" in json.loads(one.failure(Unavailable("down")))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (498, b'{"message": "blocked"}', (400, "content_policy_violation", "never")),
        (429, b'{"message": "too many requests"}', (429, "rate_limit_exceeded", "elsewhere")),
        (
            429,
            b'{"message": "You are using a Trial key, which is limited to 1000 API calls / month"}',
            (429, "rate_limit_exceeded", "cool"),
        ),
        (400, b'{"message": "too many tokens: 9 > 4"}', (400, "context_length_exceeded", "larger")),
        (401, b'{"message": "invalid api token"}', (502, "provider_unavailable", "cool")),
        (499, b'{"message": "request cancelled"}', (502, "provider_unavailable", "elsewhere")),
        (503, b"", (503, "provider_overloaded", "elsewhere")),
        (
            404,
            b'{"id":"1","message":"model not found"}',
            (502, "provider_unavailable", "elsewhere"),
        ),
    ],
)
def test_coheres_refusals_by_table(status, body, expected) -> None:
    fault = dialect("embed_cohere").parse_fault(status, {}, body)
    assert (fault.status, fault.error_type, fault.retry) == expected
