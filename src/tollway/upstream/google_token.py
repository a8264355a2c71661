"""Google service accounts: a key file to bearer tokens, kept until shortly before they expire.

Not a search for credentials (the file is named), not a transport. Rules. A signed statement of who
we are (RS256, RFC 7523) is exchanged for a token; one exchange at a time, however many requests
wait for it; a failure is not kept. Nothing here shows the key or a token.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from ..canon import Fault
from . import AttemptFailed, Transport

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_LIFE_S = 3_600
"""The longest that Google accepts."""

RENEW_BEFORE_S = 300
"""A token with less life than this is not used: a request may take minutes to be looked at."""

EXCHANGE_TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 65_536
FILE_BYTES_MAX = 65_536


class ServiceAccount(msgspec.Struct, frozen=True):
    """The fields of a key file that matter."""

    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: str = "https://oauth2.googleapis.com/token"
    project_id: str | None = None

    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email!r}, …)"


def read_account(path: str) -> ServiceAccount:
    """The account in a key file. Raises ValueError with a sentence fit for an operator, which
    says nothing of what the file holds."""
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise ValueError(f"the file cannot be read ({error.strerror})") from None
    try:
        account = msgspec.json.decode(data, type=ServiceAccount)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("the file is not the key of a service account") from None
    if not account.token_uri.startswith("https://"):
        raise ValueError("the file's token_uri is not an https URL")
    _key(account)
    return account


def assertion(account: ServiceAccount, now_s: float) -> str:
    """The signed JWT that is exchanged for a token. `now_s` in Unix seconds."""
    header = {"alg": "RS256", "typ": "JWT", "kid": account.private_key_id}
    claims = {
        "iss": account.client_email,
        "sub": account.client_email,
        "aud": account.token_uri,
        "scope": SCOPE,
        "iat": int(now_s),
        "exp": int(now_s) + ASSERTION_LIFE_S,
    }
    text = b".".join(_base64url(msgspec.json.encode(part)) for part in (header, claims))
    return (text + b"." + _base64url(_key(account)(text))).decode()


class GoogleTokens:
    """Tokens of one account, for as many requests as like. Belongs to one process."""

    def __init__(self, account: ServiceAccount) -> None:
        self._account = account
        self._token: _Token | None = None
        self._asking: asyncio.Task[_Token] | None = None

    def __repr__(self) -> str:
        return f"GoogleTokens({self._account!r})"

    async def token(self, transport: Transport, now_s: float) -> str:
        """A token with at least five minutes to live. Raises AttemptFailed."""
        token = self._token
        if token is None or now_s >= token.renew_at_s:
            token = await asyncio.shield(self._exchange(transport, now_s))
        return token.value

    def _exchange(self, transport: Transport, now_s: float) -> asyncio.Task[_Token]:
        """The exchange that is under way in this loop, or a new one."""
        task = self._asking
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = asyncio.ensure_future(_exchanged(self._account, transport, now_s))
            task.add_done_callback(self._done)
            self._asking = task
        return task

    def _done(self, task: asyncio.Task[_Token]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._token = task.result()


class _Token(msgspec.Struct, frozen=True):
    value: str
    renew_at_s: float

    def __repr__(self) -> str:
        return "_Token(…)"


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float = 3_600


async def _exchanged(account: ServiceAccount, transport: Transport, now_s: float) -> _Token:
    # RSA takes a millisecond or two; once an hour that is not worth a thread.
    form = urlencode({"grant_type": GRANT, "assertion": assertion(account, now_s)})
    answer = await transport.open(
        "POST",
        account.token_uri,
        [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")],
        form.encode(),
        total_timeout_s=EXCHANGE_TIMEOUT_S,
        idle_timeout_s=EXCHANGE_TIMEOUT_S,
    )
    try:
        body = bytearray()
        while len(body) < ANSWER_BYTES_MAX and (data := await answer.read()):
            body += data
    finally:
        await answer.close()
    if answer.status != 200:
        raise AttemptFailed(_refused(answer.status))
    try:
        granted = msgspec.json.decode(bytes(body), type=_Granted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise AttemptFailed(_refused(answer.status)) from None
    if not granted.access_token.isascii() or not granted.access_token.isprintable():
        raise AttemptFailed(_refused(answer.status))
    return _Token(granted.access_token, now_s + granted.expires_in - RENEW_BEFORE_S)


def _refused(status: int) -> Fault:
    """The account is ours to mend, unless the token service is out of order."""
    ours = 400 <= status < 500 and status != 429
    return Fault(
        status=502,
        error_type="provider_unavailable",
        message="The provider's sign-in service gave no token.",
        retry="cool" if ours else "elsewhere",
        provider_code=f"token_{status}",
    )


def _key(account: ServiceAccount) -> Callable[[bytes], bytes]:
    """The account's RS256 signature. Raises ValueError for what is not an RSA key.

    The library is imported here: it would cost every start some 80 ms, and most have no such account.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(account.private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("the file's private_key is not a PEM key") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the file's private_key is not an RSA key")
    return lambda data: key.sign(data, PKCS1v15(), SHA256())


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
