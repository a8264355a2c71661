"""AWS's own signer is the oracle: the same request, keys and second give the same header."""

import random
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tollway.upstream.sigv4 import Keys, sign

SEED = 20261122
NOW_S = 1_790_000_000.75
ALPHABET = "abcXYZ019-_.~ !*'()+,;=@&$é漢%/"


def botocore_headers(
    keys: Keys,
    region: str,
    service: str,
    method: str,
    url: str,
    headers: list[tuple[str, str]],
    body: bytes,
    now_s: float,
) -> dict[str, str]:
    request: Any = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    credentials = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
    at = datetime.fromtimestamp(int(now_s), UTC).replace(tzinfo=None)
    signer: Any = auth.SigV4Auth(credentials, service, region)
    with patch.object(auth, "get_current_datetime", return_value=at):
        signer.add_auth(request)
    return {name: str(request.headers[name]) for name in request.headers}


def text(dice: random.Random, most: int = 12) -> str:
    return "".join(dice.choice(ALPHABET) for _ in range(dice.randint(0, most)))


def a_request(dice: random.Random) -> tuple[Any, ...]:
    keys = Keys(
        f"AKIA{dice.getrandbits(60):X}",
        "".join(dice.choice("abc/+=XYZ019") for _ in range(40)),
        dice.choice((None, f"tok/{dice.getrandbits(200):x}==")),
    )
    host = dice.choice(("bedrock-runtime.us-east-1.amazonaws.com", "localhost:8080", "a.b:443"))
    segments = [quote(text(dice), safe="") for _ in range(dice.randint(0, 4))]
    segments += dice.choice(([], [""], [".."], ["."], ["anthropic.claude-v1%3A0", "converse"]))
    query = "&".join(
        f"{quote(text(dice, 5) or 'n', safe='')}={quote(text(dice), safe='')}"
        for _ in range(dice.choice((0, 0, 1, 3)))
    )
    url = f"https://{host}/{'/'.join(segments)}" + (f"?{query}" if query else "")
    headers = [("Content-Type", "application/json")]
    if dice.random() < 0.5:
        headers += [("User-Agent", "x"), ("X-Amzn-Trace-Id", "t"), ("Accept", "  a   b ")]
    method = dice.choice(("POST", "GET"))
    body = dice.randbytes(dice.choice((0, 1, 300)))
    region = dice.choice(("us-east-1", "eu-west-1"))
    return keys, region, dice.choice(("bedrock", "bedrock-mantle")), method, url, headers, body


def test_a_thousand_random_requests_are_signed_as_botocore_signs_them() -> None:
    dice = random.Random(SEED)
    for n in range(1_000):
        request = a_request(dice)
        now_s = NOW_S + dice.randint(0, 10**8)
        ours = dict(sign(*request, now_s))
        theirs = botocore_headers(*request, now_s)
        assert ours.items() <= theirs.items(), f"request {n} of seed {SEED}: {request[4]}"
        assert ours["Authorization"] == theirs["Authorization"]


def test_the_model_id_in_the_path_is_encoded_again_in_what_is_signed() -> None:
    keys = Keys("AKIDEXAMPLE", "secret")
    common = (keys, "us-east-1", "bedrock", "POST")
    once = sign(*common, "https://h/model/a%3A0/converse", [], b"{}", NOW_S)
    plain = sign(*common, "https://h/model/a:0/converse", [], b"{}", NOW_S)
    assert once != plain
    assert dict(once)["X-Amz-Date"] == "20260921T141320Z"


@pytest.mark.parametrize("change", ["body", "path", "second", "header"])
def test_any_change_changes_the_signature(change: str) -> None:
    keys = Keys("AKIDEXAMPLE", "secret")
    said: list[Any] = ["https://h/x", [("content-type", "a")], b"{}", NOW_S]
    before = sign(keys, "r-1", "s", "POST", *said)
    said = {
        "body": [said[0], said[1], b"{ }", said[3]],
        "path": ["https://h/y", *said[1:]],
        "second": [*said[:3], NOW_S + 1],
        "header": [said[0], [("content-type", "b")], *said[2:]],
    }[change]
    assert sign(keys, "r-1", "s", "POST", *said)[-1] != before[-1]


def test_keys_are_not_shown() -> None:
    assert repr(Keys("AKIDEXAMPLE", "hush", "token")) == "Keys(…)"
