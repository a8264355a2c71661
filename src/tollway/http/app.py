"""The application: one ASGI callable over the table of routes.

Inference paths go straight to the inference door, everything else to the control door. Start-up and
shut-down are the lifespan of a gateway.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from ..gateway import Gateway
from .control import control_app
from .inference import Inference
from .routes import ROUTES

log = logging.getLogger("tollway")

SPEAKS: dict[str, tuple[str, str]] = {
    "chat_completions": ("openai_chat", "answer"),
    "completions": ("openai_completions", "answer"),
    "responses": ("openai_responses", "answer"),
    "messages": ("anthropic_messages", "answer"),
    "messages_count_tokens": ("anthropic_messages", "count"),
    "generate_content": ("gemini", "answer"),
    "stream_generate_content": ("gemini", "answer"),
    "count_tokens": ("gemini", "count"),
    "embed_content": ("gemini_embeddings", "answer"),
    "batch_embed_contents": ("gemini_embeddings", "answer"),
    "embeddings": ("openai_embeddings", "answer"),
    "rerank": ("rerank", "answer"),
    "explain_route": ("openai_chat", "explain"),
}
"""Operation of an inference route to the dialect it speaks and what it does."""


class App:
    """`open_gateway` is entered at start-up and left at shut-down."""

    def __init__(
        self,
        open_gateway: Callable[[], AbstractAsyncContextManager[Gateway]],
        on_ready: Callable[[Gateway], None] = lambda gateway: None,
    ) -> None:
        self._open_gateway = open_gateway
        self._on_ready = on_ready
        self.gateway: Gateway | None = None
        self.failure: Exception | None = None
        """Why the gateway did not open."""
        self._inference: Inference | None = None
        self._control: Any = None
        rows = [route for route in ROUTES if route.door == "inference"]
        self._paths = {
            path: SPEAKS[row.operation] for row in rows for path in row.paths if "{" not in path
        }
        self._methods = {
            path.rpartition(":")[2]: SPEAKS[row.operation]
            for row in rows
            for path in row.paths
            if "{" in path
        }
        """Of routes that name the model in the path: what follows its last colon decides."""
        self._model_paths = tuple({p[: p.index("{")] for r in rows for p in r.paths if "{" in p})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if scope["method"] == "POST" and (spoken := self._spoken(scope["path"])):
                assert self._inference is not None
                await self._inference.serve(*spoken, scope, receive, send)
            else:
                await self._control(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    def _spoken(self, path: str) -> tuple[str, str] | None:
        """The dialect and action of a path, None when it is not an inference route."""
        found = self._paths.get(path)
        if found is None and path.startswith(self._model_paths):
            found = self._methods.get(path.rpartition(":")[2])
        return found

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        async with AsyncExitStack() as stack:
            try:
                self.gateway = await stack.enter_async_context(self._open_gateway())
            except Exception as error:
                # The server is told to stop; the command line says it in words.
                self.failure = error
                await send({"type": "lifespan.startup.failed", "message": ""})
                raise
            self._inference = Inference(self.gateway)
            self._control = control_app(self.gateway)
            heartbeats = asyncio.create_task(self._inference.heartbeats())
            await send({"type": "lifespan.startup.complete"})
            self._on_ready(self.gateway)
            await receive()
            heartbeats.cancel()
        await send({"type": "lifespan.shutdown.complete"})
