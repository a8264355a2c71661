"""The moving parts of the bench: C programs, pinned processes, and what the kernel says they used.

Knows nothing about figures. Rules: everything on 127.0.0.1; every child is pinned to one CPU and
dies with this process, however it ends; times are seconds, memory is bytes.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "bench" / "build"
READY_WITHIN_S = 30.0
STOP_WITHIN_S = 15.0

MODELS = {
    "bench/small": "mock-0-0-0",
    "bench/stream": "mock-0-100-10000",
    "bench/burst": "mock-0-100-0",
    "bench/open": "mock-0-16-500000",
    "bench/open-brief": "mock-0-4-500000",
}
"""Public slug to the mock's model, whose name is its behaviour (`mock.c`)."""


class BenchError(Exception):
    """The bench cannot go on; the message says what to do about it."""


def build() -> None:
    """Compile what is older than its source into `bench/build/`."""
    compiler = shutil.which(os.environ.get("CC", "gcc")) or shutil.which("cc")
    BUILD.mkdir(exist_ok=True)
    for name, libraries in (("mock", ()), ("lg", ("-lm",))):
        source, program = ROOT / "bench" / f"{name}.c", BUILD / name
        if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
            continue
        if compiler is None:
            raise BenchError(
                "The bench needs a C compiler: on Debian, apt-get install gcc libc6-dev"
            )
        command = [compiler, "-O2", "-Wall", "-o", str(program), str(source), *libraries]
        if subprocess.run(command, check=False).returncode:
            raise BenchError(f"{source.name} does not compile; see above")


def cpus() -> tuple[int, int]:
    """The gateway's CPU, and the one of the mock and the load; the same if there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1] if len(usable) < 3 else usable[1]


def spawn(command: Sequence[str], cpu: int, **options: Any) -> subprocess.Popen[str]:
    """Start a child on one CPU. It is killed when this process dies, even by SIGKILL."""
    return subprocess.Popen(command, text=True, preexec_fn=_pinned_to(cpu), **options)


def _pinned_to(cpu: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None)  # loaded before the fork: the child only calls
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)

    def prepare() -> None:
        os.sched_setaffinity(0, {cpu})
        libc.prctl(set_parent_death_signal, signal.SIGKILL)

    return prepare


def stop(process: subprocess.Popen[str]) -> bool:
    """End a child politely, then not; False if it had to be killed."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_s(pid: int) -> float:
    """User and system time of a process and all its children, dead ones included."""
    ticks = sum(sum(int(field) for field in stat[11:15]) for stat in _family(pid))
    return ticks / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    """Resident memory of a process and its living children."""
    return sum(int(stat[21]) for stat in _family(pid)) * os.sysconf("SC_PAGE_SIZE")


def _family(pid: int) -> list[list[str]]:
    """The `_stat` of a process and of everything below it."""
    stats: dict[int, list[str]] = {}
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            stats[int(entry.name)] = stat
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found = [pid] if pid in stats else []
    for each in found:
        found.extend(children.get(each, ()))
    return [stats[each] for each in found]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold blanks: [0] is the state."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


class Mock:
    """The upstream, on the load's CPU."""

    def __init__(self, cpu: int) -> None:
        self._process = spawn([str(BUILD / "mock")], cpu, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.strip().isdigit():
            raise BenchError("the mock upstream did not start; see above")
        self.port = int(line)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def __enter__(self) -> Mock:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()


class Gateway:
    """`tollway serve` with a fresh home, one key and enough credit, in front of the mock.

    `start_s` is spawn to the first 200 from the sandbox. The home goes away at the end.
    """

    start_s: float
    pid: int

    def __init__(self, python: str, mock_port: int, cpu: int, *, home_on: Path) -> None:
        self.port = free_port()
        self.home = Path(tempfile.mkdtemp(prefix="tollway-bench-", dir=home_on))
        self._tollway = [python, "-m", "tollway"]
        self._cpu = cpu
        self._process: subprocess.Popen[str] | None = None
        self._log = self.home / "serve.log"
        self._environment = {
            # Only what is needed: no real provider may come alive from the caller's environment.
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT / "src"),
            "MOCK_API_KEY": "bench",
        }
        (self.home / "providers").mkdir()
        (self.home / "providers" / "mock.toml").write_text(_provider_file(mock_port))

    def __enter__(self) -> Gateway:
        try:
            home = ("--home", str(self.home))
            created = self._run("keys", "create", *home, "--name", "bench", "--plain")
            self.key = created.split()[-1]
            self._run("credits", "grant", "default", "1000000", *home)
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._process is not None:
            if not stop(self._process):
                print("note: the gateway did not stop by itself", file=sys.stderr)
            self._process = None
        shutil.rmtree(self.home, ignore_errors=True)

    def audit(self) -> str | None:
        """Stop the gateway and audit its books; what is wrong, or None."""
        if self._process is not None:
            stop(self._process)
            self._process = None
        try:
            self._run("ledger", "audit", "--home", str(self.home))
        except BenchError as failure:
            return str(failure)
        return None

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, str]:
        """One small request; (status, body). Raises OSError while nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Content-Type": "application/json"}
        if path != "/metrics":  # a local scraper needs no key, and an ordinary one may not look
            headers["Authorization"] = f"Bearer {self.key}"
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise ConnectionError(f"no answer to {method} {path}: {error}") from error
        finally:
            connection.close()

    def commits(self) -> tuple[int, float] | None:
        """The ledger's commits so far, and the median seconds of the last 512. None when the
        gateway does not publish `tollway_ledger_commit_seconds`."""
        try:
            status, text = self.ask("GET", "/metrics")
        except OSError:
            return None
        name = "tollway_ledger_commit_seconds"
        found = dict(re.findall(rf"^({name}\S*) (\S+)$", text, re.MULTILINE))
        count, median = found.get(f"{name}_count"), found.get(f'{name}{{quantile="0.5"}}')
        if status != 200 or count is None or median is None:
            return None
        return int(float(count)), float(median)

    def _start(self) -> None:
        command = [*self._tollway, "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        echo = {"model": "tollway/echo", "messages": [{"role": "user", "content": "Hello!"}]}
        with self._log.open("w") as log:
            spawned = time.perf_counter()
            self._process = spawn(
                [*command, "--home", str(self.home)],
                self._cpu,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self.home,
            )
        self.pid = self._process.pid
        last = "nobody listened"
        while (waited := time.perf_counter() - spawned) < READY_WITHIN_S:
            if self._process.poll() is not None:
                last = f"it ended with {self._process.returncode}"
                break
            try:
                status, text = self.ask("POST", "/api/v1/chat/completions", echo)
            except OSError:
                time.sleep(0.002)
                continue
            if status == 200:
                self.start_s = time.perf_counter() - spawned
                return
            last = f"{status} {text[:300]}"
            time.sleep(0.02)
        tail = "\n".join(self._log.read_text().splitlines()[-20:])
        raise BenchError(f"no answer from the gateway after {waited:.1f} s: {last}\n{tail}")

    def _run(self, *arguments: str) -> str:
        command = [*self._tollway, *arguments]
        done = subprocess.run(
            command,
            env=self._environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if done.returncode:
            told = (done.stdout + done.stderr)[-1500:]
            raise BenchError(f"tollway {' '.join(arguments[:2])} failed: {told}")
        return done.stdout


def _provider_file(mock_port: int) -> str:
    head = f"""id = "mock"
name = "Mock"
dialect = "openai_chat"
base_url = "http://127.0.0.1:{mock_port}/v1"
auth = {{ scheme = "bearer", env = "MOCK_API_KEY" }}
private_network = true
"""
    endpoint = """
[[endpoints]]
model = "{slug}"
id = "{id}"
context_length = 128000
output_tokens_max = 16384
pricing = {{ prompt = "0.00000015", completion = "0.0000006" }}
"""
    return head + "".join(endpoint.format(slug=slug, id=id) for slug, id in MODELS.items())
