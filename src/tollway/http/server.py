"""Running the application: uvicorn on uvloop and httptools, one process, graceful shutdown."""

from __future__ import annotations

import contextlib
import gc
import logging
import resource
import signal
import socket
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn

from ..settings import Settings
from .app import App
from .protocol import Connection, Deadlines

log = logging.getLogger("tollway")


class Server(uvicorn.Server):
    """uvicorn, but a signal makes the gateway refuse new requests at once: readiness turns false
    before the listener closes, and running answers get their time."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _settle_memory()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        gateway = self._app.gateway
        if gateway is not None and gateway.stopping:
            self.force_exit = True  # uvicorn takes only a second Ctrl-C for an answer
        elif gateway is not None:
            gateway.stopping = True
            if gateway.running:
                log.warning(
                    "stopping: %d running answers may finish within %g s; %s again cuts them off",
                    gateway.running,
                    gateway.settings.shutdown_s,
                    "Ctrl-C" if sig == signal.SIGINT else "the signal",
                )
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Also when cut off by a second signal: what runs is settled and the books are closed."""
        await super().shutdown(sockets)
        if self.force_exit:
            for task in self.server_state.tasks:
                task.cancel()
            await self.lifespan.shutdown()


def run(app: App, settings: Settings) -> None:
    """Serve until a signal. Raises what made the start fail: OSError when the address cannot be had
    (nothing has been made then, no first key either), or what opening the gateway raised."""
    _lift_descriptor_limit()
    logging.getLogger("uvicorn.error").addFilter(_not_told_better)
    listener = _bind(settings.host, settings.port)
    deadlines = Deadlines(
        head=settings.head_timeout_s,
        body=settings.body_timeout_s,
        keep_alive=settings.keep_alive_s,
        stalled=settings.stalled_client_s,
    )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=cast(Any, partial(Connection, deadlines)),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, int(settings.shutdown_s)),
        backlog=4096,
    )
    try:
        Server(config, app).run(sockets=[listener])
    except SystemExit:
        if app.failure is None:
            raise
        raise app.failure from None
    finally:
        listener.close()


def _bind(host: str, port: int) -> socket.socket:
    """The address, taken but not listened on yet: nobody can connect before there is an answer."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol_number, _, address = found[0]
        listener = socket.socket(family, kind, protocol_number)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OSError(f"cannot listen on {host} port {port}: {reason}") from None
    return listener


def _not_told_better(record: logging.LogRecord) -> bool:
    """The command line says why a start failed; uvicorn's line that it did adds nothing."""
    return record.getMessage() != "Application startup failed. Exiting."


def _settle_memory() -> None:
    """Catalogue and code live as long as the process: the collector need not walk them again.
    Requests leave no cycles behind, so the young generation may grow before it is looked at;
    both together are a tenth of the CPU of a small request."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _lift_descriptor_limit() -> None:
    """A stream needs two sockets, and the usual soft limit of 1,024 files is soft for a reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1_048_576
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
