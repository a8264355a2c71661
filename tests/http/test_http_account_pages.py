import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from openrouter import operations

from support.asgi import Client
from support.control import House, house
from tollway import errors
from tollway.accounts import workspaces
from tollway.accounts.keyformat import looks_like_key
from tollway.accounts.workspaces import Workspace


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


@pytest.fixture
async def management(home: House) -> str:
    return (await home.key(name="boss", management=True))[1]


# ---- the key that asks ---------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # is_provisioning_key, rate_limit
async def test_a_key_sees_itself_as_the_sdk_reads_it(home: House) -> None:
    record, key = await home.key(name="app", limit_nano=2_000_000_000, limit_reset="weekly")
    await home.spend(record, 500_000_001)
    for path in ("/api/v1/key", "/v1/auth/key"):
        reply = await home.client("GET", path, key=key)
        seen = operations.GetCurrentKeyResponse.model_validate(reply.json()).data
        assert seen.label == record.label
        assert (seen.limit, seen.limit_remaining, seen.limit_reset) == (2.0, 1.499999999, "weekly")
        assert (seen.usage, seen.usage_daily, seen.usage_weekly, seen.usage_monthly) == (
            0.500000001,
        ) * 4
        assert not seen.is_management_key
        assert seen.workspace_id == "default"
        assert seen.rate_limit.requests == -1
        (budget,) = seen.budgets
        assert (budget.scope, budget.limit_usd, budget.spend_usd) == ("key_limit", 2.0, 0.500000001)
        assert budget.resets_at == datetime(2026, 11, 23, tzinfo=UTC)  # a Monday
        assert seen.effective_budget == budget


@pytest.mark.parametrize("path", ["/key", "/keys", "/keys/{hash}"])
async def test_what_a_key_used_includes_answers_that_have_just_ended(
    home: House, management: str, path: str
) -> None:
    record, key = await home.key(name="app")
    asking = key if path == "/key" else management
    for n in range(1, 21):
        await home.spend(record, 1_000_000, id=f"gen-{n}")  # queued, not yet on the disk
        reply = await home.client("GET", "/v1" + path.format(hash=record.hash), key=asking)
        data = reply.json()["data"]
        rows = data if path == "/keys" else [data]
        assert [row["usage"] for row in rows if row["name"] == "app"] == [n / 1_000]


async def test_a_key_without_a_limit_has_no_budget(home: House) -> None:
    data = (await home.client("GET", "/api/v1/key", key=home.first_key)).json()["data"]
    assert (data["limit"], data["limit_remaining"], data["limit_reset"]) == (None, None, None)
    assert (data["budgets"], data["effective_budget"]) == ([], None)


async def test_use_is_counted_in_the_windows_of_its_day(home: House) -> None:
    record, key = await home.key()
    await home.spend(record, 1_000_000_000)
    home.clock.now_s += 86_400  # Monday: another day and week, the same month
    await home.spend(record, 500_000_000, id="gen-2")
    data = (await home.client("GET", "/api/v1/key", key=key)).json()["data"]
    windows = ("usage", "usage_daily", "usage_weekly", "usage_monthly")
    assert [data[name] for name in windows] == [1.5, 0.5, 0.5, 1.5]


# ---- making --------------------------------------------------------------------------------------


async def test_a_key_is_made_and_works_at_once(home: House, management: str) -> None:
    asked = {
        "name": "app",
        "limit": 1.5,
        "limit_reset": "monthly",
        "expires_at": "2027-01-31T00:00:00Z",
        "include_byok_in_limit": True,
        "creator_user_id": "user-1",
        "external": {"user": "their-7"},
        "something_newer": {"is": "ignored"},
    }
    reply = await home.client("POST", "/api/v1/keys", key=management, json=asked)
    assert reply.status == 201
    assert reply.headers["cache-control"] == "no-store"
    made = operations.CreateKeysResponse.model_validate(reply.json())
    assert looks_like_key(made.key)
    assert made.data.name == "app"
    assert (made.data.limit, made.data.limit_remaining) == (1.5, 1.5)
    assert made.data.limit_reset == "monthly"
    assert made.data.expires_at == datetime(2027, 1, 31, tzinfo=UTC)
    assert made.data.created_at == "2026-11-22T19:06:54.000Z"
    assert made.data.last_used_at is None
    assert (made.data.creator_user_id, made.data.external_user) == ("user-1", "their-7")
    own = await home.client("GET", "/api/v1/key", key=made.key)
    assert own.json()["data"]["limit"] == 1.5


async def test_a_key_that_was_made_is_shown_even_if_it_cannot_be_read_back(
    home: House, management: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost() -> bool:
        raise errors.store_unavailable()

    monkeypatch.setattr(home.gateway.keys, "refresh", lost)
    reply = await home.client("POST", "/v1/keys", key=management, json={"name": "x"})
    assert reply.status == 201
    assert (await home.client("GET", "/v1/key", key=reply.json()["key"])).status == 200


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, 0.0), ("0.1", 0.1), (0.1, 0.1), (None, None), (1e-9, 1e-9)]
)
async def test_limits_are_exact_amounts(
    home: House, management: str, limit: Any, expected: float | None
) -> None:
    reply = await home.client(
        "POST", "/v1/keys", key=management, json={"name": "x", "limit": limit}
    )
    assert reply.json()["data"]["limit"] == expected


@pytest.mark.parametrize("body", [[], [{"name": "x"}], "x", 3])
async def test_a_body_must_be_an_object(home: House, management: str, body: Any) -> None:
    reply = await home.client("POST", "/v1/keys", key=management, json=body)
    assert (reply.status, reply.error["message"]) == (400, "the body must be one JSON object")


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({}, "", "missing required field `name`"),
        ({"name": 5}, "name", "Expected `str`, got `int`"),
        ({"name": ""}, "name", "1 to 256"),
        ({"name": "x", "limit": -1}, "limit", "zero or more"),
        ({"name": "x", "limit": True}, "limit", "got `bool`"),
        ({"name": "x", "limit": "lots"}, "limit", "amount of USD"),
        ({"name": "x", "limit": "NaN"}, "limit", "zero or more"),
        ({"name": "x", "limit": 1e300}, "limit", "more than the books can hold"),
        ({"name": "x", "limit": 1e-12}, "limit", "finer than a nano-USD"),
        ({"name": "x", "limit_reset": "hourly"}, "limit_reset", "Invalid enum value 'hourly'"),
        ({"name": "x", "expires_at": "2027-01-31"}, "expires_at", "with seconds"),
        ({"name": "x", "expires_at": "2027-01-31T00:00Z"}, "expires_at", "with seconds"),
        ({"name": "x", "expires_at": "2027-01-31T00:00:00"}, "expires_at", "offset"),
        ({"name": "x", "expires_at": "2027-13-31T00:00:00Z"}, "expires_at", "with seconds"),
        ({"name": "x", "expires_at": "2026-11-22T19:06:54Z"}, "expires_at", "in the past"),
        ({"name": "x", "external": {}}, "external", "missing required field `user`"),
        (
            {"name": "x", "external": {"user": "u", "api_key": "s" * 40}},
            "external.api_key",
            "bring none",
        ),
    ],
)
async def test_a_wrong_body_is_400_and_names_the_field(
    home: House, management: str, body: dict[str, Any], field: str, problem: str
) -> None:
    reply = await home.client("POST", "/api/v1/keys", key=management, json=body)
    assert reply.status == 400
    assert problem in reply.error["message"]
    assert reply.error["metadata"].get("field", "") == field
    assert reply.error["error_type"] == "invalid_request"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'{"name": "x"', 400),
        (b'{"name": "\xff"}', 400),
        (b'{"name": "x", "deep": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400),
        (b'{"name": "' + b"x" * 70_000 + b'"}', 413),
    ],
    ids=["empty", "list", "null", "cut", "not-utf-8", "deep", "large"],
)
async def test_broken_bodies_are_refused(
    home: House, management: str, body: bytes, status: int
) -> None:
    reply = await home.client("POST", "/api/v1/keys", key=management, body=body)
    assert reply.status == status


async def test_an_unknown_workspace_is_404(home: House, management: str) -> None:
    asked = {"name": "x", "workspace_id": "nowhere"}
    assert (await home.client("POST", "/v1/keys", key=management, json=asked)).status == 404
    listed = await home.client("GET", "/v1/keys?workspace_id=nowhere", key=management)
    assert listed.status == 404


# ---- reading, changing, deleting -----------------------------------------------------------------


async def test_keys_are_listed_as_the_sdk_reads_them(home: House, management: str) -> None:
    await home.store.write(workspaces.make, Workspace("team", "Team", home.now_ms))
    home.clock.now_s += 1
    record, _ = await home.key(name="app")
    await home.key(name="elsewhere", workspace_id="team")
    await home.spend(record, 250_000_000)
    reply = await home.client("GET", "/api/v1/keys", key=management)
    rows = operations.ListResponse.model_validate(reply.json()).data
    assert rows[0].name == "app"
    assert {row.name for row in rows} == {"app", "boss", "default"}
    assert rows[0].usage == 0.25
    assert {row.name: row.last_used_at is not None for row in rows}["boss"]
    team = await home.client("GET", "/api/v1/keys?workspace_id=team", key=management)
    assert [row["name"] for row in team.json()["data"]] == ["elsewhere"]


async def test_lists_leave_out_disabled_and_expired_keys_unless_asked(
    home: House, management: str
) -> None:
    record, _ = await home.key(name="off")
    await home.key(name="old", expires_ms=home.now_ms + 1)
    await home.client("PATCH", f"/v1/keys/{record.hash}", key=management, json={"disabled": True})
    home.clock.now_s += 1

    async def names(query: str) -> set[str]:
        rows = (await home.client("GET", f"/v1/keys?{query}", key=management)).json()["data"]
        return {row["name"] for row in rows}

    assert await names("") == {"default", "boss"}
    assert await names("include_disabled=true") == {"default", "boss", "off"}
    assert await names("include_expired=TRUE") == {"default", "boss", "old"}
    assert await names("offset=2") == set()
    for query in ("include_disabled=yes", "offset=-1", "offset=x", "offset=" + "9" * 30):
        assert (await home.client("GET", f"/v1/keys?{query}", key=management)).status == 400


async def test_a_key_is_read_changed_and_deleted(home: House, management: str) -> None:
    record, key = await home.key(name="app", limit_nano=1_000_000_000)
    target = f"/api/v1/keys/{record.hash}"

    read = await home.client("GET", target, key=management)
    assert operations.GetKeyResponse.model_validate(read.json()).data.name == "app"

    changed = await home.client(
        "PATCH", target, key=management, json={"limit": None, "name": "web", "newer": 1}
    )
    seen = operations.UpdateKeysResponse.model_validate(changed.json()).data
    assert (seen.name, seen.limit, seen.limit_remaining) == ("web", None, None)
    assert seen.updated_at == "2026-11-22T19:06:54.000Z"

    await home.client("PATCH", target, key=management, json={"disabled": True})
    assert (await home.client("GET", "/v1/key", key=key)).error["message"].endswith("disabled.")
    await home.client("PATCH", target, key=management, json={"disabled": False})
    assert (await home.client("GET", "/v1/key", key=key)).status == 200

    deleted = await home.client("DELETE", target, key=management)
    operations.DeleteKeysResponse.model_validate(deleted.json())
    assert deleted.json() == {"deleted": True}
    assert (await home.client("GET", "/v1/key", key=key)).status == 401
    for method in ("GET", "PATCH", "DELETE"):
        gone = await home.client(method, target, key=management, json={"name": "x"})
        assert gone.status == 404


@pytest.mark.parametrize("body", [{}, {"expires_at": "2030-01-01T00:00:00Z"}, {"unknown": 1}])
async def test_a_change_of_nothing_known_is_refused(
    home: House, management: str, body: dict[str, Any]
) -> None:
    record, _ = await home.key()
    reply = await home.client("PATCH", f"/v1/keys/{record.hash}", key=management, json=body)
    assert reply.status == 400
    assert "nothing to change" in reply.error["message"]


async def test_a_caller_who_leaves_while_sending_makes_no_key(
    home: House, management: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = home.app
    before = (await home.client("GET", "/v1/keys", key=management)).json()

    async def cut(scope: Any, receive: Any, send: Any) -> None:
        pieces = [{"type": "http.request", "body": b'{"name":', "more_body": True}]

        async def leaving() -> Any:
            return pieces.pop() if pieces else {"type": "http.disconnect"}

        await app(scope, leaving, send)

    with caplog.at_level(logging.ERROR):
        reply = await Client(cut)("POST", "/v1/keys", key=management)
    assert (reply.status, caplog.text) == (0, "")
    assert (await home.client("GET", "/v1/keys", key=management)).json() == before
