"""What callers name is fetched from the public Internet alone: a canary counts connections."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tollway.errors import CallerError
from tollway.upstream.egress import Egress, is_public, sniffed
from tollway.upstream.transport import tls_context

LOOPBACK = Path(__file__).parent / "loopback.pem"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


class Host:
    """A TLS server on 127.0.0.1: answers as told, counts every connection, TLS or not."""

    def __init__(self) -> None:
        self.connections = 0
        self.asked: list[bytes] = []
        self.reply = b""
        self.stalls = False
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.reply)
        if not self.stalls:
            writer.close()

    def say(
        self, body: bytes, kind: str = "image/png", status: str = "200 OK", more: str = ""
    ) -> None:
        length = f"content-length: {len(body)}\r\n"
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{length}{more}\r\n"
        self.reply = head.encode() + body


@asynccontextmanager
async def a_host() -> AsyncIterator[Host]:
    host = Host()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOOPBACK)
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0, ssl=context)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()


@asynccontextmanager
async def a_canary() -> AsyncIterator[Host]:
    """Counts connections at the socket, before any handshake."""
    host = Host()

    def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host.connections += 1
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()


def trusting(**changes: Any) -> Egress:
    """Egress for which 127.0.0.1 counts as public, and any port."""
    guards: dict[str, Any] = {"public": lambda a: a == "127.0.0.1", "ports": lambda _: True}
    return Egress(tls=tls_context(cafile=LOOPBACK), **{**guards, **changes})


async def refusal(egress: Egress, url: str) -> str:
    with pytest.raises(CallerError) as refused:
        await egress.fetch_media(url)
    assert (refused.value.status, refused.value.error_type) == (400, "image_download_failed")
    return refused.value.message.removeprefix("A media URL could not be fetched: ")


async def test_media_are_fetched_without_credentials() -> None:
    async with a_host() as host:
        host.say(PNG, "Image/PNG; charset=x")
        found = await trusting().fetch_media(f"https://127.0.0.1:{host.port}/a.png?x=1")
        assert found == (PNG, "image/png")
        head = host.asked[0].lower()
        assert head.startswith(b"get /a.png?x=1 http/1.1\r\n")
        assert not any(word in head for word in (b"authorization", b"cookie", b"referer"))


INSIDE = [
    "127.0.0.1",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "0.0.0.0",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::]",
]


@pytest.mark.parametrize("name", INSIDE)
async def test_no_connection_is_made_to_a_private_address(name: str) -> None:
    async with a_canary() as canary:
        for egress in (Egress(ports=lambda _: True), Egress()):
            said = await refusal(egress, f"https://{name}:{canary.port}/x")
            assert "could not" in said or "reached" in said or "port" in said
        await asyncio.sleep(0)
        assert canary.connections == 0
        reader, writer = await asyncio.open_connection("127.0.0.1", canary.port)
        await reader.read()
        writer.close()
        assert canary.connections == 1  # the canary is alive


async def test_a_name_that_leads_inside_among_others_is_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_canary() as canary:
        port = canary.port

        async def answers(*_: Any, **__: Any) -> list[Any]:
            row = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*row, ("93.184.216.34", port)), (*row, ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answers)
        said = await refusal(Egress(ports=lambda _: True), f"https://rebind.example:{port}/")
        assert said == "its host cannot be reached."
        assert canary.connections == 0


async def test_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that resolves differently the second time is never asked a second time."""
    async with a_host() as host, a_canary() as canary:
        host.say(PNG)
        asked: list[str] = []

        async def answers(name: str, port: int, **_: Any) -> list[Any]:
            asked.append(name)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", answers)
        connected: list[str] = []
        create = loop.create_connection

        async def spy(factory: Any, address: str, *args: Any, **more: Any) -> Any:
            connected.append(address)
            assert more["server_hostname"] == "localhost"
            return await create(factory, address, *args, **more)

        monkeypatch.setattr(loop, "create_connection", spy)
        await trusting().fetch_media(f"https://localhost:{host.port}/")
        assert (asked, connected, canary.connections) == (["localhost"], ["127.0.0.1"], 0)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://e.com/a.png", "only https:// URLs are fetched."),
        ("file:///etc/passwd", "only https:// URLs are fetched."),
        ("gopher://e.com/", "only https:// URLs are fetched."),
        ("https://", "only https:// URLs are fetched."),
        ("https://u:p@e.com/", "it holds a user name or password."),
        ("https://e.com:22/", "port 22 is not fetched from."),
        ("https://e.com:x/", "it is not a valid URL."),
        ("https://e.com\\@127.0.0.1/", "it holds a character that no URL has."),
        ("https://e.com/\r\nX: y", "it holds a character that no URL has."),
        ("https://[::1", "it is not a valid URL."),
    ],
)
async def test_what_is_no_fit_url_is_refused_by_its_form(url: str, why: str) -> None:
    assert await refusal(Egress(), url) == why


async def test_a_redirect_is_not_followed() -> None:
    async with a_host() as host, a_canary() as canary:
        host.say(b"", status="302 Found", more=f"location: https://127.0.0.1:{canary.port}/\r\n")
        said = await refusal(trusting(), f"https://127.0.0.1:{host.port}/")
        assert said == "it redirects; send the address it redirects to."
        assert canary.connections == 0


async def test_caps_on_size_are_kept_with_and_without_a_length() -> None:
    async with a_host() as host:
        small, url = trusting(bytes_max=1_000), f"https://127.0.0.1:{host.port}/"
        host.say(PNG + bytes(2_000))
        assert await refusal(small, url) == "it is larger than 1,000 bytes."
        head = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\nconnection: close\r\n\r\n"
        host.reply = head + bytes(5_000)
        assert await refusal(small, url) == "it is larger than 1,000 bytes."
        host.reply = head + bytes(900)
        assert (await small.fetch_media(url))[1] == "image/png"


async def test_a_host_that_stalls_is_not_waited_for() -> None:
    async with a_host() as host:
        host.stalls = True
        host.reply = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 9\r\n\r\nab"
        egress = trusting(fetch_s=0.05)
        assert await refusal(egress, f"https://127.0.0.1:{host.port}/") == "it took too long."


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/octet-stream", PNG, "image/png"),
        ("", b"%PDF-1.7", "application/pdf"),
        ("binary/octet-stream", b"RIFF0000WEBPVP8 ", "image/webp"),
        ("audio/mpeg", b"x", "audio/mpeg"),
        ("video/mp4", b"x", "video/mp4"),
        ("text/plain", b"x", "text/plain"),
    ],
)
async def test_types_are_said_or_seen(kind: str, body: bytes, expected: str) -> None:
    async with a_host() as host:
        host.say(body, kind)
        assert (await trusting().fetch_media(f"https://127.0.0.1:{host.port}/"))[1] == expected


@pytest.mark.parametrize(
    ("kind", "body", "status", "more", "why"),
    [
        ("application/json", b"{}", "200 OK", "", "its content is 'application/json', which is no media."),
        ("application/octet-stream", b"MZ", "200 OK", "", "its content is no media that we know."),
        ("image/png", b"", "404 Not Found", "", "it answered with status 404."),
        ("image/png", PNG, "200 OK", "content-encoding: gzip\r\n", "its content is compressed."),
    ],
)  # fmt: skip
async def test_what_is_no_media_is_refused(
    kind: str, body: bytes, status: str, more: str, why: str
) -> None:
    async with a_host() as host:
        host.say(body, kind, status, more)
        assert await refusal(trusting(), f"https://127.0.0.1:{host.port}/") == why


async def test_a_certificate_nobody_trusts_and_a_closed_port_are_told_alike() -> None:
    async with a_host() as host:
        untrusting = Egress(public=lambda _: True, ports=lambda _: True)
        said = await refusal(untrusting, f"https://127.0.0.1:{host.port}/")
    assert said == "its host cannot be reached."
    assert await refusal(untrusting, f"https://127.0.0.1:{host.port}/") == said


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1",
        "0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
        "198.18.0.1", "203.0.113.1", "::", "::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
        "ff02::1", "::ffff:8.8.8.8", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::",
        "2001::1", "2001:db8::1", "name", "",
        "100.100.100.200", "100.127.255.255", "168.63.129.16", "172.31.255.255", "192.0.0.8",
        "192.0.0.9", "192.0.0.192", "192.88.99.1", "198.19.255.255", "198.51.100.7", "239.1.1.1",
        "fec0::1", "feff::1", "febf::1", "fdff::1", "64:ff9b:1::a00:1", "64:ff9b:1:ffff::1",
        "64:ff9b::808:808", "2002:808:808::1", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe",
        "2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff::1", "3fff::1", "100::1", "5f00::1",
        "::10.0.0.1", "::8.8.8.8", "::ffff:0:a00:1", "4000::1", "fe80::1", "fc00::1%1", "1.2.3", "1.2.3.4.5",
        "010.0.0.1", "[::1]",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "100.63.255.255", "100.128.0.1",
        "168.63.129.17", "172.32.0.1", "192.0.1.1", "192.167.1.1", "198.17.255.255", "198.20.0.1",
        "223.255.255.254", "2001:200::1", "2003::1", "2a00:1450::1", "2400:cb00::1",
    ],
)  # fmt: skip
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


async def test_the_media_of_one_request_are_fetched_at_once_within_one_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_host() as host:
        host.say(PNG)
        urls = [f"https://127.0.0.1:{host.port}/{n}" for n in range(4)]
        found = await trusting().fetch_all(urls)
        assert found == dict.fromkeys(urls, (PNG, "image/png"))
        for many, why in (
            ([*urls, "http://e.com"], "only https:// URLs are fetched."),
            (urls * 6, "24 of them are more than 20."),
        ):
            with pytest.raises(CallerError, match=why):
                await trusting().fetch_all(many)
        monkeypatch.setattr("tollway.upstream.egress.TOTAL_BYTES_MAX", 3 * len(PNG))
        with pytest.raises(CallerError, match="together they are larger than"):
            await trusting().fetch_all(urls)


def test_content_is_known_by_its_first_bytes() -> None:
    starts = [PNG, b"\xff\xd8\xff\xe0", b"GIF89a", b"%PDF-1", b"RIFF0000WAVE", b"0000ftypmp42"]
    assert [sniffed(start) for start in starts] == [
        "image/png",
        "image/jpeg",
        "image/gif",
        "application/pdf",
        "audio/wav",
        "video/mp4",
    ]
    assert sniffed(b"") is None
