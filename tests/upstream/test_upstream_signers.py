"""From a provider's facts and an environment to a signer, and to a reach of the gateway."""

import json
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tollway.catalogue.entries import Auth, Catalogue, Provider
from tollway.catalogue.load import load
from tollway.gateway import Reach
from tollway.upstream import AttemptFailed
from tollway.upstream.doors import Doors
from tollway.upstream.sandbox import SandboxTransport
from tollway.upstream.signers import AwsSignature, GoogleBearer, signer
from tollway.upstream.sigv4 import Keys, sign
from tollway.upstream.transport import HttpTransport
from tollway.wiring import reaches

KEYS = {"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_REGION": "eu-west-1"}


def shipped(tmp_path: Path) -> Catalogue:
    return load(tmp_path)


async def test_bedrock_is_reached_by_signing_every_request(tmp_path: Path) -> None:
    reach = reaches(shipped(tmp_path), KEYS)["amazon-bedrock"]
    assert reach.base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    assert reach.headers == ()
    assert isinstance(reach.signer, AwsSignature)
    doors = Doors(HttpTransport(), SandboxTransport())
    given = ([("Content-Type", "application/json")], b"{}")
    url = reach.url("bedrock_converse", "/model/m%3A0/converse")
    made = await reach.signer.headers("POST", url, *given, now_s=1_790_000_000, transport=doors)
    keys = Keys("AKIA1", "hush")
    assert made == sign(keys, "eu-west-1", "bedrock", "POST", url, *given, 1_790_000_000)
    assert "hush" not in f"{reach!r} {reach.signer!r} {vars(reach.signer)!r}"
    await doors.close()


def test_a_bedrock_key_needs_no_signer(tmp_path: Path) -> None:
    environ = {"AWS_BEARER_TOKEN_BEDROCK": "abc", "AWS_REGION": "us-east-1", **KEYS}
    reach = reaches(shipped(tmp_path), environ)["amazon-bedrock"]
    assert (reach.headers, reach.signer) == ((("Authorization", "Bearer abc"),), None)


def test_without_a_region_or_half_a_key_bedrock_is_not_live(tmp_path: Path) -> None:
    catalogue = shipped(tmp_path)
    for name in KEYS:
        environ = {other: value for other, value in KEYS.items() if other != name}
        assert "amazon-bedrock" not in reaches(catalogue, environ)


def test_vertex_is_reached_with_a_key_file(tmp_path: Path) -> None:
    pem = generate_private_key(65_537, 2_048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"client_email": "robot@p", "private_key": pem.decode()}))
    environ = {
        "GOOGLE_APPLICATION_CREDENTIALS": str(file),
        "GOOGLE_VERTEX_LOCATION": "global",
        "GOOGLE_VERTEX_PROJECT": "p1",
    }
    reach = reaches(shipped(tmp_path), environ)["google-vertex"]
    assert isinstance(reach.signer, GoogleBearer)
    assert reach.url("vertex_anthropic", "/x") == (
        "https://aiplatform.googleapis.com/v1/projects/p1/locations/global/x"
    )


def test_each_dialect_goes_to_its_own_base_url(tmp_path: Path) -> None:
    reach = reaches(shipped(tmp_path), {"AZURE_API_KEY": "k", "AZURE_RESOURCE_NAME": "res"})
    azure = reach["azure-ai"]
    assert azure.url("openai_chat", "/chat/completions") == (
        "https://res.services.ai.azure.com/openai/v1/chat/completions"
    )
    assert azure.url("anthropic_messages", "/messages") == (
        "https://res.services.ai.azure.com/anthropic/v1/messages"
    )
    assert azure.headers == (("api-key", "k"),)


def test_a_dialect_whose_url_has_an_empty_place_cannot_be_called() -> None:
    reach = Reach("https://a", (), {"other": ""})
    assert reach.url("first", "/p") == "https://a/p"
    with pytest.raises(AttemptFailed) as failed:
        reach.url("other", "/p")
    assert failed.value.fault.local


def test_a_scheme_without_a_signer_has_none() -> None:
    provider = Provider("p", "P", base_url="https://p", auth=Auth(scheme="oci-signature"))
    assert signer(provider, KEYS) is None
    other = msgspec.structs.replace(provider, auth=Auth(scheme="oauth2-bearer", env=("X",)))
    assert signer(other, {"X": "y"}) is None
