"""The inference door: bare ASGI between a client and the road.

It identifies, reads the body, lets the dialect parse it, walks the road with `flow` and writes what
comes back. It owns what only a door can know: whether the head has been sent, whether the client
is still there, whether it still reads. Bytes of answers and errors come from the dialects.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote

import msgspec

from .. import caching, errors
from ..caching import Wanted
from ..canon import Request
from ..catalogue.routers import router_of
from ..dialects import dialect
from ..flow import Call, serve
from ..gateway import Caller, Gateway
from ..routing.explain import Told, explained
from ..routing.plan import refusal
from . import cached, preset_door
from .body import ClientGone, Room, read_body
from .replies import CORS_HEADERS, error_headers
from .wire import AsgiWire, Wire

log = logging.getLogger("tollway")

_HEARD = frozenset({b"x-session-id", b"anthropic-version", b"anthropic-beta", b"x-anthropic-beta"})
"""Headers that dialects read."""

EXPLAINED = {
    "chat": ("openai_chat", ""),
    "completions": ("openai_completions", ""),
    "responses": ("openai_responses", ""),
    "messages": ("anthropic_messages", ""),
    "gemini": ("gemini", "generateContent"),
    "embeddings": ("openai_embeddings", ""),
    "gemini_embed": ("gemini_embeddings", "embedContent"),
    "gemini_batch_embed": ("gemini_embeddings", "batchEmbedContents"),
    "rerank": ("rerank", ""),
}
"""`api` of the route that explains: in which dialect the body is written, and, where that has the
model in its path, the method there."""

_JSON = (b"content-type", b"application/json")
_UNBUFFERED = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
COMMENT = b": OPENROUTER PROCESSING\n\n"
"""The keep-alive that existing clients know how to skip."""
BLANK = b"\n"
"""The same between the elements of a JSON array."""

_NOTED = {
    b"http-referer": "http_referer",
    b"referer": "http_referer",
    b"x-openrouter-title": "app_title",
    b"x-title": "app_title",
    b"x-openrouter-categories": "app_categories",
    b"user-agent": "user_agent",
}


class Reply:
    """The answer to one request as it goes out. Knows when it last wrote and whether it waits."""

    __slots__ = (
        "_beat",
        "_keep_alive",
        "_type",
        "call",
        "ended",
        "entered",
        "head_sent",
        "more",
        "silent_since",
        "streamed",
        "wire",
    )

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._type = _EVENTS
        self._keep_alive = COMMENT
        self.call: Call | None = None
        self.entered = False
        """The call holds money, or is answered out of the cache: it is counted, and there will be a
        record of it."""
        self.streamed = False
        self.head_sent = False
        self.ended = False
        self.more: tuple[tuple[bytes, bytes], ...] = ()
        """Further headers of an answer that succeeds."""
        self.silent_since = 0.0
        self._beat: asyncio.Task[None] | None = None

    def speak(self, spoken: Any, request: Request) -> None:
        """Take the framing of streams from the dialect; server-sent events are the rule."""
        self.streamed = request.stream
        self._keep_alive = getattr(spoken, "KEEP_ALIVE", COMMENT)
        if not getattr(request, "sse", True):
            self._type, self._keep_alive = _JSON, BLANK

    def whole(
        self, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> Awaitable[object] | None:
        """A complete JSON answer. This and what follows: see `flow.Write`."""
        self.head_sent = True
        length = (b"content-length", b"%d" % len(body))
        return self.wire.whole(status, (_JSON, length, *headers, *CORS_HEADERS), body)

    def write(self, data: bytes) -> Awaitable[object] | None:
        """The next piece of a stream, in the caller's bytes."""
        call = self.call
        assert call is not None
        self.silent_since = call.gateway.clock()
        if self.head_sent:
            return self.wire.write(data)
        self.head_sent = True
        headers = (self._type, *_UNBUFFERED, *self._named(), *self.more, *CORS_HEADERS)
        return self.wire.begin(200, headers, data)

    def end(self, data: bytes) -> Awaitable[object] | None:
        """The last piece of a stream, or the one whole body."""
        self.ended = True
        if not self.streamed:
            return self.whole(200, data, (*self._named(), *self.more))
        return self.wire.end(data) if self.head_sent else self._at_once(data)

    async def _at_once(self, data: bytes) -> None:
        """A stream of one piece."""
        await _taken(self.write(data))
        await _taken(self.wire.end(b""))

    async def fail(self, error: errors.TollwayError, render_error: Any) -> None:
        """The error, as an answer of its own or as the last event of one that has begun. Nothing
        follows an end."""
        if not self.head_sent:
            self.ended = True
            more = (*_error_headers(error), *self._named())
            await _taken(self.whole(error.status, render_error(error), more))
        elif self.streamed and self.call is not None and not self.ended:
            await _taken(self.end(self.call.failure(error)))

    def heartbeat(self, now: float) -> None:
        """Called now and then from outside: a comment on a silent stream. It is written by a task
        of its own, since a client that does not read keeps it waiting."""
        call = self.call
        if call is None or call.client_left or (self._beat and not self._beat.done()):
            return
        if now - self.silent_since >= call.gateway.settings.heartbeat_s:
            self._beat = asyncio.create_task(self._comment())

    async def _comment(self) -> None:
        if not self.ended:
            await _taken(self.write(self._keep_alive))

    def _named(self) -> tuple[tuple[bytes, bytes], ...]:
        """The generation, once it is certain that its record can be looked up."""
        if self.call is None or not self.entered:
            return ()
        named = (b"x-generation-id", self.call.id.encode())
        limit = self.call.clamped
        if limit is not None:
            return named, (b"x-tollway-output-limit", str(limit).encode())
        return (named,)


class Inference:
    """Serves every inference route; `replies` are the streams that are open now."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.replies: set[Reply] = set()
        self._room = Room(gateway.settings.body_limit_bytes)

    async def serve(self, name: str, action: str, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request of the dialect `name`; `action` is `answer`, or `count` for a free
        estimate of its tokens. Never raises but for cancellation by the server."""
        reply = Reply(scope.get("tollway.wire") or AsgiWire(send))
        headers: dict[bytes, bytes] = dict(scope["headers"])
        spoken = dialect(name)
        try:
            if action == "count":
                await self._count(name, spoken, reply, scope, receive, headers)
            elif action == "explain":
                await self._explain(reply, scope, receive, headers)
            else:
                await self._walk(name, spoken, reply, scope, receive, headers)
        except ClientGone:
            return
        except errors.TollwayError as error:
            if not reply.entered:
                self._count_refusal(reply.call, error)
            limited = error.status == 429 and not reply.entered  # by us, not by a provider
            if reply.call is not None and error.status != 500 and not limited:
                error.beside = reply.call.metadata()
            if getattr(spoken, "MODEL_IN_PATH", False):
                error = errors.in_path(error)
            await reply.fail(error, spoken.render_error)
        except asyncio.CancelledError:
            if reply.call is not None and reply.call.client_left:
                return
            await reply.fail(errors.shutting_down(), spoken.render_error)
        except Exception:
            log.exception("an inference request failed by our own fault")
            await reply.fail(errors.Internal(), spoken.render_error)

    async def _walk(
        self,
        name: str,
        spoken: Any,
        reply: Reply,
        scope: Any,
        receive: Any,
        headers: dict[bytes, bytes],
    ) -> None:
        gateway = self.gateway
        caller = await self._caller(scope, headers)
        gateway.admit()
        request, body = await self._asked(caller, name, reply, scope, receive, headers)
        call = reply.call = serve(gateway, caller, request, _notes(headers), _told(headers))
        reply.speak(spoken, request)
        gateway.running += 1
        try:
            with _Watched(call, reply.wire):
                wish = _wish(caller, request, headers)
                if wish is None or not gateway.settings.cache_bytes_max:
                    await self._answer(call, reply)
                else:
                    self._beats_for(call, reply)
                    key = caching.key_of(
                        request,
                        body,
                        key_id=caller.key_id,
                        policy=caller.policy,
                        heard=_heard(scope, headers),
                    )
                    await cached.answer(gateway, call, reply, wish, key, self._answer)
        finally:
            gateway.running -= 1
            self.replies.discard(reply)

    async def _answer(self, call: Call, reply: Reply) -> None:
        """The road, from the hold to the last byte."""
        async with call:
            reply.entered = True
            self._beats_for(call, reply)
            await call.answer(reply.write, reply.end)

    def _beats_for(self, call: Call, reply: Reply) -> None:
        """From now on a stream that is silent gets comments."""
        if call.request.stream and reply not in self.replies:
            reply.silent_since = call.started_s
            self.replies.add(reply)

    async def _explain(
        self, reply: Reply, scope: Any, receive: Any, headers: dict[bytes, bytes]
    ) -> None:
        """The plan for a request that is not sent: what would be tried, at what ceiling. One that
        would be refused is explained too."""
        api = (_query(scope, "api") or b"chat").decode("latin-1")
        if api not in EXPLAINED:
            raise errors.bad_field("api", f"expected one of {', '.join(EXPLAINED)}")
        name, method = EXPLAINED[api]
        if method:
            scope = {**scope, "path": _path_of(scope, method)}
        caller = await self._caller(scope, headers)
        request, _ = await self._asked(caller, name, reply, scope, receive, headers)
        refused: errors.TollwayError | None
        try:
            _, plan = self.gateway.plan(request, caller, self.gateway.clock())
        except errors.CallerError as error:
            told: dict[str, Any] = {"requested": list(request.models)}
            refused = error
        else:
            told = explained(plan)
            refused = None if plan.attempts else refusal(plan, self.gateway.index)
        if refused is not None and method:
            refused = errors.in_path(refused)
        told["refusal"] = None if refused is None else refused.body()
        await _taken(reply.whole(200, msgspec.json.encode({"data": told})))

    async def _asked(
        self,
        caller: Caller,
        name: str,
        reply: Reply,
        scope: Any,
        receive: Any,
        headers: dict[bytes, bytes],
    ) -> tuple[Request, bytes]:
        """The body, in the words of its dialect, with the preset it names; and as it came. Raises
        CallerError, Unavailable, ClientGone."""
        limit_bytes = self.gateway.settings.body_limit_bytes
        here = reply.wire.body_here()
        body = await read_body(here, receive, headers, limit_bytes, self._room)
        if reply.wire.gone:  # while its body was inflated
            raise ClientGone
        request = await preset_door.parsed(
            self.gateway, caller.workspace, name, body, _heard(scope, headers), scope["path"]
        )
        return request, body

    async def _count(
        self,
        name: str,
        spoken: Any,
        reply: Reply,
        scope: Any,
        receive: Any,
        headers: dict[bytes, bytes],
    ) -> None:
        """An estimate needs a key and a body, and costs nobody anything."""
        caller = await self._caller(scope, headers)
        limit_bytes = self.gateway.settings.body_limit_bytes
        here, path = reply.wire.body_here(), scope["path"]
        body = await read_body(here, receive, headers, limit_bytes, self._room)
        if preset_door.may_name(body, path):
            found = await preset_door.completed(self.gateway, caller.workspace, name, body, path)
            if found is not None:
                body, path = found[0].body, found[0].path
        counted = spoken.count_tokens(body, _heard(scope, headers), path)
        if counted.models and not any(map(router_of, counted.models)):
            self.gateway.index.offers(counted.models)  # raises for what is no model here
        await _taken(reply.whole(200, counted.body))

    async def _caller(self, scope: Any, headers: Mapping[bytes, bytes]) -> Caller:
        """Raises CallerError 401/403 and Unavailable."""
        authorization, x_api_key = headers.get(b"authorization"), headers.get(b"x-api-key")
        if x_api_key is None:
            x_api_key = headers.get(b"x-goog-api-key") or _query(scope, "key")
        key = await self.gateway.keys.authenticate(
            authorization.decode("latin-1") if authorization else None,
            x_api_key.decode("latin-1") if x_api_key else None,
        )
        if key.management:
            raise errors.inference_refused()
        policies = self.gateway.policies
        policy = policies.get(key.workspace_id)
        if policy is None:
            policy = await policies.find(key.workspace_id)
        return Caller(key.workspace_id, key.hash, policy, key.counts)

    def _count_refusal(self, call: Call | None, error: errors.TollwayError) -> None:
        """A request that was answered before it held anything. What it asked for is known from
        when its body has been read and its model found."""
        model = call.plan.requested[0] if call is not None else ""
        self.gateway.metrics.request(model, "", error.status)

    async def heartbeats(self) -> None:
        """Beat for every open stream once a second; runs as long as the server."""
        while True:
            await asyncio.sleep(1)
            now = self.gateway.clock()
            for reply in list(self.replies):
                reply.heartbeat(now)


class _Watched:
    """Within, the call is told when its client leaves. Entering raises ClientGone for one that has
    left already: nothing is held for it."""

    __slots__ = ("_call", "_wire")

    def __init__(self, call: Call, wire: Wire) -> None:
        self._call, self._wire = call, wire

    def __enter__(self) -> None:
        if self._wire.gone:
            raise ClientGone
        self._wire.on_left = self._call.leave

    def __exit__(self, *_: object) -> None:
        self._wire.on_left = None


async def _taken(slow: Awaitable[object] | None) -> None:
    if slow is not None:
        await slow


def _wish(caller: Caller, request: Request, headers: Mapping[bytes, bytes]) -> Wanted | None:
    """What headers and preset say of the response cache."""
    zdr, preset = caller.policy.zdr, request.preset
    if preset is None:
        return caching.wanted(headers, policy_zdr=zdr)
    return caching.wanted(headers, preset.cache_enabled, preset.cache_ttl_seconds, zdr)


def _error_headers(error: errors.TollwayError) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((k.lower().encode(), v.encode()) for k, v in error_headers(error).items())


def _told(headers: Mapping[bytes, bytes]) -> Told | None:
    """How much of routing the caller asked to read."""
    if _METADATA.isdisjoint(headers):
        return None
    if headers.get(b"x-tollway-metadata") == b"enabled":
        return "tollway"
    names = (b"x-openrouter-metadata", b"x-openrouter-experimental-metadata")
    return "openrouter" if any(headers.get(name) == b"enabled" for name in names) else None


_METADATA = frozenset(
    {b"x-tollway-metadata", b"x-openrouter-metadata", b"x-openrouter-experimental-metadata"}
)


def _heard(scope: Any, headers: Mapping[bytes, bytes]) -> Mapping[str, str]:
    """What dialects read besides the body; `x-tollway-alt` is the query's `alt`."""
    heard = {
        name.decode(): headers[name].decode("utf-8", "replace")
        for name in _HEARD.intersection(headers)
    }
    alt = _query(scope, "alt")
    if alt is not None:
        heard["x-tollway-alt"] = alt.decode("latin-1")
    return heard


def _query(scope: Any, name: str) -> bytes | None:
    """A parameter of the query string; Gemini's clients put their key and framing there."""
    query = scope.get("query_string", b"")
    if not query:
        return None
    try:
        found = parse_qs(query.decode("latin-1"), max_num_fields=20).get(name)
    except ValueError:
        raise errors.bad_field("", "the query has too many parameters") from None
    return found[0].encode("latin-1", "replace") if found else None


def _path_of(scope: Any, method: str) -> str:
    """The path that Gemini's clients would have asked; the model is a parameter of the query.
    Raises CallerError (400)."""
    model = (_query(scope, "model") or b"").decode("latin-1").removeprefix("models/")
    if not model:
        raise errors.bad_field("model", "is required in the query: Gemini's bodies name none")
    return f"/models/{quote(model, safe='/:@')}:{method}"


def _notes(headers: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Attribution for the record, cut to a sane length."""
    return {
        field: value[:512].decode("utf-8", "replace")
        for name, field in _NOTED.items()
        if (value := headers.get(name))
    }
