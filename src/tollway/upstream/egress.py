"""The one client for addresses that callers name: media to be fetched for providers that take bytes.

Not for providers (transport). Rules: https on its own ports; every address of the name must be
public, and the connection goes to the very address that was checked; no redirects, proxies,
credentials, cookies or decompression; caps on size and time; known kinds of content only. What
went wrong below HTTP is told in one sentence for all cases, so that nobody can map our network by
the differences.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from .. import errors
from ..canon import Fault
from . import AttemptFailed
from .resolve import Resolver
from .transport import HttpTransport, tls_context

PORTS = frozenset({443, 8443})
MEDIA_BYTES_MAX = 20 * 1024 * 1024
"""More than any provider takes for one image or document."""

URLS_MAX = 20
TOTAL_BYTES_MAX = 40 * 1024 * 1024
"""Of one request: what is fetched is held in memory, and again as base64."""

FETCH_S = 10.0
"""From the name to the last byte: the caller is waiting for another answer."""

CONTENT_TYPES = frozenset(
    {
        "application/pdf",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/csv",
        "text/html",
        "text/markdown",
        "text/plain",
    }
)
CONTENT_FAMILIES = ("audio/", "video/")
_UNSAID = frozenset({"", "application/octet-stream", "binary/octet-stream"})
"""Types that stores give to what they know nothing of: the content itself is looked at."""


def is_public(address: str) -> bool:
    """The address belongs to the public Internet, and is no way to another one: IPv6 addresses that
    carry an IPv4 address (mapped, NAT64, 6to4, Teredo) could lead inside, and no server on the
    Internet needs to be reached by them."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _CLOSED_V4)
    return ip in _OPEN_V6 and not any(ip in network for network in _CLOSED_V6)


# IANA's registries of special-purpose addresses, written out: what Python's `is_global` says of them
# differs between its versions, and 3.11 takes 192.0.0.8 and fec0::1 for public.
_CLOSED_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # carriers' NAT; Alibaba's metadata
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's platform, reachable from every machine there
            "169.254.0.0/16",  # link-local; most clouds' metadata
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
"""Global unicast. Outside are loopback, IPv4-mapped and -compatible, NAT64 (64:ff9b::/96,
64:ff9b:1::/48), discard, unique local, link-local, site-local and multicast addresses."""

_CLOSED_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
        ),
    )
)


class Egress:
    """Fetches media. The guards are arguments for tests alone."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        public: Callable[[str], bool] = is_public,
        ports: Callable[[int], bool] = PORTS.__contains__,
        bytes_max: int = MEDIA_BYTES_MAX,
        fetch_s: float = FETCH_S,
    ) -> None:
        self._tls = tls
        self._public = public
        self._ports = ports
        self._bytes_max = bytes_max
        self._fetch_s = fetch_s

    async def fetch_media(self, url: str) -> tuple[bytes, str]:
        """The content and its media type, lower case without parameters. Raises CallerError (400,
        `image_download_failed`)."""
        return await self._guarded(url, _Budget(TOTAL_BYTES_MAX))

    async def fetch_all(self, urls: Sequence[str]) -> dict[str, tuple[bytes, str]]:
        """The same for the media of one request, at once, within a cap on all together. Raises
        CallerError for the first that fails; the others are then given up."""
        if len(urls) > URLS_MAX:
            raise _failed(f"{len(urls)} of them are more than {URLS_MAX}")
        budget = _Budget(TOTAL_BYTES_MAX)
        tasks = [asyncio.ensure_future(self._guarded(url, budget)) for url in urls]
        try:
            return dict(zip(urls, await asyncio.gather(*tasks), strict=True))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, url: str, budget: _Budget) -> tuple[bytes, str]:
        _check(url, self._ports)
        if self._tls is None:
            self._tls = tls_context()
        # One transport a fetch: nothing of a connection or a name is kept for the next caller.
        transport = HttpTransport(tls=self._tls, resolver=lambda: _Guarded(self._public))
        try:
            return await self._fetch(transport, url, budget)
        except AttemptFailed as failed:
            raise _failed(_why(failed.fault)) from None
        finally:
            await transport.close()

    async def _fetch(
        self, transport: HttpTransport, url: str, budget: _Budget
    ) -> tuple[bytes, str]:
        answer = await transport.open(
            "GET",
            url,
            [("Accept", "image/*, application/pdf, audio/*, video/*, text/*;q=0.5")],
            b"",
            total_timeout_s=self._fetch_s,
            idle_timeout_s=self._fetch_s,
        )
        headers = answer.headers
        if 300 <= answer.status < 400:
            raise _failed("it redirects; send the address it redirects to")
        if answer.status != 200:
            raise _failed(f"it answered with status {answer.status}")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise _failed("its content is compressed")
        said = headers.get("content-type", "").partition(";")[0].strip().lower()
        if said not in _UNSAID and not _known(said):
            raise _failed(f"its content is {said[:60]!r}, which is no media")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._bytes_max:
            raise self._too_large()
        body = bytearray()
        while data := await answer.read():
            body += data
            budget.spend(len(data))
            if len(body) > self._bytes_max:
                raise self._too_large()
        content = bytes(body)
        kind = sniffed(content) if said in _UNSAID else said
        if kind is None:
            raise _failed("its content is no media that we know")
        return content, kind

    def _too_large(self) -> errors.CallerError:
        return _failed(f"it is larger than {self._bytes_max:,} bytes")


class _Budget:
    """Bytes that the media of one request may have together. Mutable, of one request."""

    def __init__(self, bytes_max: int) -> None:
        self._left = bytes_max

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _failed(f"together they are larger than {TOTAL_BYTES_MAX:,} bytes")


def sniffed(content: bytes) -> str | None:
    """The media type that the first bytes tell, None for none that we know."""
    for start, kind in _MAGIC:
        if content.startswith(start):
            return kind
    if content[:4] == b"RIFF" and content[8:12] in (b"WEBP", b"WAVE"):
        return "image/webp" if content[8:12] == b"WEBP" else "audio/wav"
    return "video/mp4" if content[4:8] == b"ftyp" else None


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)


class _Guarded(Resolver):
    """Gives only addresses that may be connected to; one that may not forbids the name."""

    def __init__(self, public: Callable[[str], bool]) -> None:
        super().__init__()
        self._public = public

    async def addresses(self, host: str, port: int, now_s: float) -> tuple[str, ...]:
        found = await super().addresses(host, port, now_s)
        if not all(self._public(address) for address in found):
            raise OSError("the name leads to an address that is not public")
        return found


def _check(url: str, ports: Callable[[int], bool]) -> None:
    """The form of the URL. What the host's name leads to is seen when it is resolved."""
    if any(c <= " " or c == "\x7f" or c == "\\" for c in url):
        raise _failed("it holds a character that no URL has")
    try:
        parts = urlsplit(url)
        port, host = parts.port or 443, parts.hostname
    except ValueError:
        raise _failed("it is not a valid URL") from None
    if parts.scheme != "https" or not host:
        raise _failed("only https:// URLs are fetched")
    if parts.username is not None or parts.password is not None:
        raise _failed("it holds a user name or password")
    if not ports(port):
        raise _failed(f"port {port} is not fetched from")


def _known(kind: str) -> bool:
    return kind in CONTENT_TYPES or kind.startswith(CONTENT_FAMILIES)


def _why(fault: Fault) -> str:
    return "it took too long" if fault.error_type == "timeout" else "its host cannot be reached"


def _failed(why: str) -> errors.CallerError:
    return errors.CallerError(
        f"A media URL could not be fetched: {why}.", error_type="image_download_failed"
    )
