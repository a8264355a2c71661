"""`tollway doctor`: what is live, what is missing, how to mend it. Looks, changes nothing."""

from __future__ import annotations

import os
import stat
from typing import Literal

import apsw
import msgspec

from .catalogue.entries import Catalogue, Provider
from .catalogue.load import load
from .dialects import OUTBOUND
from .errors import TollwayError
from .ledger.audit import audit
from .settings import Settings
from .store.sqlite import Store
from .upstream import auth
from .wiring import reaches


class Finding(msgspec.Struct, frozen=True):
    state: Literal["ok", "live", "missing", "waiting", "broken"]
    """waiting: in the directory, but its dialect is not spoken yet."""
    what: str
    remedy: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """Everything an operator may want to know before asking for help. Raises CatalogueError for a
    broken provider file: that one line is then all there is to know."""
    catalogue = load(settings.home)
    return [
        Finding("ok", f"SQLite {apsw.sqlite_lib_version()} through apsw {apsw.apsw_version()}"),
        *_home(settings),
        *await _books(settings),
        Finding("ok", f"catalogue: {len(catalogue.models)} models"),
        *_providers(settings, catalogue),
    ]


def _home(settings: Settings) -> list[Finding]:
    home = settings.home
    if not home.exists():
        return [Finding("missing", f"home {home}", "`tollway serve` makes it")]
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o077:
        return [Finding("broken", f"home {home} can be read by others", f"chmod 700 {home}")]
    if not os.access(home, os.W_OK):
        return [Finding("broken", f"home {home} cannot be written", "mend its owner or mode")]
    return [Finding("ok", f"home {home}")]


async def _books(settings: Settings) -> list[Finding]:
    if not settings.database.exists():
        return [Finding("missing", "database", "`tollway serve` makes it")]
    try:
        store = Store.open(settings.database)
    except TollwayError:
        return [Finding("broken", f"database {settings.database} cannot be opened", "restore it")]
    try:
        violations = await store.read(audit)
    finally:
        await store.close()
    if violations:
        return [Finding("broken", "the books are not in order", "`tollway ledger audit` says what")]
    return [Finding("ok", "the books are in order")]


def _providers(settings: Settings, catalogue: Catalogue) -> list[Finding]:
    """Live ones, then those that need only a credential, by how many models they would bring."""
    reach = reaches(catalogue, settings.environ)
    served: dict[str, int] = {}
    for endpoints in catalogue.endpoints.values():
        for endpoint in endpoints:
            if endpoint.dialect in OUTBOUND:
                served[endpoint.provider] = served.get(endpoint.provider, 0) + 1
    live, missing, waiting = [], [], []
    for provider in catalogue.providers.values():
        count = served.get(provider.id, 0)
        if provider.id in reach and count:
            live.append(Finding("live", f"{provider.name}: {count} endpoints"))
        elif provider.enabled and count:
            missing.append((count, _wanting(provider, count, settings)))
        elif provider.enabled and _listed(catalogue, provider):
            waiting.append(provider.name)
    found = [*live, *(f for _, f in sorted(missing, key=lambda pair: -pair[0]))]
    if waiting:
        names = ", ".join(sorted(waiting))
        found.append(Finding("waiting", f"listed, but in a dialect not spoken yet: {names}"))
    return found


def _wanting(provider: Provider, count: int, settings: Settings) -> Finding:
    remedy = auth.why_not_live(provider, settings.environ)
    return Finding("missing", f"{provider.name}: {count} endpoints", remedy)


def _listed(catalogue: Catalogue, provider: Provider) -> bool:
    return any(
        endpoint.provider == provider.id
        for endpoints in catalogue.endpoints.values()
        for endpoint in endpoints
    )
