"""One exchange for all who wait, tokens kept until five minutes before their end."""

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tollway.upstream import Answer, AttemptFailed
from tollway.upstream.google_token import GoogleTokens, ServiceAccount, assertion, read_account

NOW_S = 1_790_000_000.5


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65_537, 2_048)


@pytest.fixture(scope="module")
def account(key: RSAPrivateKey) -> ServiceAccount:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return ServiceAccount("robot@p.iam", pem, "k1", "https://oauth2.example/token", "p")


class Reply:
    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}
        self._pieces = [body[:7], body[7:], b""]

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def close(self) -> None:
        self._pieces = []


class Fake:
    """A token service: counts what it is asked, answers when the gate is open."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.status = 200
        self.body = b'{"access_token": "ya29.%d", "expires_in": 3600, "token_type": "Bearer"}'
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        total_timeout_s: float,
        idle_timeout_s: float,
        on_sent: Callable[[], None] | None = None,
    ) -> Answer:
        self.asked.append((method, url, body))
        await self.gate.wait()
        number = len(self.asked)
        return Reply(self.status, self.body.replace(b"%d", b"%d" % number))

    async def close(self) -> None: ...


def decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_the_assertion_is_signed_and_says_who_asks_for_what(
    account: ServiceAccount, key: RSAPrivateKey
) -> None:
    head, claims, signature = assertion(account, NOW_S).split(".")
    assert json.loads(decoded(head)) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert json.loads(decoded(claims)) == {
        "iss": "robot@p.iam",
        "sub": "robot@p.iam",
        "aud": "https://oauth2.example/token",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "iat": 1_790_000_000,
        "exp": 1_790_003_600,
    }
    key.public_key().verify(decoded(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256())


async def test_a_token_is_kept_until_five_minutes_before_its_end(account: ServiceAccount) -> None:
    tokens, fake = GoogleTokens(account), Fake()
    assert await tokens.token(fake, NOW_S) == "ya29.1"
    assert await tokens.token(fake, NOW_S + 3_299) == "ya29.1"
    assert await tokens.token(fake, NOW_S + 3_300) == "ya29.2"
    method, url, body = fake.asked[0]
    assert (method, url) == ("POST", "https://oauth2.example/token")
    form = parse_qs(body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert form["assertion"] == [assertion(account, NOW_S)]


async def test_a_hundred_who_wait_ask_once_and_one_who_leaves_ends_nothing(
    account: ServiceAccount,
) -> None:
    tokens, fake = GoogleTokens(account), Fake()
    fake.gate.clear()
    waiting = [asyncio.ensure_future(tokens.token(fake, NOW_S)) for _ in range(100)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    fake.gate.set()
    given = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(given[0], asyncio.CancelledError)
    assert given[1:] == ["ya29.1"] * 99
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "retry"),
    [
        (400, b'{"error": "invalid_grant", "hint": "hush"}', "cool"),
        (429, b"", "elsewhere"),
        (503, b"", "elsewhere"),
        (200, b"<html>", "elsewhere"),
        (200, b'{"access_token": "a\\nb"}', "elsewhere"),
    ],
)
async def test_a_refusal_is_a_fault_and_is_not_kept(
    account: ServiceAccount, status: int, body: bytes, retry: str
) -> None:
    tokens, fake = GoogleTokens(account), Fake()
    good, fake.status, fake.body = fake.body, status, body
    with pytest.raises(AttemptFailed) as failed:
        await tokens.token(fake, NOW_S)
    fault = failed.value.fault
    assert (fault.status, fault.error_type, fault.retry) == (502, "provider_unavailable", retry)
    assert "hush" not in repr(fault)
    fake.status, fake.body = 200, good
    assert await tokens.token(fake, NOW_S) == "ya29.2"


async def test_nothing_secret_is_shown(account: ServiceAccount) -> None:
    tokens = GoogleTokens(account)
    await tokens.token(Fake(), NOW_S)
    assert repr(tokens) == "GoogleTokens(ServiceAccount('robot@p.iam', …))"
    assert "ya29" not in repr(vars(tokens))


def test_a_key_file_is_read(account: ServiceAccount, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    fields = {name: getattr(account, name) for name in account.__struct_fields__}
    file.write_text(json.dumps({"type": "service_account", **fields, "universe_domain": "x"}))
    assert read_account(str(file)) == account
    file.write_text(json.dumps({**fields, "token_uri": "http://evil/token"}))
    with pytest.raises(ValueError, match="token_uri is not an https URL"):
        read_account(str(file))
