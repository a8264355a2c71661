"""`tollway presets …`: what the API does not do with presets, and a look at them.

Presets are made through the API, from the body of a request; here they are listed, shown, rolled
back, switched off and deleted. Works beside a running server, which follows within a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

presets_app = typer.Typer(
    help="Presets of a workspace.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Home = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of database and settings.", envvar="TOLLWAY_HOME"),
]
Slug = Annotated[str, typer.Argument(help="The preset.")]
Workspace = Annotated[str, typer.Option(help="Whose preset.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
LISTED_MOST = 100_000
"""Above what a workspace may have."""


@presets_app.command("list")
def presets_list(
    workspace: Workspace = "default", home: Home = None, as_json: AsJson = False
) -> None:
    """List the presets of a workspace, newest first."""
    from .accounts import presets
    from .cli import _print_json, _table
    from .http.replies import iso

    found, _ = _read(home, presets.page, workspace, offset=0, limit=LISTED_MOST)
    rows: list[tuple[str, ...]] = [
        (p.slug, p.status, iso(p.created_ms) or "", iso(p.updated_ms) or "") for p in found
    ]
    names = ("slug", "status", "created", "updated")
    if as_json:
        _print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        _table(names, rows)


@presets_app.command("show")
def presets_show(
    slug: Slug,
    version: Annotated[int | None, typer.Option(help="Its number. [the one in force]")] = None,
    workspace: Workspace = "default",
    home: Home = None,
) -> None:
    """Show a version of a preset, as JSON."""
    from .accounts import presets
    from .cli import _print_json

    slug = slug.lower()
    preset, shown = _read(home, presets.with_version, workspace, slug)
    in_force = shown.number
    if version is not None:
        shown = _read(home, presets.version_of, workspace, slug, version)
    _print_json(
        {
            "slug": preset.slug,
            "status": preset.status,
            "version": shown.number,
            "in_force": in_force,
            "system_prompt": shown.system_prompt,
            "config": shown.config,
        }
    )


@presets_app.command("use")
def presets_use(
    slug: Slug,
    version: Annotated[int, typer.Argument(help="The version to put in force.")],
    workspace: Workspace = "default",
    home: Home = None,
) -> None:
    """Put an earlier (or later) version in force. The next one made takes its place again."""
    from .accounts import presets
    from .cli import _now_ms

    _write(home, presets.designate, workspace, slug.lower(), version, _now_ms())
    print(f"{slug.lower()}: version {version} is in force.")


@presets_app.command("disable")
def presets_disable(
    slug: Slug,
    archive: Annotated[bool, typer.Option("--archive", help="Refuse new versions too.")] = False,
    workspace: Workspace = "default",
    home: Home = None,
) -> None:
    """Requests that name the preset are refused."""
    from .accounts import presets
    from .cli import _now_ms

    status = "archived" if archive else "disabled"
    _write(home, presets.set_status, workspace, slug.lower(), status, _now_ms())
    print(f"{slug.lower()} is {status}.")


@presets_app.command("enable")
def presets_enable(slug: Slug, workspace: Workspace = "default", home: Home = None) -> None:
    """Take `disable` back."""
    from .accounts import presets
    from .cli import _now_ms

    _write(home, presets.set_status, workspace, slug.lower(), "active", _now_ms())
    print(f"{slug.lower()} is active.")


@presets_app.command("delete")
def presets_delete(slug: Slug, workspace: Workspace = "default", home: Home = None) -> None:
    """Delete a preset with all its versions. Generations that used it keep its id."""
    from .accounts import presets

    _write(home, presets.delete, workspace, slug.lower())
    print(f"{slug.lower()} is deleted.")


def _read(home: Path | None, fn: Any, *args: Any, **kwargs: Any) -> Any:
    return _in_store(home, lambda store: store.read(fn, *args, **kwargs))


def _write(home: Path | None, fn: Any, *args: Any) -> Any:
    return _in_store(home, lambda store: store.write(fn, *args))


def _in_store(home: Path | None, ask: Any) -> Any:
    from .cli import _books, _run

    async def work() -> Any:
        async with _books(home) as books:
            return await ask(books.store)

    return _run(work())
