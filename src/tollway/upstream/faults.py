"""What the network can do to an attempt, in our words: exceptions to `canon.Fault`.

Not what a provider says (dialects parse that). The one place where errors of sockets, TLS, names
and HTTP framing are worded. `local` marks what says nothing about the provider: our resolver, our
routes, our own limits, our own deadline.
"""

from __future__ import annotations

import errno
import socket
import ssl

from ..canon import Fault

_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_OUR_LIMIT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def connect_failed(error: OSError) -> Fault:
    """Nothing was sent. A refusal is the provider's; a name or a route not found may be ours."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _unreachable(f"its certificate was not accepted ({error.verify_message})", error)
    if isinstance(error, ssl.SSLError):
        return _unreachable("the TLS handshake failed", error)
    if isinstance(error, socket.gaierror):
        return _unreachable("its name could not be resolved", error, local=True)
    if error.errno in _NO_ROUTE:
        return _unreachable("there is no route to it", error, local=True)
    if error.errno in _OUR_LIMIT:
        return _unreachable("we are out of sockets or memory", error, local=True)
    if isinstance(error, ConnectionRefusedError):
        return _unreachable("it refused the connection", error)
    return _unreachable("the connection failed", error)


def connect_timed_out(seconds: float) -> Fault:
    return _late(f"The provider did not accept a connection within {seconds:.3g} seconds.")


def silent(seconds: float) -> Fault:
    """No byte for longer than the idle limit, before or inside the answer."""
    return _late(f"The provider was silent for {seconds:.3g} seconds.")


def wordless(seconds: float) -> Fault:
    """Bytes came, comments mostly, but nothing was said."""
    return _late(f"The provider said nothing within {seconds:.3g} seconds.")


def out_of_time(seconds: float, *, spoke: bool) -> Fault:
    """The total deadline. A provider that was still sending when we hung up is not at fault."""
    return _late(f"The provider did not finish within {seconds:.3g} seconds.", local=spoke)


def closed_early(error: Exception | None, *, spoke: bool) -> Fault:
    """The peer closed or reset the connection before the answer was whole."""
    when = "in the middle of its answer" if spoke else "before it answered"
    return Fault(
        502,
        "provider_unavailable",
        f"The provider closed the connection {when}.",
        raw=_text(error),
    )


def not_http(problem: str) -> Fault:
    return Fault(
        502,
        "provider_unavailable",
        "The provider's answer is not valid HTTP/1.1.",
        raw=problem[:500],
    )


def cannot_send(problem: str) -> Fault:
    """The request itself can't be put on a wire: a bad base URL or header in the configuration."""
    return Fault(502, "provider_unavailable", f"Not sent: {problem}.", local=True)


def _unreachable(why: str, error: OSError, *, local: bool = False) -> Fault:
    message = f"The provider cannot be reached: {why}."
    return Fault(502, "provider_unavailable", message, raw=_text(error), local=local)


def _late(message: str, *, local: bool = False) -> Fault:
    return Fault(504, "timeout", message, local=local)


def _text(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"[:500]
