"""A client for an ASGI app, without sockets: one call, one reply."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote


class Reply:
    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.body = body
        self.headers = {name.decode().lower(): value.decode("latin-1") for name, value in headers}

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json()["error"]


class Client:
    """`await client("GET", "/api/v1/models?q=x", key=…, json=…, headers=…)`."""

    def __init__(self, app: Any, peer: str = "203.0.113.9") -> None:
        self.app = app
        self.peer = peer

    async def __call__(
        self,
        method: str,
        target: str,
        *,
        key: str | None = None,
        json: Any = None,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Reply:
        path, _, query = target.partition("?")
        sent = {"host": "evil.example", **(headers or {})}
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        if json is not None:
            body = _dumps(json)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in sent.items()],
            "client": (self.peer, 4711),
            "server": ("127.0.0.1", 8787),
        }
        pieces = [body[n : n + 16_384] for n in range(0, len(body), 16_384)] or [b""]
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not pieces:
                return {"type": "http.disconnect"}
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        await self.app(scope, receive, send)
        if not messages:
            return Reply(0, [], b"")  # nobody was there to be answered
        start, *rest = messages
        assert start["type"] == "http.response.start"
        data = b"".join(bytes(message.get("body", b"")) for message in rest)
        return Reply(start["status"], list(start["headers"]), data)


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode()
