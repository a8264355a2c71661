"""What the environment holds for a provider: trimmed values, and none of our own keys.

The lines that the first start prints set OPENAI_API_KEY and others to a Tollway key, for clients. In
the same shell the next start would take it for OpenAI's, and send it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..accounts.keyformat import looks_like_key


def value(environ: Mapping[str, str], name: str) -> str:
    """ "" when it is not set, empty, or a key of our own making."""
    found = environ.get(name, "").strip() if name else ""
    return "" if looks_like_key(found) else found


def own_keys(environ: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Those of `names` that hold a key of our own making, each once."""
    return [n for n in dict.fromkeys(names) if looks_like_key(environ.get(n, "").strip())]


def ignored(names: list[str]) -> str:
    """Why `names` (at least one) do not count, in words."""
    if len(names) == 1:
        return f"{names[0]} holds a Tollway key, which is no provider's"
    return f"{', '.join(names[:-1])} and {names[-1]} hold Tollway keys, which are no provider's"
