import re
from pathlib import Path

import pytest

from tollway import errors
from tollway.http.routes import ROUTES, Auth, Param, Route

DOC = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")


def test_a_row_cannot_be_written_without_a_policy() -> None:
    with pytest.raises(TypeError, match="auth"):
        Route(method="GET", path="/x", operation="x", about="")  # type: ignore[call-arg]


def test_every_row_has_a_policy_a_purpose_and_prefixes() -> None:
    for route in ROUTES:
        assert isinstance(route.auth, Auth), route
        assert route.about.endswith("."), route
        assert route.prefixes, route
        assert route.path.startswith("/"), route


def test_no_two_rows_answer_the_same() -> None:
    addresses = [(route.method, path) for route in ROUTES for path in route.paths]
    assert len(addresses) == len(set(addresses))


def test_what_changes_or_spends_is_never_open_to_anyone() -> None:
    for route in ROUTES:
        if route.method != "GET":
            assert route.auth in (Auth.KEY, Auth.MANAGEMENT), route
        if route.door == "inference":
            assert route.auth is Auth.KEY, route


def test_what_is_open_to_anyone_is_listed_here_too() -> None:
    assert {route.path for route in ROUTES if route.auth is Auth.NONE} == {
        "/",
        "/api",
        "/endpoints/zdr",
        "/health/live",
        "/health/liveliness",
        "/health/readiness",
        "/health/ready",
        "/model/{author}/{slug}",
        "/models",
        "/models/count",
        "/models/{author}/{slug}",
        "/models/{author}/{slug}/endpoints",
        "/openapi.json",
        "/providers",
    }


def test_rows_declare_the_errors_of_their_policy() -> None:
    for route in ROUTES:
        if route.auth is not Auth.NONE:
            assert 401 in route.errors, route
        if route.auth in (Auth.KEY, Auth.MANAGEMENT, Auth.OPERATOR):
            assert 403 in route.errors, route


# ---- docs/api.md ---------------------------------------------------------------------------------


def test_the_documented_routes_are_those_of_the_table_and_no_others() -> None:
    rows = re.findall(
        r"^\| (GET|POST|PATCH|DELETE) \| `([^`]+)` \| ([a-z ]+) \| .+ \| ([\d ]*) \|$", DOC, re.M
    )
    documented = {(m, path): (auth, errs.split()) for m, path, auth, errs in rows}
    table = {(r.method, r.path): (r.auth.value, list(map(str, r.errors))) for r in ROUTES}
    assert documented == table
    assert len(rows) == len(documented)


def test_the_documented_parameters_are_those_of_the_table_and_no_others() -> None:
    sections = re.findall(r"^### `(GET|POST|PATCH|DELETE) ([^`]+)`\n(.*?)(?=^#)", DOC, re.M | re.S)
    documented = {
        (method, path): re.findall(r"^\| `(\w+)` \| (\w+) \|", body, re.M)
        for method, path, body in sections
    }

    def rows(params: tuple[Param, ...]) -> list[tuple[str, str]]:
        return [(param.name, param.type) for param in params]

    assert documented == {(r.method, r.path): rows(r.params) for r in ROUTES if r.params}


def test_every_kind_of_caller_is_explained() -> None:
    explained = re.findall(r"^\| ([a-z ]+) \| .+ \|$", DOC.partition("## Routes")[0], re.M)
    assert set(explained) == {auth.value for auth in Auth}


def test_the_link_that_errors_carry_leads_to_a_public_route_of_this_server() -> None:
    (route,) = [r for r in ROUTES if errors.DOCS_URL in r.paths]
    assert (route.method, route.auth) == ("GET", Auth.NONE)
    found = errors.model_not_found("a/b").availability
    assert found is not None and found["docs_url"] == errors.DOCS_URL


def test_no_page_links_to_an_address_nobody_has_confirmed() -> None:
    package = Path(errors.__file__).parent
    texts = [*package.rglob("*.py"), *package.rglob("tollway*.toml")]
    assert len(texts) > 50
    assert [p.name for p in texts if "github.com/tollway" in p.read_text("utf-8")] == []


def test_every_error_type_and_availability_code_of_the_code_is_documented() -> None:
    source = Path(errors.__file__).parent
    texts = [path.read_text("utf-8") for path in source.rglob("*.py")]
    section = DOC.partition("\n## Errors\n")[2]
    said = {t for text in texts for t in re.findall(r"error_type\s*=\s*\"([a-z_]+)\"", text)}
    codes = {
        "capacity_exhausted",
        "constraint_filtered",
        "free_variant_ended",
        "model_deprecated",
        "model_not_found",
        "model_unavailable_upstream",
        "no_endpoints",
        "privacy_restricted",
        "region_restricted",
        "temporarily_unavailable",
        "wrong_endpoint",
    }
    assert len(said) >= 8
    for word in sorted(said | codes):
        assert f"`{word}`" in section, word
