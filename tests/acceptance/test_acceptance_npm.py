"""The official `openai` package of npm, unmodified, against a real server: another language's idea
of HTTP, streams and errors. Needs node and npm; the package comes from the registry."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from acceptance_support import SANDBOX, nano

from support.server import Server

PACKAGE = "openai@7.57.0"
CLIENT = Path(__file__).with_name("npm_client.mjs")

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="needs node and npm"
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and our program in it."""
    folder = tmp_path_factory.mktemp("npm")
    started = time.perf_counter()
    subprocess.run(
        [
            "npm",
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefer-offline",
            PACKAGE,
        ],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=90,
    )
    shutil.copy(CLIENT, folder)
    print(f"npm install {PACKAGE}: {time.perf_counter() - started:.1f} s")
    return folder


def test_chat_stream_tools_models_and_errors_from_node(app: Path) -> None:
    with Server() as server:
        before = server.balance_nano()
        done = subprocess.run(
            ["node", CLIENT.name],
            cwd=app,
            env={**server.env, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": server.key},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)

        whole = found["whole"]
        assert (whole["text"], whole["finish"], whole["provider"]) == (
            "Hello there, world",
            "stop",
            SANDBOX,
        )
        assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (5, 5)
        assert nano(whole["usage"]["cost"]) == 5 * 1_000 + 5 * 2_000

        stream = found["stream"]
        assert len(stream["text"]) == 40 * 4
        (usage,) = stream["usages"]
        assert (usage["at"], usage["completion_tokens"]) == (stream["chunks"], 40)

        tools = found["tools"]
        assert (tools["name"], tools["finish"]) == ("get_weather", "tool_calls")
        assert tools["arguments"] == tools["streamed"]
        assert (set(tools["arguments"]), tools["arguments"]["days"]) == ({"city", "days"}, 3)
        assert tools["answer"] == "The tool answered: sunny"

        assert found["models"]["echo"] is True and found["models"]["count"] > 500
        unknown, broken = found["unknown"], found["broken"]
        assert (unknown["kind"], unknown["status"]) == ("BadRequestError", 400)
        assert "tollway/echo" in unknown["message"]
        assert (broken["text"], broken["code"]) == ("one two ", 503)

        for id in found["ids"]:
            assert server.ask("GET", f"/generation?id={id}")[0] == 200
        told = sum(map(nano, found["costs"])) + nano(usage["cost"])
        streamed_tools = before - server.balance_nano() - told
        assert streamed_tools == nano(found["costs"][1]), "the streamed tool call is the fifth"
        server.assert_books()
