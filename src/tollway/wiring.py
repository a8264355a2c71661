"""From settings to a running gateway: the one place that opens and closes everything.

Order matters and is written once: open the store, lock the home and recover the ledger, read keys and
catalogue, then the doors to providers. Closing is the reverse; the ledger is flushed last but one.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random

from .accounts.first_run import ensure_default
from .accounts.keyring import KeyRing
from .accounts.pepper import PEPPER_BYTES, load_pepper
from .catalogue.entries import Catalogue, Provider
from .catalogue.families import with_latest
from .catalogue.load import load as load_catalogue
from .errors import Unavailable
from .gateway import Gateway, Reach
from .ledger.audit import audit
from .ledger.sqlite import Ledger
from .metrics import Metrics
from .money import parse_usd, utc
from .routing.offers import Index
from .settings import Settings
from .store.health import HealthShare
from .store.sqlite import Store
from .upstream import auth, signers
from .upstream.doors import Doors
from .upstream.sandbox import SandboxTransport
from .upstream.transport import HttpTransport

log = logging.getLogger("tollway")


def reaches(catalogue: Catalogue, environ: Mapping[str, str]) -> dict[str, Reach]:
    """How each live provider is reached; providers without a credential are absent."""
    found: dict[str, Reach] = {}
    for provider in catalogue.providers.values():
        reach = _reach(provider, environ)
        if reach is not None:
            found[provider.id] = reach
    return found


def _reach(provider: Provider, environ: Mapping[str, str]) -> Reach | None:
    if not provider.enabled:
        return None
    credential = auth.credential_headers(provider, environ)
    signer = signers.signer(provider, environ) if credential is None else None
    url = auth.base_url(provider, environ)
    if (credential is None and signer is None) or url is None:
        return None
    base = f"{url}{provider.id}" if url == "sandbox:" else url.rstrip("/")
    further = {
        dialect: (auth.base_url(provider, environ, dialect) or "").rstrip("/")
        for dialect in provider.dialects
        if dialect != provider.dialect
    }
    return Reach(base, (*provider.headers.items(), *(credential or ())), further, signer)


@asynccontextmanager
async def gateway(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    random: Random | None = None,
) -> AsyncIterator[Gateway]:
    """An open gateway; leaving the context stops it: no new requests, running answers finish within
    `shutdown_s`, everything queued for the ledger reaches the disk."""
    catalogue = load_catalogue(settings.home)
    entropy = random or Random(secrets.randbits(256))
    async with AsyncExitStack() as stack:
        store = Store.open(settings.database)
        stack.push_async_callback(store.close)
        store.start(asyncio.get_running_loop())
        ledger = Ledger(store, clock_ms=lambda: int(clock() * 1000))
        await ledger.start()
        stack.push_async_callback(ledger.close)
        pepper = load_pepper(settings.home, secrets.token_bytes(PEPPER_BYTES))
        first_key = await ensure_default(
            store,
            ledger,
            pepper,
            grant_nano=parse_usd(settings.first_credit_usd, "first_credit_usd"),
            now_ms=int(clock() * 1000),
            entropy=secrets.token_bytes(32),
        )
        keys = KeyRing(store, pepper, clock)
        await keys.refresh()
        reach = reaches(catalogue, settings.environ)
        day = today(clock())
        catalogue = with_latest(catalogue, reach, day)
        upstream = Doors(HttpTransport(), SandboxTransport())
        stack.push_async_callback(upstream.close)
        built = Gateway(
            settings=settings,
            catalogue=catalogue,
            index=Index(catalogue, lambda provider: provider.id in reach),
            reach=reach,
            store=store,
            ledger=ledger,
            keys=keys,
            upstream=upstream,
            metrics=Metrics(catalogue),
            clock=clock,
            random=entropy,
        )
        await built.presets.refresh()
        await built.policies.refresh()
        built.first_key, built.latest_day = first_key, day
        share = HealthShare(store, built.health, secrets.token_hex(8))
        with suppress(Unavailable):
            await share.exchange(clock())
        _publish(built)
        works = (_housekeeping(built), _audits(built), _sharing(built, share))
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield built
        finally:
            await _drain(built)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(Unavailable):
                await share.tell(clock())


def today(now_s: float) -> str:
    """The day in UTC, YYYY-MM-DD, as the catalogue's facts spell days."""
    return utc(now_s).date().isoformat()


def catalogue_here(catalogue: Catalogue, environ: Mapping[str, str], now_s: float) -> Catalogue:
    """The catalogue with its aliases resolved among what these credentials reach."""
    return with_latest(catalogue, reaches(catalogue, environ), today(now_s))


def _publish(gateway: Gateway) -> None:
    """Figures that others keep, read at every scrape."""
    metrics, store = gateway.metrics, gateway.store
    metrics.gauge("running_requests", "Requests being answered.", lambda: gateway.running)
    metrics.gauge("holds_open", "Held and not yet settled.", lambda: len(gateway.calls))
    metrics.gauge("response_cache_bytes", "Kept answers.", lambda: gateway.shelf.bytes)
    metrics.gauge("response_cache_entries", "Kept answers.", lambda: len(gateway.shelf))
    metrics.gauge("store_healthy", "1 while commits succeed.", lambda: float(store.healthy))

    def commits() -> tuple[int, float, list[tuple[float, float]]]:
        stats = store.stats()
        return stats.commits, stats.total_s, [(0.5, stats.p50_s), (0.99, stats.p99_s)]

    metrics.summary(
        "ledger_commit_seconds", "Durable commits, mostly fsync; the last 512.", commits
    )


async def _housekeeping(gateway: Gateway) -> None:
    """Once a second: keys changed elsewhere, progress of running answers, overdue holds."""
    ticks, lost = 0, False
    while True:
        await asyncio.sleep(1)
        ticks += 1
        try:
            await gateway.keys.refresh()
            await gateway.presets.refresh()
            await gateway.refresh_policies()
            _renew_latest(gateway)
            progress = [p for call in list(gateway.calls.values()) if (p := call.progress())]
            if progress:
                gateway.ledger.progress(progress)
            if ticks % 30 == 0:
                gateway.shelf.sweep(gateway.clock())
                await gateway.ledger.expire(int(gateway.clock() * 1000))
            lost = False
        except Unavailable:
            if not lost:  # one line an outage, not one a second
                log.warning("the database does not answer; housekeeping waits for it")
            lost = True
        except Exception:  # this task must outlive any single failure
            log.exception("housekeeping failed; it goes on")


def _renew_latest(gateway: Gateway) -> None:
    """Aliases like `~author/family-latest` follow the calendar: a model retires at midnight."""
    day = today(gateway.clock())
    if day == gateway.latest_day:
        return
    gateway.catalogue = with_latest(gateway.catalogue, gateway.reach, day)
    gateway.index = Index(gateway.catalogue, gateway.live)
    gateway.latest_day = day


async def _sharing(gateway: Gateway, share: HealthShare) -> None:
    """Every few seconds: tell the home's other processes what was measured, and hear them."""
    while True:
        await asyncio.sleep(_SHARING_S)
        try:
            await share.exchange(gateway.clock())
        except Unavailable:  # housekeeping says so; meanwhile each goes by its own figures
            continue
        except Exception:  # this task must outlive any single failure
            log.exception("sharing health failed; it goes on")


_SHARING_S = 5.0


async def _audits(gateway: Gateway) -> None:
    """Check the books while they are written; a reader's snapshot, so nobody waits for it."""
    while True:
        await asyncio.sleep(gateway.settings.audit_s)
        try:
            violations = await gateway.store.read(audit)
        except Unavailable:
            continue
        gateway.metrics.audit_violations(len(violations))
        for violation in violations:
            log.error("the books are wrong: %s: %s", violation.invariant, violation.detail)


async def _drain(gateway: Gateway) -> None:
    """Let running answers finish, then stop what is left; either way each settles in its own
    task before it ends."""
    gateway.stopping = True
    if tasks := {call.task for call in gateway.calls.values()}:
        _, late = await asyncio.wait(tasks, timeout=gateway.settings.shutdown_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=2)
