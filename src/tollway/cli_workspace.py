"""Words of `tollway workspace`: assignments in, a change out; a workspace in, lines out.

No database here. What may be assigned is `accounts.workspaces`, whether a name means something is
`accounts.policy_check`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from .accounts.policy_check import checked_default_model, checked_routing
from .accounts.workspaces import Routing, Workspace, WorkspaceChange
from .catalogue.entries import Catalogue

_OWN = ("name", "description", "default_text_model", "default_provider_sort")
_LISTS = tuple(
    name for name in Routing.__struct_fields__ if name.startswith(("allowed_", "ignored_"))
)


def change(assignments: Iterable[str], catalogue: Catalogue) -> WorkspaceChange:
    """`zdr=true`, `allowed_providers=openai,groq`; nothing behind the `=` takes a field away.
    Raises ValueError for what is no assignment, CallerError for a name that means nothing."""
    own: dict[str, Any] = {}
    routing: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r}: expected field=value")
        if name in _OWN:
            own[name] = value or None
        elif name in _LISTS:
            routing[name] = [part.strip() for part in value.split(",")] if value else None
        elif name in Routing.__struct_fields__:
            routing[name] = value or getattr(Routing(), name)
        else:
            known = ", ".join((*_OWN, *Routing.__struct_fields__))
            raise ValueError(f"{name}: no such field; known are {known}")
    try:
        typed = msgspec.convert(routing, Routing, strict=False)
        if own.get("default_text_model"):
            own["default_text_model"] = checked_default_model(own["default_text_model"], catalogue)
        given = {name: getattr(typed, name) for name in routing}
        fields = {**own, "routing": checked_routing(given, catalogue)} if routing else own
        return msgspec.convert(fields, WorkspaceChange)
    except msgspec.ValidationError as error:
        problem, _, at = str(error).partition(" - at `$.")
        raise ValueError(f"{at.rstrip('`')}: {problem}" if at else problem) from None


def row(workspace: Workspace) -> dict[str, Any]:
    fields = {name: getattr(workspace, name) for name in ("id", *_OWN)}
    return {**fields, "routing": msgspec.structs.asdict(workspace.routing)}


def lines(workspace: Workspace) -> list[str]:
    """One a field; what is not set is a dash."""
    fields = {**row(workspace), **msgspec.structs.asdict(workspace.routing)}
    del fields["routing"]
    width = max(map(len, fields))
    return [f"{name.ljust(width)}  {_said(value)}" for name, value in fields.items()]


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)
