"""Running the application: uvicorn on uvloop and httptools, one process, graceful shutdown."""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
from types import FrameType

import uvicorn

from ..settings import Settings
from .app import App
from .protocol import protocol

log = logging.getLogger("tollway")


class Server(uvicorn.Server):
    """uvicorn, but a signal makes the gateway refuse new requests at once: readiness turns false
    before the listener closes, and running answers get their time."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        gateway = self._app.gateway
        if gateway is not None and not gateway.stopping:
            gateway.stopping = True
            if gateway.running:
                log.warning(
                    "stopping: %d running answers may finish within %g s; %s again cuts them off",
                    gateway.running,
                    gateway.settings.shutdown_s,
                    "Ctrl-C" if sig == signal.SIGINT else "the signal",
                )
        super().handle_exit(sig, frame)


def run(app: App, settings: Settings) -> None:
    """Serve until a signal. Raises SystemExit when start-up fails."""
    _lift_descriptor_limit()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=protocol(settings.head_timeout_s, settings.body_timeout_s),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=max(1, int(settings.shutdown_s)),
        backlog=4096,
    )
    Server(config, app).run()


def _lift_descriptor_limit() -> None:
    """A stream needs two sockets, and the usual soft limit of 1,024 files is soft for a reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1_048_576
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
