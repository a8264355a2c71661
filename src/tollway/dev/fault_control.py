"""`/__faults` on the fault proxy: GET tells the rules and their counts, PUT replaces them.

For this machine only, whatever address the proxy listens on: the peer must be loopback, and so must
the name it asked for, or a page in a browser could be made to call it under a name of its own.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..settings import is_loopback
from .fault_grammar import GrammarError
from .fault_plan import Faults

PATH: Final = "/__faults"
BODY_BYTES_MAX: Final = 64 * 1024


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """What PUT takes. Without a seed the old one stays; counters begin again either way."""

    faults: list[str]
    seed: int | None = None


def answer(
    faults: Faults, method: str, sent: bytes, *, peer: str, host: list[str]
) -> tuple[int, Any]:
    """(status, JSON)."""
    if not is_loopback(peer.removeprefix("::ffff:")) or not all(map(_is_here, host)):
        return _problem(403, f"{PATH} answers this machine only")
    if method == "GET":
        return 200, state(faults)
    if method != "PUT":
        return _problem(405, f"{PATH} takes GET and PUT")
    if len(sent) > BODY_BYTES_MAX:
        return _problem(413, f"more than {BODY_BYTES_MAX} bytes")
    try:
        wanted = msgspec.json.decode(sent, type=Wanted)
        faults.set(wanted.faults, wanted.seed)
    except GrammarError as error:
        place = wanted.faults.index(error.text)
        more = {"fault": place, "column": error.column}
        return _problem(400, f"faults[{place}], column {error.column}: {error.problem}", more)
    except (msgspec.MsgspecError, ValueError) as error:
        return _problem(400, f'{error}; expected {{"faults": ["delay=2s"], "seed": 1}}')
    return 200, state(faults)


def state(faults: Faults) -> dict[str, Any]:
    """`seen`: requests (or connections) a rule was meant for; `injected`: those it broke."""
    counts = zip(faults.rules, faults.seen, faults.injected, strict=True)
    rows = [{"fault": r.text, "seen": seen, "injected": done} for r, seen, done in counts]
    return {"seed": faults.seed, "faults": rows}


def _is_here(host: str) -> bool:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return is_loopback(name)


def _problem(status: int, message: str, more: dict[str, Any] | None = None) -> tuple[int, Any]:
    return status, {"error": {"message": message, **(more or {})}}
