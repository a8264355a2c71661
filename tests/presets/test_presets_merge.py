"""What a request says stands; what it leaves open the preset says, in the request's dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from presets_support import DIALECTS, SAYS, kept, merged, model, parsed

from tollway.dialects import dialect
from tollway.errors import CallerError
from tollway.presets import merge

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
NAMED = {"type": "function", "function": {"name": "f"}}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
CONFIG = "generationConfig"

# field, kept value → what each dialect is sent; then the request's own, which stands alone.
FIELDS: list[tuple[str, Any, dict[str, dict[str, Any]], dict[str, dict[str, Any]]]] = [
    (
        "temperature",
        0.25,
        {name: {"temperature": 0.25} for name in DIALECTS[:4]}
        | {"gemini": {CONFIG: {"temperature": 0.25}}},
        {name: {"temperature": 0} for name in DIALECTS[:4]}
        | {"gemini": {CONFIG: {"temperature": 0}}},
    ),
    (
        "max_tokens",
        500,
        {name: {"max_tokens": 500} for name in DIALECTS if name not in ("openai_responses",)}
        | {"openai_responses": {"max_output_tokens": 500}}
        | {"gemini": {CONFIG: {"maxOutputTokens": 500}}},
        {name: {"max_completion_tokens": 50} for name in DIALECTS[:3]}
        | {"anthropic_messages": {"max_tokens": 50}, "gemini": {CONFIG: {"maxOutputTokens": 50}}},
    ),
    (
        "stop",
        "END",
        {name: {"stop": "END"} for name in DIALECTS[:3]}
        | {"anthropic_messages": {"stop_sequences": ["END"]}}
        | {"gemini": {CONFIG: {"stopSequences": ["END"]}}},
        {name: {"stop": ["X"]} for name in DIALECTS[:3]}
        | {"anthropic_messages": {"stop_sequences": []}}
        | {"gemini": {CONFIG: {"stopSequences": ["X"]}}},
    ),
    (
        "response_format",
        FORMAT,
        {name: {"response_format": FORMAT} for name in DIALECTS[:2]}
        | {
            "openai_responses": {
                "text": {
                    "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
                }
            },
            "anthropic_messages": {
                "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}
            },
            "gemini": {
                CONFIG: {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
            },
        },
        {
            "openai_chat": {"response_format": {"type": "text"}},
            "openai_responses": {"text": {"format": {"type": "text"}}},
            "gemini": {CONFIG: {"responseMimeType": "text/plain"}},
        },
    ),
    (
        "reasoning",
        {"effort": "high"},
        {name: {"reasoning": {"effort": "high"}} for name in DIALECTS[:3]}
        | {
            "anthropic_messages": {
                "thinking": {"type": "enabled", "budget_tokens": 26_214}
            },  # 80 % of 32,768
            "gemini": {
                CONFIG: {"thinkingConfig": {"thinkingBudget": 26_214, "includeThoughts": True}}
            },
        },
        {name: {"reasoning_effort": "low"} for name in DIALECTS[:3]}
        | {
            "anthropic_messages": {"thinking": {"type": "disabled"}},
            "gemini": {CONFIG: {"thinkingConfig": {"thinkingBudget": 0}}},
        },
    ),
    (
        "tool_choice",
        NAMED,
        {
            "openai_chat": {"tool_choice": NAMED},
            "openai_responses": {"tool_choice": {"type": "function", "name": "f"}},
            "anthropic_messages": {"tool_choice": {"type": "tool", "name": "f"}},
            "gemini": {
                "toolConfig": {
                    "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}
                }
            },
        },
        {
            "openai_chat": {"tool_choice": "none"},
            "openai_responses": {"tool_choice": "none"},
            "anthropic_messages": {"tool_choice": {"type": "none"}},
            "gemini": {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}},
        },
    ),
    (
        "verbosity",
        "low",
        {
            "openai_chat": {"verbosity": "low"},
            "openai_responses": {"text": {"verbosity": "low"}},
        },
        {
            "openai_chat": {"verbosity": "high"},
            "openai_responses": {"text": {"verbosity": "high"}},
        },
    ),
    (
        "provider",
        {"only": ["a"], "sort": "price"},
        {name: {"provider": {"only": ["a"], "sort": "price"}} for name in DIALECTS},
        {name: {"provider": {"ignore": ["b"]}} for name in DIALECTS},
    ),
    (
        "plugins",
        [{"id": "response-healing"}],
        {name: {"plugins": [{"id": "response-healing"}]} for name in DIALECTS},
        {name: {"plugins": []} for name in DIALECTS},
    ),
]
BY = [
    (name, field, value, sent[name])
    for field, value, sent, _ in FIELDS
    for name in DIALECTS
    if name in sent
]
OWN = [
    (name, field, value, own[name])
    for field, value, _, own in FIELDS
    for name in DIALECTS
    if name in own
]


def ids(cases: list[tuple[str, str, Any, Any]]) -> list[str]:
    return [f"{name}-{field}" for name, field, _, _ in cases]


@pytest.mark.parametrize(("name", "field", "value", "sent"), BY, ids=ids(BY))
def test_a_kept_field_arrives_in_the_dialect_of_the_caller(
    name: str, field: str, value: Any, sent: dict[str, Any]
) -> None:
    config = {field: value, **({"tools": [FUNCTION]} if field == "tool_choice" else {})}
    body, used, path = merged(name, SAYS[name], config)
    body.pop("tools", None)
    base = {} if name == "gemini" else {"model": "acme/kept"}
    assert body == {**SAYS[name], **base, **sent}
    assert used.dropped == ()
    dialect(name).parse_request(json.dumps(body).encode(), {}, path)


@pytest.mark.parametrize(("name", "field", "value", "own"), OWN, ids=ids(OWN))
def test_a_field_of_the_request_beats_the_presets(
    name: str, field: str, value: Any, own: dict[str, Any]
) -> None:
    body, _, path = merged(name, {**SAYS[name], **own}, {field: value})
    base = {} if name == "gemini" else {"model": "acme/kept"}
    assert body == {**SAYS[name], **base, **own}
    dialect(name).parse_request(json.dumps(body).encode(), {}, path)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("anthropic_messages", "seed", 1),
        ("anthropic_messages", "verbosity", "low"),
        ("anthropic_messages", "response_format", {"type": "json_object"}),
        ("openai_responses", "response_format", {"type": "grammar", "grammar": "g"}),
        ("openai_responses", "n", 2),
        ("gemini", "min_p", 0.1),
        ("gemini", "response_format", {"type": "grammar", "grammar": "g"}),
        ("openai_completions", "logprobs", True),
    ],
)
def test_what_has_no_place_in_a_dialect_is_named(name: str, field: str, value: Any) -> None:
    body, used, _ = merged(name, SAYS[name], {field: value})
    assert used.dropped == (field,)
    assert body.keys() - {"model"} == SAYS[name].keys()


def test_null_says_nothing() -> None:
    body, _, _ = merged("openai_chat", {"temperature": None, "tools": None}, {"temperature": 0.5})
    assert body == {"model": "acme/kept", "temperature": 0.5}
    inside, _, _ = merged("gemini", {CONFIG: {"topP": None}}, {"top_p": 0.5})
    assert inside == {CONFIG: {"topP": 0.5}}


@pytest.mark.parametrize("own", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_every_spelling_of_the_output_limit_beats_the_presets(own: str) -> None:
    name = "openai_responses" if own == "max_output_tokens" else "openai_chat"
    assert parsed(name, {own: 50}, {"max_tokens": 500}).output_tokens_max == 50


@pytest.mark.parametrize("own", [{"include_reasoning": False}, {"reasoning": {"max_tokens": 9}}])
def test_every_way_to_ask_for_reasoning_beats_the_presets(own: dict[str, Any]) -> None:
    body, _, _ = merged("openai_chat", own, {"reasoning": {"effort": "high"}})
    assert body == {"model": "acme/kept", **own}


def test_log_probabilities_that_are_switched_off_stay_off() -> None:
    config = {"logprobs": True, "top_logprobs": 5}
    body, _, _ = merged("openai_chat", {"logprobs": False}, config)
    assert body == {"model": "acme/kept", "logprobs": False}
    chat, _, _ = merged("openai_chat", {}, config)
    assert chat == {"model": "acme/kept", **config}
    whole, _, _ = merged("gemini", {}, config)
    assert whole == {CONFIG: {"responseLogprobs": True, "logprobs": 5}}
    alone, _, _ = merged("gemini", {}, {"top_logprobs": 5})
    assert alone == whole


def test_fields_beside_the_presets_keep_their_bytes() -> None:
    messages = b'[ {"role":"user",  "content":"\\u00e9 1.50"} ]'
    body = b'{"messages":' + messages + b',"model":"@preset/p","seed":1.0e2,"x": {"b":1, "a":2}}'
    read = merge.read("openai_chat", body, "")
    assert read is not None
    done = merge.merge("openai_chat", read, "", *kept({"model": "a/b"}), lambda _: None)
    assert (
        done.body == b'{"messages":' + messages + b',"seed":1.0e2,"x":{"b":1, "a":2},"model":"a/b"}'
    )


def test_a_nested_object_keeps_what_the_request_says_in_it() -> None:
    body, _, _ = merged(
        "openai_responses", {"text": {"verbosity": "high"}}, {"response_format": FORMAT}
    )
    assert body["text"]["verbosity"] == "high"
    assert body["text"]["format"]["name"] == "n"


@pytest.mark.parametrize(
    ("name", "field"),
    [("openai_responses", "text"), ("anthropic_messages", "output_config"), ("gemini", CONFIG)],
)
def test_a_nested_object_that_is_none_is_refused(name: str, field: str) -> None:
    config = {"response_format": FORMAT, "temperature": 1}
    with pytest.raises(CallerError, match=f"^{field}: expected an object"):
        merged(name, {field: "x"}, config)


# ---- models --------------------------------------------------------------------------------------

MODELS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "the preset alone": (
        {"model": "@preset/p"},
        {"model": "a/1", "models": ["a/2"]},
        ("a/1", "a/2"),
    ),
    "by its own field": ({"preset": "p"}, {"model": "a/1"}, ("a/1",)),
    "a preset with a list only": ({"preset": "p"}, {"model": None, "models": ["a/2"]}, ("a/2",)),
    "another model": ({"model": "b/1", "preset": "p"}, {"model": "a/1"}, ("b/1",)),
    "another model, in one": ({"model": "b/1@preset/p"}, {"model": "a/1"}, ("b/1",)),
    "variants stay": ({"model": "b/1:nitro@preset/p"}, {"model": "a/1"}, ("b/1:nitro",)),
    "suffixes of the preset are those of its models": (
        {"model": "@preset/p:nitro"},
        {"model": "a/1", "models": ["a/2:floor"]},
        ("a/1:nitro", "a/2:floor:nitro"),
    ),
    "several, and such as there are not": (
        {"model": "@preset/P:free:online:what"},
        {"model": "a/1"},
        ("a/1:free:online:what",),
    ),
    "behind a model and a preset they are the model's": (
        {"model": "b/1:free@preset/p:nitro"},
        {"model": "a/1", "models": ["a/2"]},
        ("b/1:free:nitro", "a/2"),
    ),
    "suffixes within a list": (
        {"models": ["b/1@preset/p:floor", "@preset/p:nitro", "@preset/p", "b/2"]},
        {"model": "a/1", "models": ["a/2"]},
        ("b/1:floor", "a/1:nitro", "a/2:nitro", "a/1", "a/2", "b/2"),
    ),
    "suffixes of the first and a list": (
        {"model": "@preset/p:nitro", "models": ["b/1"]},
        {"model": "a/1", "models": ["a/2"]},
        ("a/1:nitro", "b/1"),
    ),
    "suffixes of a preset with a list only": (
        {"model": "@preset/p:nitro"},
        {"models": ["a/2"]},
        ("a/2:nitro",),
    ),
    "the preset's fallbacks stay": (
        {"model": "b/1@preset/p"},
        {"model": "a/1", "models": ["a/2"]},
        ("b/1", "a/2"),
    ),
    "a list of the request is all there is": (
        {"models": ["b/1", "b/2"], "preset": "p"},
        {"model": "a/1", "models": ["a/2"]},
        ("b/1", "b/2"),
    ),
    "…unless the preset was asked for first": (
        {"model": "@preset/p", "models": ["b/1"]},
        {"model": "a/1", "models": ["a/2"]},
        ("a/1", "b/1"),
    ),
    "within a list": (
        {"models": ["b/1@preset/p", "@preset/p", "b/2"]},
        {"model": "a/1", "models": ["a/2"]},
        ("b/1", "a/1", "a/2", "b/2"),
    ),
    "an empty list says nothing": ({"models": [], "preset": "p"}, {"model": "a/1"}, ("a/1",)),
    "case is folded": ({"model": "b/1@preset/P"}, {}, ("b/1",)),
}


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("name", ["openai_chat", "openai_responses", "anthropic_messages"])
def test_models_of_request_and_preset(name: str, case: str) -> None:
    asked, config, expected = MODELS[case]
    body = json.dumps({**SAYS[name], **asked}).encode()
    read = merge.read(name, body, "")
    assert read is not None and read.slug == "p"
    whole = {field: value for field, value in config.items() if value is not None}
    done = merge.merge(name, read, "", *kept(whole), lambda _: None)
    assert dialect(name).parse_request(done.body, {}, "").models == expected


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1beta/models/@preset/p:generateContent", {}, ("a/1", "a/2")),
        ("/v1beta/models/%40preset/p:generateContent", {}, ("a/1", "a/2")),
        ("/v1beta/models/gemini-x@preset/p:generateContent", {}, ("google/gemini-x", "a/2")),
        ("/v1beta/models/b/1:free@preset/p:generateContent", {}, ("b/1:free", "a/2")),
        ("/v1beta/models/b/1:generateContent", {"preset": "p"}, ("b/1", "a/2")),
        ("/v1beta/models/@preset/p:generateContent", {"models": ["b/1"]}, ("a/1", "b/1")),
        ("/v1beta/models/@preset/p:nitro:generateContent", {}, ("a/1:nitro", "a/2:nitro")),
        ("/v1beta/models/b/1@preset/p:nitro:generateContent", {}, ("b/1:nitro", "a/2")),
        (
            "/v1beta/models/@preset/p:nitro:generateContent",
            {"models": ["b/1", "@preset/p"]},
            ("a/1:nitro", "b/1", "a/1", "a/2"),
        ),
    ],
)
def test_models_in_the_path_of_gemini(
    path: str, body: dict[str, Any], expected: tuple[str, ...]
) -> None:
    read = merge.read("gemini", json.dumps({**SAYS["gemini"], **body}).encode(), path)
    assert read is not None and read.slug == "p"
    config = {"model": "a/1", "models": ["a/2"]}
    done = merge.merge("gemini", read, path, *kept(config), lambda _: None)
    assert dialect("gemini").parse_request(done.body, {}, done.path).models == expected


def test_fallbacks_of_messages_are_a_list_of_models() -> None:
    body, _, _ = merged(
        "anthropic_messages",
        {"model": "b/1", "fallbacks": [{"model": "b/2@preset/p"}]},
        {"models": ["a/2"]},
    )
    assert body == {"model": "b/1", "fallbacks": [{"model": "b/2"}]}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_preset_without_a_model_needs_one_of_the_request(name: str) -> None:
    with pytest.raises(CallerError, match=r"^model: is required: the preset 'p' names no model"):
        merged(name, SAYS[name], {"model": None, "temperature": 1})


def test_two_presets_are_refused() -> None:
    with pytest.raises(CallerError, match="names q and p; it can use one preset"):
        merge.read("openai_chat", b'{"preset":"q","model":"@preset/p"}', "")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"preset":3}', "preset"),
        (b'{"models":"@preset/p"}', "models"),
        (b'{"fallbacks":[{"model":"a","x":1}]}', "fallbacks"),
    ],
)
def test_names_that_are_no_text_are_refused_with_their_field(body: bytes, field: str) -> None:
    with pytest.raises(CallerError, match=f"^{field}: expected"):
        merge.read("anthropic_messages", body, "")


# ---- the system prompt ---------------------------------------------------------------------------

PROMPT = "Be brief."
PROMPTED: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "messages": [{"role": "system", "content": PROMPT}, *SAYS["openai_chat"]["messages"]]
    },
    "openai_responses": {"instructions": PROMPT},
    "anthropic_messages": {"system": PROMPT},
    "gemini": {"systemInstruction": {"parts": [{"text": PROMPT}]}},
}
TURN = {"role": "user", "content": "Hi"}
PROMPT_OF_ITS_OWN: list[tuple[str, dict[str, Any]]] = [
    ("openai_chat", {"messages": [{"role": "system", "content": "Mine"}, TURN]}),
    ("openai_chat", {"messages": [TURN, {"role": "developer", "content": "Mine"}]}),
    ("openai_chat", {"messages": [{"role": "system", "content": ""}, TURN]}),
    ("openai_responses", {"instructions": ""}),
    ("openai_responses", {"input": [{"role": "developer", "content": "Mine"}, TURN]}),
    ("anthropic_messages", {"system": ""}),
    ("anthropic_messages", {"system": [{"type": "text", "text": "Mine"}]}),
    ("gemini", {"system_instruction": {"parts": [{"text": "Mine"}]}}),
    ("gemini", {"contents": [{"role": "system", "parts": [{"text": "Mine"}]}]}),
]


@pytest.mark.parametrize("name", PROMPTED)
def test_the_system_prompt_is_put_where_the_dialect_has_it(name: str) -> None:
    body, _, _ = merged(name, SAYS[name], {}, PROMPT)
    assert {field: body[field] for field in PROMPTED[name]} == PROMPTED[name]


@pytest.mark.parametrize(("name", "own"), PROMPT_OF_ITS_OWN)
def test_a_request_with_a_prompt_of_its_own_keeps_it(name: str, own: dict[str, Any]) -> None:
    body, _, _ = merged(name, {**SAYS[name], **own}, {}, PROMPT)
    assert PROMPT not in json.dumps(body)


def test_a_legacy_completion_becomes_a_chat_with_the_prompt_and_is_held_for_it() -> None:
    plain = parsed("openai_completions", {}, {})
    asked = parsed("openai_completions", {}, {}, PROMPT * 100)
    assert json.loads(bytes(asked.fields["messages"])) == [
        {"role": "system", "content": PROMPT * 100},
        {"role": "user", "content": "Hi"},
    ]
    assert asked.prompt_bytes - plain.prompt_bytes > len(PROMPT) * 100


@pytest.mark.parametrize("name", DIALECTS)
def test_the_prompt_and_the_tools_count_for_the_hold(name: str) -> None:
    plain = parsed(name, {}, {})
    config = {"tools": [FUNCTION]}
    asked = parsed(name, {}, {} if name == "openai_completions" else config, PROMPT)
    assert asked.prompt_bytes >= plain.prompt_bytes + len(PROMPT)
    assert ("tools" in asked.params) == (name != "openai_completions")


# ---- what depends on the model -------------------------------------------------------------------


def test_messages_for_a_model_with_efforts_ask_for_one() -> None:
    known = model(efforts=("low", "medium", "high"))
    body, _, _ = merged(
        "anthropic_messages", {}, {"reasoning": {"effort": "max", "exclude": True}}, known=known
    )
    assert body["thinking"] == {"type": "adaptive", "display": "omitted"}
    assert body["output_config"] == {"effort": "high"}


def test_messages_think_within_the_output_limit_or_not_at_all() -> None:
    config = {"reasoning": {"max_tokens": 8_000}}
    body, used, _ = merged("anthropic_messages", {"max_tokens": 4_000}, config)
    assert (body["thinking"], used.dropped) == ({"type": "enabled", "budget_tokens": 3_999}, ())
    small, used, _ = merged("anthropic_messages", {"max_tokens": 100}, config)
    assert ("thinking" in small, used.dropped) == (False, ("reasoning",))


def test_messages_that_think_are_sent_no_kept_temperature_but_their_own() -> None:
    config = {"reasoning": {"effort": "low"}, "temperature": 0.2, "top_k": 5}
    body, used, _ = merged("anthropic_messages", {}, config)
    assert (body.keys() & {"temperature", "top_k"}, used.dropped) == (
        set(),
        ("temperature", "top_k"),
    )
    own, _, _ = merged("anthropic_messages", {"temperature": 0.2}, config)
    assert own["temperature"] == 0.2


def test_messages_take_temperatures_up_to_one() -> None:
    body, _, _ = merged("anthropic_messages", {}, {"temperature": 1.5})
    assert body["temperature"] == 1


def test_messages_with_a_forced_tool_do_not_think() -> None:
    config = {"tools": [FUNCTION], "tool_choice": "required", "reasoning": {"effort": "low"}}
    body, used, _ = merged("anthropic_messages", {}, config)
    assert (body["tool_choice"], "thinking" in body, used.dropped) == (
        {"type": "any"},
        False,
        ("reasoning",),
    )


def test_messages_say_one_call_at_a_time_in_the_choice_of_tools() -> None:
    config = {"tools": [FUNCTION], "parallel_tool_calls": False}
    body, _, _ = merged("anthropic_messages", {}, config)
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    own, _, _ = merged("anthropic_messages", {"tool_choice": {"type": "any"}}, config)
    assert own["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    without, _, _ = merged("anthropic_messages", {}, {"parallel_tool_calls": False})
    assert "tool_choice" not in without


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        ({"effort": "low"}, {"thinkingLevel": "LOW", "includeThoughts": True}),
        ({"effort": "max"}, {"thinkingLevel": "XHIGH", "includeThoughts": True}),
        ({"max_tokens": 2_048}, {"thinkingBudget": 2_048, "includeThoughts": True}),
        ({"enabled": True, "exclude": True}, {"thinkingBudget": -1, "includeThoughts": False}),
        ({"effort": "none"}, {"thinkingBudget": 0}),
    ],
)
def test_a_gemini_that_knows_levels_is_told_one(
    reasoning: dict[str, Any], expected: dict[str, Any]
) -> None:
    known = model("google/gemini-3-pro", efforts=("low", "high"))
    body, _, _ = merged("gemini", {}, {"reasoning": reasoning}, known=known)
    assert body == {CONFIG: {"thinkingConfig": expected}}


# ---- the rest ------------------------------------------------------------------------------------


def test_fields_of_one_dialect_are_used_in_that_dialect_alone() -> None:
    config = {"context_management": {"edits": []}}
    own, _, _ = merged("anthropic_messages", {}, config, made_in="anthropic_messages")
    other, _, _ = merged("openai_chat", {}, config, made_in="anthropic_messages")
    assert own["context_management"] == {"edits": []}
    assert other == {"model": "acme/kept"}
    host, _, _ = merged("openai_completions", {}, {"safe_prompt": True}, made_in="openai_chat")
    assert host["safe_prompt"] is True


@pytest.mark.parametrize("name", DIALECTS)
def test_switches_of_the_response_cache_stand_beside_the_request(name: str) -> None:
    asked = parsed(name, {}, {"cache_enabled": False, "cache_ttl_seconds": 60})
    assert asked.preset is not None
    assert (asked.preset.id, asked.preset.version) == ("p-1", 1)
    assert (asked.preset.cache_enabled, asked.preset.cache_ttl_seconds) == (False, 60)
    assert not any(field.startswith("cache_") for field in asked.fields)
    assert b"preset" not in b"".join(map(bytes, asked.fields.values()))
    assert "preset" not in asked.fields
