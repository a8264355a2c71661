"""The `tollway` command. Thin: every command is a call into a room, and words around it.

Rules. What a script wants has `--json` or `--plain`, on standard output alone. Errors are one line on
standard error and exit code 1; 2 is for wrong usage. Commands that touch the books work beside a
running server: both go through the same database.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from . import __version__
from .cli_presets import presets_app
from .dev.commands import dev_app
from .errors import TollwayError
from .settings import Settings, SettingsError
from .settings import load as load_settings

Home = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of database and settings.", envvar="TOLLWAY_HOME"),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]

_PLAIN: dict[str, Any] = {
    "no_args_is_help": True,
    "add_completion": False,
    "rich_markup_mode": None,
}
app = typer.Typer(help="One API endpoint for every AI model, that anyone can host.", **_PLAIN)
keys_app = typer.Typer(help="API keys.", **_PLAIN)
credits_app = typer.Typer(help="Credit of a workspace.", **_PLAIN)
catalogue_app = typer.Typer(help="Models, endpoints, prices.", **_PLAIN)
ledger_app = typer.Typer(help="The books.", **_PLAIN)
app.add_typer(keys_app, name="keys")
app.add_typer(credits_app, name="credits")
app.add_typer(catalogue_app, name="catalogue")
app.add_typer(ledger_app, name="ledger")
app.add_typer(presets_app, name="presets")
app.add_typer(dev_app, name="dev")
workspace_app = typer.Typer(help="What a workspace imposes on its requests.", **_PLAIN)
app.add_typer(workspace_app, name="workspace")


def main() -> None:
    """Entry point of the `tollway` command."""
    from .accounts.pepper import BrokenPepper
    from .catalogue.files import CatalogueError
    from .store.connect import StoreTooOld
    from .store.lock import HomeInUse
    from .store.migrate import StoreTooNew

    try:
        app(prog_name="tollway")  # also when started as `python -m tollway`
    except (SettingsError, CatalogueError, HomeInUse, OSError) as error:
        _stop(str(error))
    except (BrokenPepper, StoreTooNew, StoreTooOld) as error:
        _stop(str(error))
    except TollwayError as error:
        _stop("; ".join(getattr(error, "__notes__", ())) or error.message)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


# ---- serve ---------------------------------------------------------------------------------------


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [8787]")] = None,
    home: Home = None,
    public: Annotated[
        bool | None, typer.Option("--public", help="Allow an address others can reach.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error.")] = None,
) -> None:
    """Serve the API until Ctrl-C. The first start makes the home folder, a workspace with some
    credit, and one key, which is shown once."""
    from .http.app import App
    from .http.server import run
    from .wiring import gateway

    settings = load_settings(
        {"host": host, "port": port, "home": home, "public": public, "log_level": log_level}
    )
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    run(App(lambda: gateway(settings), lambda built: _welcome(settings, built)), settings)


def _welcome(settings: Settings, gateway: Any) -> None:
    """What the operator needs to see; the first time with the key, which is then forgotten."""
    from .upstream.variables import ignored, own_keys

    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    root = f"http://{host}:{settings.port}"
    live = sorted(gateway.reach)
    lines = [f"Tollway {__version__} at {root}/api/v1   (home {settings.home})"]
    key, gateway.first_key = gateway.first_key, None
    if key is not None:
        lines += [
            "",
            f"Your API key, shown this once:  {key}",
            f"The workspace 'default' has {settings.first_credit_usd} USD of credit, granted by you.",
            "",
            f"export OPENAI_BASE_URL={root}/api/v1",
            f"export OPENAI_API_KEY={key}",
            f"export OPENROUTER_BASE_URL={root}/api/v1",
            f"export OPENROUTER_API_KEY={key}",
            f"export ANTHROPIC_BASE_URL={root}/api",
            f"export ANTHROPIC_AUTH_TOKEN={key}",
            "",
            f"curl {root}/api/v1/chat/completions -H 'Authorization: Bearer {key}' \\",
            "  -d '"
            + '{"model": "tollway/echo", "messages": [{"role": "user", "content": "Hello"}]}'
            + "'",
            "",
        ]
    lines.append(f"Live providers: {', '.join(live)}.")
    names = (n for each in gateway.catalogue.providers.values() for n in each.auth.env)
    if own := sorted(own_keys(settings.environ, names)):
        lines.append(f"Ignored: {ignored(own)}.")
    if not set(live) - _SANDBOX:
        lines.append(
            "Only the sandbox is live. Set a provider's key (OPENAI_API_KEY, GROQ_API_KEY, …) and "
            f"start again; `{_command(settings)} doctor` lists them."
        )
    print("\n".join(lines), flush=True)


_SANDBOX = {"tollway", "tollway-b"}


def _command(settings: Settings) -> str:
    """What to type here to get this command: its name alone only where the shell would find it."""
    own = Path(sys.executable).with_name("tollway")
    if not own.exists():
        return f"{shlex.quote(sys.executable)} -m tollway"
    found = shutil.which("tollway", path=settings.environ.get("PATH", ""))
    if found is not None and Path(found).samefile(own):
        return "tollway"
    here = Path.cwd()
    return shlex.quote(str(own.relative_to(here) if own.is_relative_to(here) else own))


# ---- keys ----------------------------------------------------------------------------------------


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Option(help="What it is for.")],
    limit: Annotated[str | None, typer.Option(help="Spending limit, USD.")] = None,
    reset: Annotated[str | None, typer.Option(help="daily, weekly or monthly.")] = None,
    rpm: Annotated[int | None, typer.Option(help="Requests a minute it may make.")] = None,
    rpd: Annotated[int | None, typer.Option(help="Requests a day (UTC) it may make.")] = None,
    management: Annotated[
        bool, typer.Option("--management", help="Administers; no inference.")
    ] = False,
    workspace: Annotated[str, typer.Option(help="Whose key.")] = "default",
    plain: Annotated[bool, typer.Option("--plain", help="Print only the key.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once."""
    from .accounts.keys import NewKey, create_key
    from .money import parse_usd

    if reset not in (None, "daily", "weekly", "monthly"):
        _stop(f"--reset: expected daily, weekly or monthly, got {reset!r}", 2)
    if reset is not None and limit is None:
        _stop("--reset goes with --limit", 2)
    for option, value in (("--rpm", rpm), ("--rpd", rpd)):
        if value is not None and value < 1:
            _stop(f"{option}: expected 1 or more, got {value}", 2)
    new = NewKey(
        name=name,
        workspace_id=workspace,
        management=management,
        limit_nano=None if limit is None else _value(parse_usd, limit, "--limit"),
        limit_reset=reset,  # type: ignore[arg-type]  # checked above
        requests_per_minute=rpm,
        requests_per_day=rpd,
    )

    async def work() -> None:
        async with _books(home, make=True) as books:
            record, text = await create_key(
                books.store, books.pepper, new, now_ms=_now_ms(), entropy=secrets.token_bytes(32)
            )
        if plain:
            print(text)
        elif as_json:
            _print_json({"key": text, **_key_row(record)})
        else:
            print(f"{text}\n\nShown this once. {record.name}: {record.label}, hash {record.hash}")

    _run(work())


@keys_app.command("list")
def keys_list(
    workspace: Annotated[str, typer.Option()] = "default",
    everything: Annotated[
        bool, typer.Option("--all", help="Disabled and expired ones too.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List the keys of a workspace."""
    from .accounts.keys import PAGE_KEYS, list_keys

    async def work() -> None:
        rows: list[Any] = []
        async with _books(home) as books:
            while True:
                page = await list_keys(
                    books.store,
                    now_ms=_now_ms(),
                    workspace_id=workspace,
                    include_disabled=everything,
                    include_expired=everything,
                    offset=len(rows),
                )
                rows += page
                if len(page) < PAGE_KEYS:
                    break
        if as_json:
            _print_json([_key_row(row) for row in rows])
        else:
            _table(
                ("name", "label", "limit USD", "reset", "kind", "state", "hash"),
                [
                    (
                        row.name,
                        row.label,
                        "–" if row.limit_nano is None else _usd(row.limit_nano),
                        row.limit_reset or "–",
                        "management" if row.management else "inference",
                        "disabled" if row.disabled else "active",
                        row.hash[:16],
                    )
                    for row in rows
                ],
            )

    _run(work())


@keys_app.command("disable")
def keys_disable(
    key: Annotated[str, typer.Argument(help="Hash, the beginning of one, or the name.")],
    enable: Annotated[bool, typer.Option("--enable", help="Take it back.")] = False,
    home: Home = None,
) -> None:
    """Disable a key; a running server refuses it within two seconds."""
    from .accounts.keys import KeyChange, update_key

    async def work() -> None:
        async with _books(home) as books:
            found = await _find_key(books.store, key)
            change = KeyChange(disabled=not enable)
            record = await update_key(books.store, found, change, now_ms=_now_ms())
        print(f"{record.name} ({record.label}) is {'disabled' if record.disabled else 'active'}.")

    _run(work())


@keys_app.command("rotate")
def keys_rotate(
    key: Annotated[str, typer.Argument(help="Hash, the beginning of one, or the name.")],
    plain: Annotated[bool, typer.Option("--plain", help="Print only the key.")] = False,
    home: Home = None,
) -> None:
    """Give a key a new secret; limits and history stay, the old secret is dead."""
    from .accounts.keys import rotate_key

    async def work() -> None:
        async with _books(home) as books:
            found = await _find_key(books.store, key)
            record, text = await rotate_key(
                books.store, books.pepper, found, now_ms=_now_ms(), entropy=secrets.token_bytes(32)
            )
        print(text if plain else f"{text}\n\nShown this once. {record.name}: {record.label}")

    _run(work())


# ---- credits -------------------------------------------------------------------------------------


@credits_app.command("show")
def credits_show(
    workspace: Annotated[str, typer.Argument()] = "default",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Balance of a workspace's wallet."""
    from .accounts.workspaces import require as require_workspace
    from .ledger import reads
    from .money import usd_text_nano

    async def work() -> None:
        async with _books(home) as books:
            await books.store.read(require_workspace, workspace)
            balance = await books.store.read(reads.balance, workspace)
        posted, held = balance.posted_nano, balance.held_nano
        if as_json:
            _print_json(
                {
                    "workspace": workspace,
                    "balance_usd": usd_text_nano(posted),
                    "held_usd": usd_text_nano(held),
                    "available_usd": usd_text_nano(posted - held),
                }
            )
        else:
            print(
                f"{workspace}: {_usd(posted)} USD, of which {_usd(held)} held by running requests"
            )

    _run(work())


@credits_app.command("grant")
def credits_grant(
    workspace: Annotated[str, typer.Argument()],
    usd: Annotated[str, typer.Argument(help="Amount in USD, e.g. 20 or 0.5.")],
    home: Home = None,
) -> None:
    """Grant credit: money of the operator's own word, booked from payments_clearing."""
    from .accounts.workspaces import require as require_workspace
    from .ledger import reads
    from .ledger.entries import Transfer
    from .ledger.rows import CLEARING, WALLET
    from .money import parse_usd

    nano = _value(parse_usd, usd, "USD")
    if nano == 0:
        _stop("USD: must be more than 0", 2)

    async def work() -> None:
        async with _books(home) as books:
            await books.store.read(require_workspace, workspace)
            grant = Transfer(
                id=f"grant-{secrets.token_hex(12)}",
                workspace=workspace,
                source=CLEARING,
                target=WALLET,
                nano=nano,
                reason="operator grant",
                at_ms=_now_ms(),
            )
            await books.ledger.transfer(grant)
            balance = await books.store.read(reads.balance, workspace)
        print(f"Granted {_usd(nano)} USD; {workspace} now has {_usd(balance.posted_nano)} USD.")

    _run(work())


# ---- catalogue -----------------------------------------------------------------------------------


@catalogue_app.command("check")
def catalogue_check(home: Home = None, as_json: AsJson = False) -> None:
    """Validate the whole catalogue, your own files included; exit 1 when something is wrong."""
    from .catalogue.check import check, quirk_names
    from .catalogue.load import load
    from .dialects.quirks import QUIRKS

    settings = load_settings({"home": home})
    started = time.perf_counter()
    catalogue = load(settings.home)
    report = check(catalogue, quirk_names(load()) | QUIRKS.keys())
    if as_json:
        _print_json(
            {
                "counts": report.counts,
                "problems": list(report.problems),
                "warnings": list(report.warnings),
            }
        )
    else:
        for name, count in report.counts.items():
            print(f"{name}: {count}")
        print(f"checked in {time.perf_counter() - started:.2f} s")
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for problem in report.problems:
        print(problem, file=sys.stderr)
    if report.problems:
        raise SystemExit(1)


@catalogue_app.command("list")
def catalogue_list(
    text: Annotated[str, typer.Argument(help="Part of a slug or name.")] = "",
    live: Annotated[bool, typer.Option("--live", help="Only what can be called now.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List models with their cheapest price per million tokens."""
    from .catalogue.load import load
    from .wiring import reaches

    settings = load_settings({"home": home})
    catalogue = load(settings.home)
    reach = reaches(catalogue, settings.environ)
    rows = []
    for model in catalogue.models.values():
        if text.lower() not in f"{model.id} {model.name}".lower():
            continue
        endpoints = catalogue.endpoints.get(model.id, ())
        callable_now = [e for e in endpoints if e.provider in reach]
        if live and not callable_now:
            continue
        priced = [e for e in (callable_now or endpoints) if e.price.base.prompt is not None]
        cheapest = min(priced, key=lambda e: e.price.base.prompt or 0, default=None)
        rows.append((model, len(endpoints), len(callable_now), cheapest))
    if as_json:
        _print_json(
            [
                {"id": m.id, "type": m.type, "endpoints": n, "live_endpoints": k}
                for m, n, k, _ in rows
            ]
        )
        return
    _table(
        ("model", "type", "context", "in $/M", "out $/M", "endpoints", "live"),
        [
            (
                m.id,
                m.type,
                f"{m.context_length:,}" if m.context_length else "–",
                _per_million(c.price.base.prompt) if c else "–",
                _per_million(c.price.base.completion) if c else "–",
                str(n),
                str(k),
            )
            for m, n, k, c in rows
        ],
    )


@catalogue_app.command("show")
def catalogue_show(
    slug: Annotated[str, typer.Argument(help="A model, e.g. openai/gpt-4o-mini.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show a model and every endpoint of it."""
    import msgspec

    from .catalogue.load import load
    from .routing.lookup import lookup
    from .wiring import reaches

    settings = load_settings({"home": home})
    catalogue = load(settings.home)
    model_id, _ = lookup(catalogue, slug)
    model = catalogue.models[model_id]
    endpoints = catalogue.endpoints.get(model_id, ())
    if as_json:
        _print_json(
            {"model": msgspec.to_builtins(model), "endpoints": msgspec.to_builtins(endpoints)}
        )
        return
    reach = reaches(catalogue, settings.environ)
    print(f"{model.id}   {model.name}   {model.type}")
    print(
        f"context {model.context_length or '?'}   in {', '.join(model.input_modalities)}   "
        f"out {', '.join(model.output_modalities)}"
    )
    _table(
        ("endpoint", "provider's id", "dialect", "in $/M", "out $/M", "cached $/M", "live"),
        [
            (
                e.tag,
                e.id,
                e.dialect,
                _per_million(e.price.base.prompt),
                _per_million(e.price.base.completion),
                _per_million(e.price.base.input_cache_read),
                "yes" if e.provider in reach else "–",
            )
            for e in endpoints
        ],
    )


# ---- ledger, doctor, chat ------------------------------------------------------------------------


@ledger_app.command("audit")
def ledger_audit(home: Home = None, as_json: AsJson = False) -> None:
    """Check every invariant of the books; exit 1 and say what is wrong."""
    from .ledger.audit import audit

    async def work() -> list[Any]:
        async with _books(home) as books:
            return list(await books.store.read(audit))

    violations = _run(work())
    if as_json:
        _print_json([{"invariant": v.invariant, "detail": v.detail} for v in violations])
    else:
        for violation in violations:
            print(f"{violation.invariant}: {violation.detail}", file=sys.stderr)
        if not violations:
            print("The books are in order.")
    if violations:
        raise SystemExit(1)


@app.command()
def doctor(home: Home = None, as_json: AsJson = False) -> None:
    """What is live, what is missing, and how to mend it. Exit 1 when something is broken."""
    from .doctor import examine

    settings = load_settings({"home": home})
    findings = _run(examine(settings))
    if as_json:
        _print_json([{"state": f.state, "what": f.what, "remedy": f.remedy} for f in findings])
    else:
        for finding in findings:
            remedy = f"  → {finding.remedy}" if finding.remedy else ""
            print(f"{finding.state:8} {finding.what}{remedy}")
    if any(f.state == "broken" for f in findings):
        raise SystemExit(1)


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="A model, e.g. tollway/echo.")],
    text: Annotated[str, typer.Argument(help="What to say.")],
    url: Annotated[
        str | None,
        typer.Option(help="Base URL. [the server of this home]", envvar="OPENAI_BASE_URL"),
    ] = None,
    key: Annotated[str | None, typer.Option(help="API key.", envvar="OPENAI_API_KEY")] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Stream an answer from a running server into the terminal; with --json, one line at its end:
    id (of the generation), model, provider, usage, text."""
    from .terminal import stream_chat

    settings = load_settings({"home": home})
    if key is None:
        _stop("No API key: pass --key or set OPENAI_API_KEY (`tollway keys create` makes one).", 2)
    base = url or f"http://{settings.host}:{settings.port}/api/v1"
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    raise SystemExit(_run(stream_chat(base, key, model, messages, as_json=as_json)))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


# ---- workspaces ----------------------------------------------------------------------------------


@workspace_app.command("show")
def workspace_show(
    workspace: Annotated[str, typer.Argument(help="Which.")] = "default",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show a workspace's defaults and routing rules."""
    from .accounts.workspaces import get_workspace
    from .cli_workspace import lines, row

    async def work() -> None:
        async with _books(home) as books:
            found = await get_workspace(books.store, workspace)
        if as_json:
            _print_json(row(found))
        else:
            print("\n".join(lines(found)))

    _run(work())


@workspace_app.command("set")
def workspace_set(
    assignments: Annotated[
        list[str],
        typer.Argument(help="field=value; a list by commas; field= takes it away."),
    ],
    workspace: Annotated[str, typer.Option(help="Which.")] = "default",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Change a workspace: `set zdr=true allowed_providers=openai,groq default_provider_sort=`. A
    running server follows within a second."""
    from .accounts.workspaces import update_workspace
    from .catalogue.load import load
    from .cli_workspace import change, lines, row
    from .wiring import catalogue_here

    settings = load_settings({"home": home})
    catalogue = catalogue_here(load(settings.home), settings.environ, time.time())
    try:
        wanted = change(assignments, catalogue)
    except ValueError as error:
        _stop(str(error), 2)

    async def work() -> None:
        async with _books(home) as books:
            found = await update_workspace(books.store, workspace, wanted, now_ms=_now_ms())
        if as_json:
            _print_json(row(found))
        else:
            print("\n".join(lines(found)))

    _run(work())


# ---- helpers -------------------------------------------------------------------------------------


class _Books:
    """Store, ledger and pepper of a home, without a server."""

    def __init__(self, store: Any, ledger: Any, pepper: bytes) -> None:
        self.store = store
        self.ledger = ledger
        self.pepper = pepper


@asynccontextmanager
async def _books(home: Path | None, *, make: bool = False) -> AsyncIterator[_Books]:
    """The books of a home. With `make` a new home gets them as `serve` would make them; without,
    a mistyped home is told and stays untouched."""
    from .accounts.first_run import ensure_workspace
    from .accounts.pepper import PEPPER_BYTES, load_pepper
    from .ledger.sqlite import Ledger
    from .money import parse_usd
    from .store.sqlite import Store

    settings = load_settings({"home": home})
    if not make and not settings.database.exists():
        _stop(f"there are no books at {settings.database}; `tollway serve` makes them")
    grant_nano = _value(parse_usd, settings.first_credit_usd, "first_credit_usd")
    store = Store.open(settings.database)
    store.start(asyncio.get_running_loop())
    try:
        ledger = Ledger(store, clock_ms=_now_ms)
        pepper = load_pepper(settings.home, secrets.token_bytes(PEPPER_BYTES))
        await ensure_workspace(store, ledger, grant_nano=grant_nano, now_ms=_now_ms())
        yield _Books(store, ledger, pepper)
    finally:
        await store.close()


async def _find_key(store: Any, text: str) -> str:
    from .accounts.keys import list_keys

    rows = await list_keys(
        store, now_ms=_now_ms(), include_disabled=True, include_expired=True, limit=100_000
    )
    found = [r for r in rows if r.name == text or (len(text) >= 6 and r.hash.startswith(text))]
    if len(found) != 1:
        what = "No key" if not found else f"{len(found)} keys"
        _stop(f"{what} with hash or name {text!r}; see `tollway keys list --all`.")
    return str(found[0].hash)


def _key_row(record: Any) -> dict[str, Any]:
    return {
        "hash": record.hash,
        "name": record.name,
        "label": record.label,
        "workspace": record.workspace_id,
        "limit_usd": None if record.limit_nano is None else _usd(record.limit_nano),
        "limit_reset": record.limit_reset,
        "requests_per_minute": record.requests_per_minute,
        "requests_per_day": record.requests_per_day,
        "management": record.management,
        "disabled": record.disabled,
    }


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _value(parse: Any, text: str, name: str) -> int:
    try:
        return int(parse(text, name))
    except ValueError as error:
        _stop(str(error), 2)


def _usd(nano: int) -> str:
    from .money import usd_text_nano

    return usd_text_nano(nano)


def _per_million(rate_pico: int | None) -> str:
    from .money import usd_text

    return "–" if rate_pico is None else usd_text(rate_pico * 1_000_000)


def _table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Aligned columns; long cells are kept, so that a slug can be copied."""
    widths = [max(len(row[n]) for row in [names, *rows]) for n in range(len(names))]
    for row in [names, *rows]:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _stop(message: str, code: int = 1) -> NoReturn:
    print(f"tollway: {message}", file=sys.stderr, flush=True)
    raise SystemExit(code)


os.umask(0o077)
