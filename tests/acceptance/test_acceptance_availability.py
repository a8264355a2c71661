"""Every availability code and every `excluded_by`, from one real server, as a client sees them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from acceptance_support import scripted

from support.server import Server
from support.upstream import Reply, ScriptedProvider, Seen, chat_reply, error_reply

SILENT = "\n[data_policy]\ntrains_on_data = false\nretains_days = 0\n"
LOGGING = "\n[data_policy]\ntrains_on_data = true\nretains_days = 30\n"


def provider(id: str, base_url: str, more: str = "", policy: str = SILENT) -> str:
    return f"""
id = "{id}"
name = "{id.title()} Cloud"
dialect = "openai_chat"
base_url = "{base_url}"
private_network = true
{more or 'auth = { scheme = "none" }'}
{policy}"""


def sold(model: str, more: str = "", facts: str = "") -> str:
    """A model of its own and its one endpoint, which the provider knows by the model's name."""
    return f"""
[[models]]
id = "acme/{model}"
{facts}

[[endpoints]]
model = "acme/{model}"
id = "{model}"
pricing = {{ prompt = "0.000001", completion = "0.000002" }}
{more}
"""


def script(seen: Seen) -> Reply:
    match seen.json["model"]:
        case "crowded":
            return error_reply(429, "Rate limit reached", (("retry-after", "7"),))
        case "down":
            return error_reply(503, "Service unavailable", (("retry-after", "9"),))
        case "abroad":
            return error_reply(
                403,
                "Country, region, or territory not supported",
                code="unsupported_country_region_territory",
            )
        case _:
            return chat_reply("Fine.")


def files(url: str) -> dict[str, str]:
    alpha = provider("alpha", url) + "".join(
        [
            sold("crowded"),
            sold("down"),
            sold("abroad"),
            sold("paid"),
            sold("world"),
            sold("old", 'retires = "2020-01-01"'),
            sold("vectors", facts='type = "embedding"'),
            sold("small", "context_length = 64"),
            sold("coarse", 'quantization = "fp4"'),
            sold("plain", facts='params = ["max_tokens"]'),
            sold(
                "batched",
                'service_tiers = { batch = { prompt = "0.0000005", completion = "0.000001" } }',
            ),
        ]
    )
    beta = provider("beta", url, policy=LOGGING) + sold("logged")
    gamma = provider("gamma", url, 'auth = { scheme = "bearer", env = "GAMMA_API_KEY" }')
    delta = provider("delta", url, 'auth = { scheme = "none" }\nenabled = false')
    europe = provider("europe", url, 'auth = { scheme = "none" }\ndatacenters = ["DE", "FR"]')
    return {
        "alpha": alpha,
        "beta": beta,
        "gamma": gamma + sold("keyless"),
        "delta": delta + sold("switched-off"),
        "europe": europe + sold("euro"),
    }


class House:
    def __init__(self, server: Server, upstream: ScriptedProvider) -> None:
        self.server = server
        self.upstream = upstream
        self.boss = server.tollway("keys", "create", "--name", "b", "--management", "--plain")

    @contextmanager
    def imposing(self, **change: Any) -> Iterator[None]:
        """The default workspace with these settings, for a while."""
        self._patch(change)
        try:
            yield
        finally:
            routing = {name: None for name in change.get("routing", {}) if name not in _PLAIN}
            plain = {name: _PLAIN[name] for name in change.get("routing", {}) if name in _PLAIN}
            own = {name: None for name in change if name != "routing"}
            self._patch({**own, "routing": {**routing, **plain}} if routing or plain else own)

    def _patch(self, change: Any) -> None:
        status, body, _ = self.server.ask("PATCH", "/workspaces/default", change, key=self.boss)
        assert status == 200, body


_PLAIN = {"zdr": False, "data_collection": "allow", "prevent_overrides": False}


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with scripted(script) as upstream, Server(providers=files(upstream.base_url)) as server:
        yield House(server, upstream)


def told(answer: tuple[int, Any, dict[str, str]]) -> dict[str, Any]:
    """What is common to all: the availability, with the status put beside it."""
    status, body, headers = answer
    error = body["error"]
    found: dict[str, Any] = error["availability"]
    assert error["code"] == status
    assert error["metadata"]["error_type"] == error["error_type"]
    retryable = found["code"] in ("capacity_exhausted", "temporarily_unavailable")
    assert found["retryable"] is retryable
    assert ("retry-after" in headers) is ("retry_after" in found)
    assert found["docs_url"]
    return {**found, "status": status}


CASES: list[tuple[str, str, int, dict[str, Any], dict[str, Any]]] = [
    # model, code, status, what else is asked, what else is told
    ("acme/crowdedd", "model_not_found", 400, {}, {"fallback_models": ["acme/crowded"]}),
    ("acme/vectors", "wrong_endpoint", 400, {}, {}),
    ("acme/batched:batch", "wrong_endpoint", 400, {}, {"fallback_models": ["acme/batched"]}),
    ("acme/keyless", "no_endpoints", 404, {}, {"affected_providers": ["Gamma Cloud"]}),
    ("acme/old", "model_deprecated", 404, {}, {}),
    ("acme/switched-off", "model_unavailable_upstream", 404, {}, {}),
    (
        "acme/crowded",
        "capacity_exhausted",
        429,
        {},
        {"retry_after": 7, "affected_providers": ["Alpha Cloud"]},
    ),
    (
        "acme/down",
        "temporarily_unavailable",
        503,
        {},
        {"retry_after": 9, "affected_providers": ["Alpha Cloud"]},
    ),
    (
        "acme/abroad",
        "region_restricted",
        403,
        {},
        {"excluded_by": ["geo"], "affected_providers": ["Alpha Cloud"]},
    ),
    (
        "acme/logged",
        "privacy_restricted",
        404,
        {"provider": {"zdr": True}},
        {"excluded_by": ["data_policy:zdr"], "affected_providers": ["Beta Cloud"]},
    ),
    (
        "acme/logged",
        "privacy_restricted",
        404,
        {"provider": {"data_collection": "deny"}},
        {"excluded_by": ["data_policy:training"]},
    ),
    (
        "acme/world",
        "constraint_filtered",
        404,
        {"provider": {"max_price": {"prompt": "0.5"}}},
        {"excluded_by": ["max_price"]},
    ),
    (
        "acme/small",
        "constraint_filtered",
        400,
        {
            "max_tokens": 8,
            "messages": [{"role": "user", "content": "x" * 4_000}],
            "plugins": [{"id": "context-compression", "enabled": False}],
        },
        {"excluded_by": ["context_length"]},
    ),
    (
        "acme/plain",
        "constraint_filtered",
        404,
        {"seed": 1, "provider": {"require_parameters": True}},
        {"excluded_by": ["require_parameters"]},
    ),
    (
        "acme/coarse",
        "constraint_filtered",
        404,
        {"provider": {"quantizations": ["fp8", "bf16"]}},
        {"excluded_by": ["quantization"]},
    ),
    (
        "acme/world",
        "constraint_filtered",
        404,
        {"provider": {"only": ["Beta Cloud"]}},
        {"excluded_by": ["allowed_providers"], "affected_providers": ["Alpha Cloud"]},
    ),
    ("acme/world:online", "constraint_filtered", 404, {}, {}),
    ("acme/paid:free", "free_variant_ended", 404, {}, {"fallback_models": ["acme/paid"]}),
]


@pytest.mark.parametrize(("model", "code", "status", "asked", "more"), CASES)
def test_a_request_that_nothing_serves_is_told_why(
    house: House, model: str, code: str, status: int, asked: dict[str, Any], more: dict[str, Any]
) -> None:
    messages = asked.get("messages") or [{"role": "user", "content": "Hello"}]
    body = {"model": model, **asked, "messages": messages}
    found = told(house.server.ask("POST", "/chat/completions", body))
    assert (found["code"], found["status"]) == (code, status)
    assert found["requested_models"] == [model]
    assert {name: found.get(name) for name in more} == more
    if code in ("constraint_filtered", "privacy_restricted"):
        assert found["constraint"]["field"]
        assert found["constraint"]["detail"]


def test_every_code_and_every_exclusion_is_among_the_cases() -> None:
    codes = {code for _, code, _, _, _ in CASES}
    excluded = {one for *_, more in CASES for one in more.get("excluded_by", ())}
    assert codes == {
        "model_not_found",
        "wrong_endpoint",
        "no_endpoints",
        "model_deprecated",
        "model_unavailable_upstream",
        "capacity_exhausted",
        "temporarily_unavailable",
        "region_restricted",
        "privacy_restricted",
        "constraint_filtered",
        "free_variant_ended",
    }
    assert excluded == {
        "geo",
        "data_policy:zdr",
        "data_policy:training",
        "max_price",
        "context_length",
        "require_parameters",
        "quantization",
        "allowed_providers",
    }  # and data_region, which only a workspace can ask for: below


def test_a_workspace_keeps_its_data_in_a_region(house: House) -> None:
    with house.imposing(routing={"allowed_data_regions": ["europe"]}):
        found = told(house.server.chat("acme/world"))
        assert (found["code"], found["status"]) == ("region_restricted", 403)
        assert found["excluded_by"] == ["data_region"]
        assert found["constraint"]["field"] == "workspace.routing.allowed_data_regions"
        assert found["affected_providers"] == ["Alpha Cloud"]
        assert house.server.chat("acme/euro")[0] == 200
        status, body, _ = house.server.chat("acme/world", models=["acme/euro"])
        assert (status, body["model"]) == (200, "acme/euro")
    assert house.server.chat("acme/world")[0] == 200


@pytest.mark.parametrize(
    ("routing", "code", "field"),
    [
        ({"allowed_models": ["acme/euro"]}, "constraint_filtered", "allowed_models"),
        ({"ignored_models": ["acme/*"]}, "constraint_filtered", "ignored_models"),
        ({"allowed_providers": ["alpha"]}, "constraint_filtered", "allowed_providers"),
        ({"ignored_providers": ["beta"]}, "constraint_filtered", "ignored_providers"),
        ({"zdr": True}, "privacy_restricted", "zdr"),
        ({"data_collection": "deny"}, "privacy_restricted", "data_collection"),
    ],
)
def test_what_the_workspace_imposes_is_named_as_its_own(
    house: House, routing: dict[str, Any], code: str, field: str
) -> None:
    assert house.server.chat("acme/logged")[0] == 200
    with house.imposing(routing=routing):
        found = told(house.server.chat("acme/logged", provider={"zdr": False}))
    assert (found["code"], found["status"]) == (code, 404)
    assert found["constraint"]["field"] == f"workspace.routing.{field}"


def test_a_request_without_a_model_has_the_workspaces(house: House) -> None:
    ask = {"messages": [{"role": "user", "content": "Hello"}]}
    status, body, _ = house.server.ask("POST", "/chat/completions", ask)
    assert (status, body["error"]["metadata"]["field"]) == (400, "model")
    with house.imposing(default_text_model="acme/world:nitro"):
        status, body, _ = house.server.ask("POST", "/chat/completions", ask)
        assert (status, body["model"]) == (200, "acme/world")
        assert house.server.chat("acme/euro")[1]["model"] == "acme/euro"


def test_the_command_line_imposes_and_a_running_server_follows(house: House) -> None:
    server = house.server
    server.tollway("workspace", "set", "ignored_models=acme/world", "zdr=true")
    try:
        shown = server.tollway("workspace", "show")
        assert [line.split() for line in shown.splitlines() if line.startswith(("zdr", "ign"))] == [
            ["ignored_providers", "–"],
            ["ignored_models", "acme/world"],
            ["zdr", "yes"],
        ]
        _until(lambda: server.chat("acme/world")[0] == 404)
    finally:
        server.tollway("workspace", "set", "ignored_models=", "zdr=")
    _until(lambda: server.chat("acme/world")[0] == 200)
    assert "did you mean" in _refused(server, "workspace", "set", "ignored_providers=alfa")


def _until(condition: Any) -> None:
    import time

    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.1)


def _refused(server: Server, *arguments: str) -> str:
    with pytest.raises(AssertionError) as error:
        server.tollway(*arguments)
    return str(error.value)
