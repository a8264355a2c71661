"""Credentials and base URLs from an environment given as an argument."""

import pickle

import msgspec
import pytest

from tollway.catalogue.entries import Auth, Provider
from tollway.upstream.auth import Secret, base_url, credential_headers, why_not_live

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


@pytest.mark.parametrize("scheme", ["aws-sigv4", "oauth2-bearer", "oci-signature"])
def test_a_scheme_that_needs_a_generator_is_not_live_and_says_so(scheme: str) -> None:
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


def test_a_secret_is_not_shown_and_not_serialised() -> None:
    headers = credential_headers(GROQ, {"GROQ_API_KEY": "gsk-1"})
    assert headers is not None
    assert "gsk-1" not in repr(headers) and "gsk-1" not in f"{headers!r:.99} {headers}"
    assert f"{headers[0][1]}" == "Bearer gsk-1"
    with pytest.raises(TypeError):
        msgspec.json.encode(headers)
    with pytest.raises(TypeError):
        pickle.dumps(Secret("gsk-1"))
