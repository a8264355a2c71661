"""What the tests of presets share: kept versions, and a merge from JSON to JSON."""

from __future__ import annotations

import json
from typing import Any

from tollway.canon import Request, UsedPreset
from tollway.catalogue.entries import Model
from tollway.dialects import dialect
from tollway.presets import merge
from tollway.presets.entries import Preset, Version

PATH = "/v1beta/models/@preset/p:generateContent"
SAYS: dict[str, dict[str, Any]] = {
    "openai_chat": {"messages": [{"role": "user", "content": "Hi"}]},
    "openai_completions": {"prompt": "Hi"},
    "openai_responses": {"input": "Hi"},
    "anthropic_messages": {"messages": [{"role": "user", "content": "Hi"}]},
    "gemini": {"contents": [{"parts": [{"text": "Hi"}]}]},
}
DIALECTS = tuple(SAYS)


def kept(
    config: dict[str, Any], prompt: str | None = None, made_in: str = "openai_chat"
) -> tuple[Preset, Version]:
    preset = Preset("p-1", "w", "p", "p", None, "active", None, None, 1, 1, "v-1")
    return preset, Version("v-1", "p-1", 1, made_in, config, prompt, "k", 1)


def model(id: str = "acme/one", **facts: Any) -> Model:
    return Model(id=id, name=id, author=id.partition("/")[0], **facts)


def merged(
    name: str,
    asked: dict[str, Any],
    config: dict[str, Any],
    prompt: str | None = None,
    *,
    path: str = PATH,
    made_in: str = "openai_chat",
    known: Model | None = None,
) -> tuple[dict[str, Any], UsedPreset, str]:
    """The body the dialect gets, the preset used, and the path. The preset has the model acme/kept
    unless `config` says otherwise (None: no model at all)."""
    body = json.dumps({"preset": "p", **asked}).encode()
    read = merge.read(name, body, path)
    assert read is not None and read.slug == "p"
    whole = {"model": "acme/kept", **config}
    whole = {field: value for field, value in whole.items() if value is not None}
    done = merge.merge(name, read, path, *kept(whole, prompt, made_in), lambda _: known)
    return json.loads(done.body), done.used, done.path


def parsed(
    name: str, asked: dict[str, Any], config: dict[str, Any], prompt: str | None = None, **more: Any
) -> Request:
    """The same, parsed: what is merged must be a request that the dialect takes."""
    body, used, path = merged(name, {**SAYS[name], **asked}, config, prompt, **more)
    request: Request = dialect(name).parse_request(json.dumps(body).encode(), {}, path)
    return merge.finished(request, used, kept(config, prompt)[1])
