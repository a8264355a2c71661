"""Media by URL become media as bytes, wherever a user or a tool said them, and nothing else moves."""

import json

import pytest
from bedrock_wire import bedrock

from tollway import conversation as talk
from tollway.conversation import Conversation, Source, Turn
from tollway.dialects import bedrock_converse, conversation, fetched, openai_chat

A, B = "https://e.com/a.png", "https://e.com/b.pdf"


def test_urls_of_users_and_tools_are_named_once_and_stores_and_answers_are_not() -> None:
    def image(url: str) -> talk.Image:
        return talk.Image(Source(url=url))

    said = Conversation(
        turns=(
            Turn("user", (image(A), image("s3://b/x.png"), image("HTTPS://e.com/C"), image(A))),
            Turn("assistant", (image("https://e.com/mine.png"),)),
            Turn("user", (talk.Result("c", (talk.File(Source(url=B)),)), image("http://e.com/x"))),
        )
    )
    assert fetched.remote(said) == (A, "HTTPS://e.com/C", B)


def test_the_content_stands_where_the_url_was_and_goes_to_the_provider() -> None:
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": A}},
        {"type": "image_url", "image_url": {"url": "https://e.com/other"}},
    ]
    request = openai_chat.parse_request(
        json.dumps({"model": "a/b", "messages": [{"role": "user", "content": parts}]}).encode()
    )
    said = conversation(request)
    ready = fetched.with_media(request, said, {A: (b"\x89PNG", "image/png")})
    assert (ready.models, ready.modalities, ready.fields) == (
        request.models,
        request.modalities,
        request.fields,
    )
    outbound = bedrock_converse.render_request(ready, bedrock(), 9)
    assert json.loads(outbound.body)["messages"][0]["content"] == [
        {"text": "What is it?"},
        {"image": {"format": "png", "source": {"bytes": "iVBORw=="}}},
    ]
    assert outbound.dropped == ("image by reference",)


def test_a_request_of_another_dialect_has_nothing_fetched() -> None:
    request = openai_chat.parse_request(
        b'{"model":"a/b","messages":[{"role":"user","content":"x"}]}'
    )
    with pytest.raises(TypeError):
        fetched.conversation(request)
