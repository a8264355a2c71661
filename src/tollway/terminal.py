"""`tollway chat`: one question to a running server, the answer streamed into the terminal, or one line
of JSON for a script."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from .dialects.sse import Framer
from .upstream import AttemptFailed
from .upstream.transport import HttpTransport


async def stream_chat(
    base: str, key: str, model: str, messages: list[dict[str, str]], *, as_json: bool = False
) -> int:
    """Print the answer as it comes, what it cost on standard error; `as_json`: nothing but one line
    at its end, and no line at all for an answer that is not whole. Gives the exit code."""
    body = {"model": model, "messages": messages, "stream": True}
    headers = [("Authorization", f"Bearer {key}"), ("Content-Type", "application/json")]
    transport = HttpTransport()
    try:
        answer = await transport.open(
            "POST",
            f"{base.rstrip('/')}/chat/completions",
            headers,
            msgspec.json.encode(body),
            total_timeout_s=600,
            idle_timeout_s=120,
        )
        try:
            if answer.status != 200:
                return _refused(answer.status, await _all(answer))
            return await _print(answer, as_json)
        finally:
            await answer.close()
    except AttemptFailed as failed:
        print(f"tollway: {base}: {failed.fault.message}", file=sys.stderr)
        print("Is the server running? `tollway serve` starts it.", file=sys.stderr)
        return 1
    finally:
        await transport.close()


async def _print(answer: Any, as_json: bool) -> int:
    framer, code = Framer(), 1
    text: list[str] = []
    told: dict[str, Any] = {}
    while data := await answer.read():
        for payload in framer.feed(data):
            if payload == b"[DONE]":
                code = 0
                continue
            chunk = msgspec.json.decode(payload)
            if error := chunk.get("error"):
                print(f"\ntollway: {error.get('message', error)}", file=sys.stderr)
                return 1
            for choice in chunk.get("choices", ()):
                text.append(choice["delta"].get("content") or "")
                if not as_json:
                    print(text[-1], end="", flush=True)
            if usage := chunk.get("usage"):
                told = {name: chunk.get(name) for name in ("id", "model", "provider", "usage")}
                if not as_json:
                    print(f"\n{_cost(chunk, usage)}", file=sys.stderr)
    if as_json and code == 0:
        print(msgspec.json.encode({**told, "text": "".join(text)}).decode())
    return code


def _cost(chunk: dict[str, Any], usage: dict[str, Any]) -> str:
    return (
        f"[{chunk.get('model')} by {chunk.get('provider')}: {usage.get('prompt_tokens')} in, "
        f"{usage.get('completion_tokens')} out, {usage.get('cost'):.9f} USD]"
    )


def _refused(status: int, body: bytes) -> int:
    try:
        message = msgspec.json.decode(body)["error"]["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        message = "the server's answer makes no sense; is this a Tollway URL?"
    print(f"tollway: {status}: {message}", file=sys.stderr)
    return 1


async def _all(answer: Any) -> bytes:
    body = b""
    while data := await answer.read():
        body += data
    return body
