"""Credentials and base URLs from an environment given as an argument."""

import pickle
from pathlib import Path

import msgspec
import pytest

from tollway.accounts.keyformat import key_text
from tollway.catalogue.entries import Auth, Provider
from tollway.upstream.auth import Secret, base_url, credential_headers, why_not_live
from tollway.upstream.signers import signer

GROQ = Provider(
    "groq", "Groq", base_url="https://api.groq.com/openai/v1", auth=Auth(env=("GROQ_API_KEY",))
)
GEMINI = Provider(
    "gemini",
    "Gemini",
    base_url="https://g/v1",
    auth=Auth(env=("GEMINI_API_KEY", "GOOGLE_API_KEY"), header="x-goog-api-key", format="{key}"),
)
CLOUDFLARE = Provider(
    "cloudflare",
    "Cloudflare",
    base_url="https://cf/{account}/ai/{account}/{gateway}",
    variables={"account": "CF_ACCOUNT", "gateway": "CF_GATEWAY"},
    auth=Auth(env=("CF_TOKEN", "CF_COMPARTMENT_ID")),
)


def test_a_key_becomes_the_header_its_provider_asks_for() -> None:
    assert credential_headers(GROQ, {"GROQ_API_KEY": " gsk-1\n"}) == (
        ("Authorization", "Bearer gsk-1"),
    )
    assert credential_headers(GEMINI, {"GEMINI_API_KEY": "k"}) == (("x-goog-api-key", "k"),)


def test_another_spelling_of_the_key_counts_but_not_another_kind_of_variable() -> None:
    assert credential_headers(GEMINI, {"GOOGLE_API_KEY": "k2"}) == (("x-goog-api-key", "k2"),)
    assert credential_headers(CLOUDFLARE, {"CF_COMPARTMENT_ID": "ocid"}) is None


def test_a_provider_without_credentials_needs_none() -> None:
    local = Provider("local", "Local", base_url="http://l/v1", auth=Auth(scheme="none"))
    assert credential_headers(local, {}) == ()
    assert why_not_live(local, {}) == ""


@pytest.mark.parametrize("value", ["", "  \n ", "a\nb", "a\x00", "ключ", "a\u200bb", "x\x7f"])
def test_a_value_that_is_empty_or_unfit_for_a_header_is_no_key(value: str) -> None:
    assert credential_headers(GROQ, {"GROQ_API_KEY": value}) is None
    assert why_not_live(GROQ, {"GROQ_API_KEY": value}) == (
        "GROQ_API_KEY holds a line break or another character that no header may hold"
        if value.strip()
        else "set GROQ_API_KEY"
    )


OWN = key_text(bytes(32))


def test_a_tollway_key_is_no_credential_of_a_provider_and_it_is_said_in_words() -> None:
    own = {"GROQ_API_KEY": f" {OWN}\n", "GEMINI_API_KEY": OWN, "GOOGLE_API_KEY": OWN}
    assert credential_headers(GROQ, own) is None
    assert why_not_live(GROQ, own) == (
        "set GROQ_API_KEY (GROQ_API_KEY holds a Tollway key, which is no provider's)"
    )
    assert why_not_live(GEMINI, own) == (
        "set GEMINI_API_KEY or GOOGLE_API_KEY (GEMINI_API_KEY and GOOGLE_API_KEY hold Tollway keys, "
        "which are no provider's)"
    )
    mixed = {**own, "GOOGLE_API_KEY": "k2"}
    assert credential_headers(GEMINI, mixed) == (("x-goog-api-key", "k2"),)
    assert why_not_live(GEMINI, mixed) == ""
    typo = {"GROQ_API_KEY": OWN[:-1] + "!"}
    assert credential_headers(GROQ, typo) is not None, "only what is certainly ours is ignored"


def test_no_signature_is_made_with_a_tollway_key() -> None:
    keys = {**REGION, "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": OWN}
    assert signer(BEDROCK, keys) is None
    assert why_not_live(BEDROCK, keys) == (
        "set AWS_SECRET_ACCESS_KEY (AWS_SECRET_ACCESS_KEY holds a Tollway key, which is no provider's)"
    )
    bearer = {**REGION, "AWS_BEARER_TOKEN_BEDROCK": OWN}
    assert credential_headers(BEDROCK, bearer) is None


@pytest.mark.parametrize("scheme", ["aws-sigv4", "oauth2-bearer", "oci-signature"])
def test_a_scheme_that_cannot_be_signed_for_is_not_live_and_says_so(scheme: str) -> None:
    provider = Provider("p", "P", base_url="https://p", auth=Auth(scheme=scheme, env=("P_KEY",)))
    assert credential_headers(provider, {"P_KEY": "k"}) is None
    assert why_not_live(provider, {"P_KEY": "k"}) == (
        f"its sign-in scheme {scheme} is not supported yet"
    )


def test_placeholders_of_the_base_url_are_filled_from_the_environment() -> None:
    environ = {"CF_ACCOUNT": "acc", "CF_GATEWAY": "https://gw.example:8443/"}
    assert base_url(CLOUDFLARE, environ) == "https://cf/acc/ai/acc/gw.example:8443"
    assert base_url(CLOUDFLARE, {"CF_ACCOUNT": "acc"}) is None
    assert base_url(GROQ, {}) == "https://api.groq.com/openai/v1"


@pytest.mark.parametrize("value", ["a/b", "a b", "a@evil", "a?b", "a#b", "..\\", "a\nb", "a%2fb"])
def test_a_variable_cannot_lead_the_url_elsewhere(value: str) -> None:
    environ = {"CF_TOKEN": "t", "CF_ACCOUNT": value, "CF_GATEWAY": "g"}
    assert base_url(CLOUDFLARE, environ) is None
    assert why_not_live(CLOUDFLARE, environ).startswith("CF_ACCOUNT is not fit for a URL")


def test_the_reason_lists_everything_that_is_missing() -> None:
    assert why_not_live(GROQ, {}) == "set GROQ_API_KEY"
    assert why_not_live(GEMINI, {}) == "set GEMINI_API_KEY or GOOGLE_API_KEY"
    assert why_not_live(CLOUDFLARE, {}) == "set CF_TOKEN and CF_ACCOUNT and CF_GATEWAY"
    assert why_not_live(CLOUDFLARE, {"CF_TOKEN": "t", "CF_ACCOUNT": "a", "CF_GATEWAY": "g"}) == ""


def test_a_provider_that_is_switched_off_says_because_of_what() -> None:
    off = msgspec.structs.replace(GROQ, enabled=False, disabled_because="base URL unconfirmed")
    assert why_not_live(off, {"GROQ_API_KEY": "k"}) == "switched off: base URL unconfirmed"
    nowhere = msgspec.structs.replace(GROQ, base_url=None)
    assert why_not_live(nowhere, {"GROQ_API_KEY": "k"}).startswith("its base URL is not known")


BEDROCK = Provider(
    "bedrock",
    "Bedrock",
    base_url="https://bedrock-runtime.{region}.amazonaws.com",
    variables={"region": "AWS_REGION"},
    auth=Auth(
        scheme="aws-sigv4",
        env=(
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_BEARER_TOKEN_BEDROCK",
        ),
        service="bedrock",
    ),
)
REGION = {"AWS_REGION": "eu-west-1"}


def test_a_bedrock_key_is_a_bearer_and_needs_no_signing() -> None:
    environ = {**REGION, "AWS_BEARER_TOKEN_BEDROCK": "abc"}
    assert credential_headers(BEDROCK, environ) == (("Authorization", "Bearer abc"),)
    assert why_not_live(BEDROCK, environ) == ""


def test_what_signing_needs_is_named() -> None:
    assert why_not_live(BEDROCK, {}) == (
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_BEARER_TOKEN_BEDROCK)"
        " and AWS_REGION"
    )
    assert why_not_live(BEDROCK, {**REGION, "AWS_ACCESS_KEY_ID": "AKIA"}) == (
        "set AWS_SECRET_ACCESS_KEY"
    )
    keys = {**REGION, "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"}
    assert why_not_live(BEDROCK, keys) == ""
    assert why_not_live(BEDROCK, {**keys, "AWS_SECRET_ACCESS_KEY": "hush hush"}) == (
        "AWS_SECRET_ACCESS_KEY holds a space or another character that no AWS key has"
    )


VERTEX = Provider(
    "vertex",
    "Vertex",
    base_url="https://{location}-aiplatform.googleapis.com/v1/projects/{project}/x",
    variables={"location": "V_LOCATION", "project": "V_PROJECT"},
    auth=Auth(scheme="oauth2-bearer", env=("GOOGLE_APPLICATION_CREDENTIALS",)),
    quirks=("rep_hosts_for_some_regions",),
    dialects={"other": "https://{elsewhere}/v1"},
)


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("us-east5", "us-east5-aiplatform.googleapis.com"),
    ],
)
def test_places_that_are_no_region_have_hosts_of_their_own(location: str, host: str) -> None:
    environ = {"V_LOCATION": location, "V_PROJECT": "p"}
    assert base_url(VERTEX, environ) == f"https://{host}/v1/projects/p/x"


def test_another_dialect_has_its_own_base_url() -> None:
    assert base_url(VERTEX, {}, "other") is None
    azure = msgspec.structs.replace(GROQ, dialects={"openai_responses": "https://other/v1"})
    assert base_url(azure, {}, "openai_responses") == "https://other/v1"


def test_a_key_file_that_cannot_be_used_is_named_without_its_content(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text('{"client_email": "a@b", "private_key": "hush"}')
    environ = {"V_LOCATION": "eu", "V_PROJECT": "p", "GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    assert why_not_live(VERTEX, environ) == (
        "GOOGLE_APPLICATION_CREDENTIALS: the file's private_key is not a PEM key"
    )
    file.write_text("[]")
    assert why_not_live(VERTEX, environ) == (
        "GOOGLE_APPLICATION_CREDENTIALS: the file is not the key of a service account"
    )
    file.unlink()
    assert why_not_live(VERTEX, environ).startswith(
        "GOOGLE_APPLICATION_CREDENTIALS: the file cannot be read"
    )
    assert why_not_live(VERTEX, {}) == (
        "set GOOGLE_APPLICATION_CREDENTIALS and V_LOCATION and V_PROJECT"
    )


def test_a_secret_is_not_shown_and_not_serialised() -> None:
    headers = credential_headers(GROQ, {"GROQ_API_KEY": "gsk-1"})
    assert headers is not None
    assert "gsk-1" not in repr(headers) and "gsk-1" not in f"{headers!r:.99} {headers}"
    assert f"{headers[0][1]}" == "Bearer gsk-1"
    with pytest.raises(TypeError):
        msgspec.json.encode(headers)
    with pytest.raises(TypeError):
        pickle.dumps(Secret("gsk-1"))
