"""`tollway dev …`: tools for who builds on Tollway. Words around the rooms of `dev`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from .fault_proxy import FaultProxy

dev_app = typer.Typer(
    help="Tools for developers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@dev_app.callback()
def _dev() -> None:
    """Keeps the name of a single command in the command line."""


@dev_app.command("fault-proxy")
def fault_proxy(
    upstream: Annotated[str, typer.Option(help="Where requests go, e.g. http://127.0.0.1:9100.")],
    listen: Annotated[str, typer.Option(help="host:port; port 0 takes a free one.")] = (
        "127.0.0.1:9200"
    ),
    fault: Annotated[
        list[str] | None,
        typer.Option(help="A rule, e.g. 'reset@event=3 p=0.1'. May be given often."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed, the same faults.")] = 0,
    cafile: Annotated[
        Path | None, typer.Option(help="Authorities for an https upstream. [the system's]")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Allow an address others can reach.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Put faults between a client and a provider: delay, drop, reset, halfclose, stall, throttle,
    corrupt, status, garbage, truncate. docs/fault-proxy.md has the rules' words.

    Change them while it runs: curl -X PUT http://127.0.0.1:9200/__faults -d '{"faults": []}'
    """
    from ..settings import is_loopback
    from ..upstream.transport import tls_context
    from . import fault_proxy as proxies
    from .fault_grammar import GrammarError
    from .fault_plan import Faults

    host, port = _address(listen)
    if not public and not is_loopback(host):
        _stop(
            f"--listen: {host} can be reached from other machines, and whoever reaches it uses the "
            "upstream through it. If that is meant, say so with --public."
        )
    try:
        to = proxies.upstream(upstream)
    except ValueError as error:
        _stop(f"--upstream: {error}")
    texts = fault or []
    try:
        faults = Faults(texts, seed)
    except GrammarError as error:
        _stop(f"--fault {texts.index(error.text) + 1} of {len(texts)}: {error}")
    except ValueError as error:
        _stop(f"--fault: {error}")
    log = _Log(as_json)
    tls = tls_context(cafile) if to.scheme == "https" else None
    proxy = proxies.FaultProxy(faults, to, say=log.say, tls=tls)
    asyncio.run(_until_stopped(proxy, host, port, log))


async def _until_stopped(proxy: FaultProxy, host: str, port: int, log: _Log) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: Ctrl-C arrives as KeyboardInterrupt
            loop.add_signal_handler(number, stopped.set)
    bound = await proxy.start(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    log.started(url, proxy)
    try:
        await stopped.wait()
    finally:
        await proxy.close()


class _Log:
    """Standard output: a line for each thing that was done."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def started(self, url: str, proxy: FaultProxy) -> None:
        to, faults = proxy.to, proxy.faults
        target = f"{to.scheme}://{to.name}{to.path}"
        texts = [rule.text for rule in faults.rules]
        if self._as_json:
            about = {"upstream": target, "seed": faults.seed, "faults": texts}
            self.say({"event": "listening", "url": url, **about})
            return
        lines = [f"Fault proxy at {url} → {target}   (seed {faults.seed}; Ctrl-C ends it)"]
        lines += [f"  {n}. {text}" for n, text in enumerate(texts, 1)]
        if not texts:
            lines.append("  no faults: everything is passed on")
        print("\n".join(lines), flush=True)

    def say(self, event: dict[str, Any]) -> None:
        now_s = time.time()
        if self._as_json:
            print(json.dumps({"time": round(now_s, 3), **event}), flush=True)
            return
        clock = time.strftime("%H:%M:%S", time.localtime(now_s))
        who = f"#{event['request']} {event['method']} {event['path']}" if "path" in event else "–"
        what = event.get("problem") or f"{event['text']}   (rule {event['rule']})"
        if event.get("seconds") and event["fault"] == "delay":
            what += f"   {event['seconds']:.3g} s"
        print(f"{clock}.{int(now_s % 1 * 1000):03d} {who}: {what}", flush=True)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        _stop(f"--listen: {text!r} is not host:port, as in 127.0.0.1:9200")
    return host.strip("[]"), int(port)


def _stop(message: str) -> NoReturn:
    print(f"tollway: {message}", file=sys.stderr, flush=True)
    raise SystemExit(2)
