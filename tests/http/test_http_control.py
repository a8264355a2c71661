import logging
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from support.asgi import Client, Reply
from support.control import House, house
from tollway import errors
from tollway.http import control
from tollway.http.routes import ROUTES, Auth, Route

STORE_LOST = "The accounts cannot be read or written right now."


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


CONTROL = [route for route in ROUTES if route.door == "control"]


def address(route: Route, prefix: str) -> str:
    path = route.path.replace("{author}", "acme").replace("{slug}", "small")
    return prefix + path.replace("{hash}", "0" * 64)


def let_in(reply: Reply) -> bool:
    return reply.status not in (401, 403)


@pytest.mark.parametrize("route", CONTROL, ids=lambda r: f"{r.method} {r.path}")
async def test_each_route_lets_in_whom_its_policy_names_and_nobody_else(
    home: House, route: Route
) -> None:
    _, management = await home.key(management=True)
    callers = {
        "nobody": None,
        "a wrong key": "sk-nonsense",
        "an ordinary key": home.first_key,
        "a management key": management,
    }
    expected = {
        Auth.NONE: set(callers),
        Auth.ANY_KEY: {"an ordinary key", "a management key"},
        Auth.MANAGEMENT: {"a management key"},
        Auth.OPERATOR: {"a management key"},
        Auth.KEY: {"an ordinary key"},
    }[route.auth]
    for prefix in route.prefixes:
        admitted = set()
        for name, key in callers.items():
            reply = await home.client(route.method, address(route, prefix), key=key, json={})
            if let_in(reply):
                admitted.add(name)
            else:
                wrong = 401 if name in ("nobody", "a wrong key") else 403
                assert reply.status == wrong, name
        assert admitted == expected


async def test_authorisation_of_inference_refuses_a_management_key(home: House) -> None:
    record, management = await home.key(management=True)
    scope = {"headers": [(b"authorization", f"Bearer {management}".encode())]}
    with pytest.raises(errors.CallerError, match="management key cannot be used for inference"):
        await control.authorise(home.gateway, Auth.KEY, scope)
    assert await control.authorise(home.gateway, Auth.MANAGEMENT, scope) == record


def _asking(host: str) -> dict[str, str]:
    return {"host": host}


async def test_metrics_are_open_to_the_machine_itself_but_not_through_a_proxy(home: House) -> None:
    here = _asking("127.0.0.1:8787")
    for peer in ("127.0.0.1", "::1"):
        local = Client(home.app, peer=peer)
        assert (await local("GET", "/metrics", headers=here)).status == 200
        with_key = await local("GET", "/metrics", key=home.first_key, headers=here)
        assert with_key.status == 403
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "Origin"):
            sent = {**here, name: "for=1.2.3.4"}
            assert (await local("GET", "/metrics", headers=sent)).status == 401
    assert (await home.client("GET", "/metrics", headers=here)).status == 401
    assert (await Client(home.app, peer="")("GET", "/metrics", headers=here)).status == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, 200) for host in ("127.0.0.1", "127.8.9.10:1", "[::1]:8787", "LocalHost:65535")),
        *((host, 401) for host in ("evil.example", "evil.example:8787", "10.0.0.1", "", "[::1")),
        *((host, 401) for host in ("localhost.evil.example", "127.0.0.1.evil.example:80")),
        *((host, 401) for host in ("evil.example@127.0.0.1", "127.0.0.1:80:80", "localhost:")),
    ],
)
async def test_metrics_without_a_key_must_be_asked_of_a_loopback_host(
    home: House, host: str, status: int
) -> None:
    local = Client(home.app, peer="127.0.0.1")
    assert (await local("GET", "/metrics", headers=_asking(host))).status == status


async def test_metrics_of_a_public_server_always_need_a_key(home: House) -> None:
    home.gateway.settings = msgspec.structs.replace(home.gateway.settings, public=True)
    local = Client(home.app, peer="127.0.0.1")
    assert (await local("GET", "/metrics", headers=_asking("localhost"))).status == 401
    _, management = await home.key(management=True)
    assert (await local("GET", "/metrics", key=management)).status == 200


async def test_no_page_in_a_browser_may_read_what_is_for_operators(home: House) -> None:
    _, management = await home.key(management=True)
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    for prefix in ("", "/v1", "/api/v1"):
        answers = [
            await home.client("GET", f"{prefix}/metrics", key=management),
            await home.client("GET", f"{prefix}/metrics"),
            await home.client("POST", f"{prefix}/metrics"),
            await home.client("OPTIONS", f"{prefix}/metrics", headers=asks),
        ]
        assert [answer.status for answer in answers] == [200, 401, 405, 204]
        for answer in answers:
            assert [name for name in answer.headers if name.startswith("access-control")] == []


async def test_every_handler_has_a_row_and_every_row_a_handler() -> None:
    assert {route.operation for route in CONTROL} == set(control.HANDLERS)


async def test_a_row_without_a_handler_stops_the_start(home: House) -> None:
    row = Route(method="GET", path="/x", auth=Auth.NONE, operation="nothing", about="")
    with pytest.raises(KeyError, match="nothing"):
        control.control_app(home.gateway, [row])


@pytest.mark.parametrize(
    "target",
    ["/nothing", "/api/v1", "/api/v1/", "/api/v1/models/", "/v2/models", "/api/v1/keys/a/b"],
)
async def test_an_unknown_path_is_a_json_404_for_everyone(home: House, target: str) -> None:
    for key in (None, home.first_key):
        reply = await home.client("GET", target, key=key)
        assert reply.status == 404
        assert reply.headers["content-type"] == "application/json"
        assert reply.error["error_type"] == "not_found"
        assert reply.error["metadata"] == {"error_type": "not_found"}
        assert "location" not in reply.headers


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("POST", "/api/v1/models", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/keys", "GET, HEAD, OPTIONS, POST"),
        ("POST", f"/v1/keys/{'0' * 64}", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("GET", "/api/v1/chat/completions", "OPTIONS, POST"),
        ("DELETE", "/v1/completions", "OPTIONS, POST"),
        ("BREW", "/", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_a_json_405_that_names_the_right_ones(
    home: House, method: str, target: str, allow: str
) -> None:
    reply = await home.client(method, target)
    assert reply.status == 405
    assert reply.headers["allow"] == allow
    assert reply.error["code"] == 405
    assert reply.headers["access-control-allow-origin"] == "*"


async def test_options_tells_what_a_path_allows(home: House) -> None:
    reply = await home.client("OPTIONS", "/api/v1/keys")
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_head_is_get_without_the_body(home: House) -> None:
    full = await home.client("GET", "/api/v1/providers")
    head = await home.client("HEAD", "/api/v1/providers")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(full.body))
    missing = await home.client("HEAD", "/api/v1/nothing")
    assert (missing.status, missing.body) == (404, b"")


async def test_a_browser_is_told_that_it_may_call_with_a_key(home: House) -> None:
    reply = await home.client(
        "OPTIONS",
        "/api/v1/chat/completions",
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type, x-title",
        },
    )
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.headers["access-control-allow-headers"] == "Authorization, *"
    assert (
        reply.headers["access-control-allow-methods"] == "GET, HEAD, POST, PATCH, DELETE, OPTIONS"
    )
    assert reply.headers["access-control-max-age"] == "86400"
    assert "access-control-allow-credentials" not in reply.headers


async def test_every_answer_may_be_read_by_a_browser_errors_included(home: House) -> None:
    for target, status in [("/api/v1/models", 200), ("/api/v1/key", 401), ("/nothing", 404)]:
        reply = await home.client("GET", target, headers={"Origin": "https://app.example"})
        assert reply.status == status
        assert reply.headers["access-control-allow-origin"] == "*"
        exposed = reply.headers["access-control-expose-headers"].split(", ")
        assert {"X-Generation-Id", "Retry-After", "X-RateLimit-Remaining"} <= set(exposed)


async def test_a_refused_key_says_how_to_send_one(home: House) -> None:
    reply = await home.client("GET", "/api/v1/key")
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.json() == {
        "error": {
            "code": 401,
            "message": "No API key. Send it as 'Authorization: Bearer <key>'; "
            "`tollway keys create` makes one.",
            "error_type": "authentication",
            "metadata": {"error_type": "authentication"},
        }
    }


async def test_disabled_and_expired_keys_are_told_so(home: House) -> None:
    record, disabled = await home.key()
    _, management = await home.key(management=True)
    _, expiring = await home.key(expires_ms=home.now_ms + 1)
    await home.client(
        "PATCH", f"/api/v1/keys/{record.hash}", key=management, json={"disabled": True}
    )
    home.clock.now_s += 1
    for key, message in [
        (disabled, "This API key is disabled."),
        (expiring, "This API key has expired."),
    ]:
        reply = await home.client("GET", "/api/v1/key", key=key)
        assert (reply.status, reply.error["message"]) == (401, message)


async def test_a_lost_database_is_503_with_retry_after_and_never_401(home: House) -> None:
    _, management = await home.key(management=True)
    await home.store.close()
    for target, key in [
        ("/api/v1/key", home.first_key),
        ("/api/v1/keys", management),
        ("/api/v1/credits", management),
        ("/api/v1/activity", management),
        ("/api/v1/generation?id=gen-1", home.first_key),
    ]:
        reply = await home.client("GET", target, key=key)
        assert reply.status == 503, target
        assert reply.headers["retry-after"] == "1"
        assert reply.error["message"].startswith(STORE_LOST)
    assert (await home.client("POST", "/v1/keys", key=management, json={"name": "x"})).status == 503
    assert (await home.client("GET", "/api/v1/models", key="sk-x")).status == 200


async def test_our_own_faults_are_masked_and_recorded_without_secrets(
    home: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError(f"the secret is {home.first_key}")

    monkeypatch.setitem(control.HANDLERS, "list_providers", broken)
    client = Client(control.control_app(home.gateway))
    with caplog.at_level(logging.ERROR):
        reply = await client("GET", "/api/v1/providers?token=hush", key=home.first_key)
    assert reply.status == 500
    assert reply.error["message"] == "Internal error. It has been recorded."
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "RuntimeError at GET /api/v1/providers" in caplog.text
    assert "broken" in caplog.text
    assert home.first_key not in caplog.text
    assert "hush" not in caplog.text


async def test_percent_encoded_slashes_of_slugs_are_understood(home: House) -> None:
    for target in ("/v1/models/acme%2Fsmall", "/v1/models/acme/deep%2Fer%3Afree"):
        assert (await home.client("GET", target)).status == 200
