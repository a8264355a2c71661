"""The `tollway` command as an operator meets it: words, exit codes, files on the disk."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from acceptance_support import HELLO, nano

from support.server import KEY, Server, environment, free_port
from tollway.accounts.keyformat import key_text


class Ran:
    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout.strip(), done.stderr.strip()

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"


def tollway(home: Path, *arguments: str, **env: str) -> Ran:
    """Run the command to its end. No traceback is ever an answer."""
    ran = Ran(
        subprocess.run(
            [sys.executable, "-m", "tollway", *arguments],
            env=environment(home.parent, **{"TOLLWAY_HOME": str(home), **env}),
            cwd=home.parent,
            capture_output=True,
            text=True,
            timeout=60,
        )
    )
    assert "Traceback" not in ran.err + ran.out, ran
    return ran


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a stopped server that has served; copy it before changing it."""
    home = tmp_path_factory.mktemp("books") / "home"
    with Server(home) as server:
        for n in range(5):
            assert server.chat("tollway/echo", f"Hello {n}")[0] == 200
        assert server.chat("tollway/fault", "[[fault status=500]]")[0] == 502
        open_stream = {"model": "tollway/fault", "messages": HELLO, "stream": True}
        assert server.ask("POST", "/chat/completions", open_stream)[0] == 200
    return home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---- starting ------------------------------------------------------------------------------------


def test_the_first_start_shows_the_key_once_and_keeps_it_nowhere(tmp_path: Path) -> None:
    server = Server(tmp_path / "home")
    server._log = tmp_path / "log"
    shutil.rmtree(server.home)
    with server:
        first = server.log()
        key = server.key
        assert first.count("Your API key, shown this once:") == 1
        assert set(KEY.findall(first)) == {key}
        for line in ("OPENAI_BASE_URL=", "OPENAI_API_KEY=", "OPENROUTER_API_KEY=", "curl http"):
            assert line in first
        assert "Only the sandbox is live." in first
        assert server.chat("tollway/echo")[0] == 200
        time.sleep(1.2)  # housekeeping comes by once a second and notes that the key was used
        assert mode(server.home) == 0o700
        files = [path for path in server.home.rglob("*") if path.is_file()]
        assert {"tollway.db", "pepper"} <= {path.name for path in files}
        for path in files:
            assert mode(path) & 0o077 == 0, f"{path} can be read by others"
            assert key[4:47].encode() not in path.read_bytes(), f"{path} holds the key"
        server.stop()
        # The shell in which the printed lines were pasted.
        server.env |= {"OPENAI_API_KEY": key, "OPENROUTER_API_KEY": key}
        server.start()
        second = server.log()[len(first) :]
        assert second.startswith("Tollway ") and not KEY.search(second)
        said = "OPENAI_API_KEY and OPENROUTER_API_KEY hold Tollway keys, which are no provider's."
        assert said in second and "Only the sandbox is live." in second
        assert server.chat("tollway/echo")[0] == 200, "the key of the first start still works"


def test_a_public_address_has_to_be_meant(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        ran = tollway(home, "serve", "--host", host, "--port", str(free_port()))
        assert (ran.code, ran.out) == (1, "")
        assert host in ran.err and "--public" in ran.err
    assert not home.exists(), "nothing was made"


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name, value in (("PORT", "70000"), ("PORT", "web"), ("BODY_TIMEOUT_S", "-1")):
        ran = tollway(home, "serve", **{f"TOLLWAY_{name}": value})
        assert ran.code == 1 and name.lower() in ran.err.lower()
    ran = tollway(home, "serve", TOLLWAY_FIRST_CREDIT_USD="lots")
    assert ran.code == 1 and "first_credit_usd" in ran.err
    home.mkdir(exist_ok=True)
    (home / "tollway.toml").write_text("prot = 80\n")
    ran = tollway(home, "serve")
    assert ran.code == 1 and "tollway.toml" in ran.err and "prot" in ran.err


GOOD = """
id = "mine"
base_url = "https://api.example/v1"
auth = { scheme = "none" }
[[endpoints]]
model = "mine/one"
id = "one"
pricing = { prompt = "0.000001", completion = "0.000002" }
"""


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('prompt = "0.000001"', "prompt = 0.000001", "endpoints[0].pricing.prompt"),
        ('prompt = "0.000001"', 'promt = "0.000001"', "endpoints[0].pricing.promt"),
        ('prompt = "0.000001"', 'prompt = "-1e-6"', "endpoints[0].pricing.prompt"),
        ('model = "mine/one"\n', "", "endpoints[0].model"),
        ('id = "mine"', "id = 7", "id"),
        ("https://api.example/v1", "http://api.example/v1", "base_url"),
        ('scheme = "none"', 'scheme = "magic"', "auth.scheme"),
        ("pricing = {", "pricing = ", "bad.toml"),
        ("[[endpoints]]", "colour = 1\n[[endpoints]]", "colour"),
    ],
)
def test_a_bad_provider_file_stops_the_start_and_is_named(
    tmp_path: Path, old: str, new: str, named: str
) -> None:
    home = tmp_path / "home"
    (home / "providers").mkdir(parents=True)
    assert old in GOOD
    (home / "providers" / "bad.toml").write_text(GOOD.replace(old, new))
    ran = tollway(home, "catalogue", "check")
    assert ran.code == 1
    assert "bad.toml" in ran.err and named in ran.err
    assert len(ran.err.splitlines()) == 1, ran
    if named == "base_url":
        served = tollway(home, "serve", "--port", str(free_port()))
        assert (served.code, served.err) == (1, ran.err), "serve says the same and stops"


def test_a_second_server_on_one_home_or_port_is_refused(server: Server, tmp_path: Path) -> None:
    same_home = tollway(server.home, "serve", "--port", str(free_port()))
    assert same_home.code == 1
    assert str(server.pid) in same_home.err and "--home" in same_home.err
    same_port = tollway(tmp_path / "other", "serve", "--port", str(server.port))
    assert same_port.code == 1
    assert str(server.port) in same_port.err and "in use" in same_port.err
    assert not KEY.search(same_port.out), "a key that nobody could use is not shown"
    assert server.chat("tollway/echo")[0] == 200


# ---- keys ----------------------------------------------------------------------------------------


def test_keys_are_created_listed_disabled_and_rotated_beside_a_running_server(
    server: Server,
) -> None:
    home = server.home
    made = tollway(
        home, "keys", "create", "--name", "ci", "--limit", "10", "--reset", "monthly", "--json"
    )
    row = json.loads(made.out)
    assert KEY.fullmatch(row["key"])
    assert (row["name"], row["limit_usd"], row["limit_reset"]) == ("ci", "10", "monthly")
    plain = tollway(home, "keys", "create", "--name", "plain", "--plain")
    assert KEY.fullmatch(plain.out) and plain.err == ""
    listed = json.loads(tollway(home, "keys", "list", "--json").out)
    assert {"ci", "plain"} <= {key["name"] for key in listed}
    assert all("key" not in key for key in listed)
    assert row["hash"][:16] in tollway(home, "keys", "list").out

    def status(key: str) -> int:
        return server.ask("GET", "/key", key=key)[0]

    def seconds_until(key: str, wanted: int) -> float:
        began = time.perf_counter()
        while status(key) != wanted:
            assert time.perf_counter() - began < 5, f"still not {wanted}"
            time.sleep(0.02)
        return time.perf_counter() - began

    assert status(row["key"]) == status(plain.out) == 200
    assert tollway(home, "keys", "disable", "ci").code == 0
    print(f"a disabled key is refused after {seconds_until(row['key'], 401):.2f} s")
    assert "ci" not in {k["name"] for k in json.loads(tollway(home, "keys", "list", "--json").out)}
    assert tollway(home, "keys", "disable", row["hash"][:12], "--enable").code == 0
    seconds_until(row["key"], 200)

    rotated = tollway(home, "keys", "rotate", "plain", "--plain")
    assert KEY.fullmatch(rotated.out) and rotated.out != plain.out
    print(f"a rotated key is refused after {seconds_until(plain.out, 401):.2f} s")
    assert status(rotated.out) == 200


def test_wrong_words_about_keys_are_refused(server: Server) -> None:
    home = server.home
    for code, arguments in (
        (2, ("create", "--name", "x", "--limit", "-1")),
        (2, ("create", "--name", "x", "--limit", "nan")),
        (2, ("create", "--name", "x", "--reset", "daily")),
        (2, ("create", "--name", "x", "--limit", "1", "--reset", "hourly")),
        (2, ("create",)),
        (1, ("create", "--name", "x", "--workspace", "nowhere")),
        (1, ("disable", "nobody")),
        (1, ("rotate", "nobody")),
    ):
        ran = tollway(home, "keys", *arguments)
        assert (ran.code, ran.out) == (code, ""), ran
        assert ran.err


# ---- credits, catalogue --------------------------------------------------------------------------


def test_credits_are_shown_and_granted_beside_a_running_server(server: Server) -> None:
    home = server.home

    def shown() -> dict[str, str]:
        found: dict[str, str] = json.loads(tollway(home, "credits", "show", "--json").out)
        return found

    before = shown()
    granted = tollway(home, "credits", "grant", "default", "0.000000001")
    assert granted.code == 0
    after = shown()
    assert nano(after["balance_usd"]) == nano(before["balance_usd"]) + 1
    assert server.ask("GET", "/credits")[1]["data"]["total_credits"] == 5.000000001
    assert after["balance_usd"] in tollway(home, "credits", "show").out
    for code, arguments in (
        (2, ("grant", "default", "-5")),
        (2, ("grant", "default", "0")),
        (2, ("grant", "default", "many")),
        (1, ("grant", "nowhere", "5")),
        (1, ("show", "nowhere")),
    ):
        ran = tollway(home, "credits", *arguments)
        assert (ran.code, ran.out) == (code, ""), ran
    assert shown() == after


def test_the_catalogue_is_checked_listed_and_shown(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "providers").mkdir(parents=True)
    (home / "providers" / "mine.toml").write_text(GOOD)
    checked = tollway(home, "catalogue", "check", "--json")
    assert (checked.code, json.loads(checked.out)["problems"]) == (0, [])
    assert json.loads(checked.out)["warnings"] == []
    (home / "providers" / "mine.toml").write_text('quirks = ["no_tools", "no_tolls"]\n' + GOOD)
    warned = tollway(home, "catalogue", "check")
    assert warned.code == 0
    assert warned.err.startswith("warning: provider mine: the quirk 'no_tolls' is unknown")
    rows = {m["id"]: m for m in json.loads(tollway(home, "catalogue", "list", "--json").out)}
    assert rows["mine/one"] == {
        "id": "mine/one",
        "type": "chat",
        "endpoints": 1,
        "live_endpoints": 1,
    }
    live = json.loads(tollway(home, "catalogue", "list", "--live", "--json").out)
    assert {"mine/one", "tollway/echo"} <= {m["id"] for m in live}
    assert "openai/gpt-4o-mini" not in {m["id"] for m in live}
    shown = json.loads(tollway(home, "catalogue", "show", "mine/one", "--json").out)
    assert [e["provider"] for e in shown["endpoints"]] == ["mine"]
    assert "tollway-b" in tollway(home, "catalogue", "show", "tollway/echo").out
    missing = tollway(home, "catalogue", "show", "tollway/ecco")
    assert missing.code == 1 and "tollway/echo" in missing.err


# ---- the books -----------------------------------------------------------------------------------

TAMPERED = {
    "posted_is_the_sum_of_transfers": "UPDATE account SET posted = posted + 1 WHERE kind = 'wallet'",
    "held_is_the_sum_of_open_holds": "UPDATE account SET held = held + 1 WHERE kind = 'wallet'",
    "every_posted_hold_has_its_generation": "UPDATE generation SET charge_nano = charge_nano + 1",
    "activity_equals_generations": "UPDATE rollup SET requests = requests + 1",
    "budgets_equal_their_holds": "UPDATE budget SET usage_nano = usage_nano + 1",
    "every_charge_is_booked_once": "DROP TRIGGER transfer_is_never_deleted;"
    "DELETE FROM transfer WHERE reason = 'charge'",
    "history_is_protected": "DROP TRIGGER transfer_is_never_updated",
}


@pytest.mark.parametrize("invariant", TAMPERED)
def test_the_audit_names_what_somebody_changed(books: Path, tmp_path: Path, invariant: str) -> None:
    home = tmp_path / "home"
    shutil.copytree(books, home)
    assert tollway(home, "ledger", "audit").out == "The books are in order."
    connection = apsw.Connection(str(home / "tollway.db"))
    connection.execute(TAMPERED[invariant])
    connection.close()
    ran = tollway(home, "ledger", "audit")
    assert (ran.code, ran.out) == (1, "")
    assert f"{invariant}: " in ran.err
    found = json.loads(tollway(home, "ledger", "audit", "--json").out)
    assert invariant in {row["invariant"] for row in found}


def test_books_that_do_not_exist_are_not_in_order(tmp_path: Path) -> None:
    ran = tollway(tmp_path / "mistyped", "ledger", "audit")
    assert (ran.code, ran.out) == (1, "") and "mistyped" in ran.err
    assert not (tmp_path / "mistyped").exists()


def test_history_cannot_be_changed_in_passing(books: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(books, home)
    connection = apsw.Connection(str(home / "tollway.db"))
    for change in (
        "UPDATE transfer SET nano = nano + 1",
        "DELETE FROM transfer",
        "DELETE FROM hold",
    ):
        with pytest.raises(apsw.ConstraintError):
            connection.execute(change)
    connection.close()
    assert tollway(home, "ledger", "audit").code == 0


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "tollway.db").write_text("not a database, but long enough to have a header " * 20)
    before = (home / "tollway.db").read_bytes()
    for command in (
        ("serve", "--port", str(free_port())),
        ("ledger", "audit"),
        ("credits", "show"),
    ):
        ran = tollway(home, *command)
        assert ran.code == 1 and ran.err, ran
    assert "broken" in tollway(home, "doctor").out
    assert (home / "tollway.db").read_bytes() == before


# ---- doctor, help --------------------------------------------------------------------------------


def test_the_doctor_says_what_is_live_missing_and_broken(books: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(books, home)
    home.chmod(0o700)
    well = tollway(home, "doctor", "--json")
    assert well.code == 0
    found = json.loads(well.out)
    assert {"ok", "live", "missing"} <= {f["state"] for f in found}
    assert any("Tollway Sandbox" in f["what"] for f in found if f["state"] == "live")
    assert any("OPENAI_API_KEY" in f["remedy"] for f in found if f["state"] == "missing")
    keyed = tollway(home, "doctor", "--json", OPENAI_API_KEY="sk-test-0123456789")
    assert any("OpenAI" in f["what"] for f in json.loads(keyed.out) if f["state"] == "live")
    assert "sk-test-0123456789" not in keyed.out + keyed.err
    own = tollway(home, "doctor", OPENAI_API_KEY=key_text(bytes(32)))
    (line,) = [line for line in own.out.splitlines() if line.split()[1] == "OpenAI:"]
    assert line.startswith("missing ") and "OPENAI_API_KEY holds a Tollway key" in line
    assert not KEY.search(own.out + own.err)
    home.chmod(0o755)
    ill = tollway(home, "doctor")
    assert ill.code == 1
    assert f"chmod 700 {home}" in ill.out


def test_every_command_has_help(tmp_path: Path) -> None:
    for command in ((), ("serve",), ("keys", "create"), ("credits", "grant"), ("chat",)):
        ran = tollway(tmp_path / "home", *command, "--help")
        assert ran.code == 0 and "Usage:" in ran.out
    assert not (tmp_path / "home").exists()


# ---- chat ----------------------------------------------------------------------------------------


def test_chat_prints_the_answer_as_it_comes_and_the_cost_beside_it(server: Server) -> None:
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tollway", "chat", "tollway/lorem", "[[tokens=40 rate=40]]"]
        + ["--url", server.url, "--key", server.key],
        env=server.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    first = process.stdout.read(4)
    first_s = time.perf_counter() - began
    rest, errors = process.communicate(timeout=30)
    whole_s = time.perf_counter() - began
    print(f"chat: first word after {first_s:.2f} s, all after {whole_s:.2f} s")
    assert process.returncode == 0
    assert len((first + rest).strip()) == 40 * 4 - 1
    assert whole_s - first_s > 0.5, "it came all at once"
    assert b"40 out" in errors and b"USD" in errors


def test_chat_gives_a_script_one_line_of_json(server: Server, tmp_path: Path) -> None:
    to = ("--url", server.url, "--key", server.key, "--json")
    ran = tollway(tmp_path / "home", "chat", "tollway/echo", "Hello \u201cthere\u201d", *to)
    assert (ran.code, ran.err, len(ran.out.splitlines())) == (0, "", 1)
    told = json.loads(ran.out)
    assert told["text"] == "Hello \u201cthere\u201d"
    assert told["model"] == "tollway/echo" and told["provider"].startswith("Tollway Sandbox")
    status, record, _ = server.ask("GET", f"/generation?id={told['id']}")
    assert (status, record["data"]["total_cost"]) == (200, told["usage"]["cost"])
    broken = tollway(tmp_path / "home", "chat", "tollway/fault", "1 2 3 [[fault die=3]]", *to)
    assert (broken.code, broken.out) == (1, "") and broken.err.startswith("tollway: ")


def test_chat_says_what_went_wrong(server: Server, tmp_path: Path) -> None:
    home = tmp_path / "home"
    to = ("--url", server.url, "--key", server.key)
    unknown = tollway(home, "chat", "tollway/ecco", "Hi", *to)
    assert unknown.code == 1 and "400" in unknown.err and "tollway/echo" in unknown.err
    broken = tollway(home, "chat", "tollway/fault", "one two three [[fault error_after=3]]", *to)
    assert broken.code == 1 and broken.out == "one two" and "overloaded" in broken.err
    cut = tollway(home, "chat", "tollway/fault", "one two three [[fault die=3]]", *to)
    assert cut.code == 1 and cut.out == "one two" and cut.err
    stranger = tollway(home, "chat", "tollway/echo", "Hi", "--url", server.url, "--key", "sk-x")
    assert stranger.code == 1 and "401" in stranger.err
    keyless = tollway(home, "chat", "tollway/echo", "Hi", "--url", server.url)
    assert keyless.code == 2 and "--key" in keyless.err
    nobody = f"http://127.0.0.1:{free_port()}/api/v1"
    alone = tollway(home, "chat", "tollway/echo", "Hi", "--url", nobody, "--key", server.key)
    assert alone.code == 1 and "tollway serve" in alone.err
