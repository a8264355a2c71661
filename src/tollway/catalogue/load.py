"""Where the catalogue comes from: the shipped snapshot, then the operator's files on top.

The one place of the catalogue that touches the file system. A snapshot is trusted only while the
digest of the files it was made from (facts, and the code that reads them) still fits; otherwise
it is made again and written atomically beside the data or, where that is not writable, to the
home folder's `cache`.
"""

from __future__ import annotations

import contextlib
import gc
import os
from hashlib import blake2b
from pathlib import Path

import msgspec

from .entries import Catalogue
from .files import CatalogueError, Source

__all__ = ["CatalogueError", "load", "write_shipped_snapshot"]

DATA = Path(__file__).parent / "data"
BENCHMARKS = "benchmarks.toml"
"""Optional, beside the shipped data and in the operator's home: which models did how well where."""
SNAPSHOT = "catalogue.snapshot"
MAGIC = b"tollway catalogue 1\n"
_DIGEST_BYTES = 32
_READERS = ("catalogue/entries.py", "catalogue/files.py", "catalogue/compile.py", "money.py")
"""Code that decides what a file means: when it changes, so may the snapshot."""


def load(home: Path | None = None, data: Path = DATA) -> Catalogue:
    """The catalogue: shipped facts overlaid by `home/providers/*.toml` in order of file name, and
    by `home/benchmarks.toml`.

    Raises CatalogueError naming file, line and field, and OSError when the shipped data cannot be
    read at all.
    """
    catalogue = _shipped(data, home / "cache" if home else None)
    files = sorted((home / "providers").glob("*.toml")) if home else []
    scored = home / BENCHMARKS if home and (home / BENCHMARKS).exists() else None
    if not files and scored is None:
        return catalogue
    from .compile import overlaid  # only a start that compiles pays for the TOML reader

    return overlaid(
        catalogue,
        [_source(file, _bytes(file), str(file)) for file in files],
        _source(scored, _bytes(scored), str(scored)) if scored else None,
    )


def write_shipped_snapshot(data: Path = DATA) -> Path:
    """Compile the shipped facts and write the snapshot beside them; returns its path."""
    sources = _read_all(data)
    snapshot = data / SNAPSHOT
    _write(snapshot, _packed(_compile(sources, data), _digest(sources)))
    return snapshot


def _shipped(data: Path, cache: Path | None) -> Catalogue:
    sources = _read_all(data)
    digest = _digest(sources)
    places = [data / SNAPSHOT] + ([cache / SNAPSHOT] if cache else [])
    for place in places:
        if (found := _unpacked(place, digest)) is not None:
            return found
    catalogue = _compile(sources, data)
    packed = _packed(catalogue, digest)
    for place in places:
        with contextlib.suppress(OSError):  # without a snapshot the next start is slower, no more
            _write(place, packed)
            break
    return catalogue


def _compile(sources: dict[str, bytes], data: Path) -> Catalogue:
    from .compile import compiled

    texts = {name: _source(data / name, text, name) for name, text in sources.items()}
    return compiled(
        [source for name, source in texts.items() if name.startswith("models/")],
        [source for name, source in texts.items() if name.startswith("providers/")],
        texts.get("aliases.toml"),
        texts.get(BENCHMARKS),
        texts.get("families.toml"),
    )


def _source(file: Path, text: bytes, name: str) -> Source:
    try:
        return Source(name, text.decode())
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise CatalogueError(str(file), line, "", "expected UTF-8 text") from None


def _bytes(file: Path) -> bytes:
    """Raises CatalogueError when an operator's file cannot be read."""
    try:
        return file.read_bytes()
    except IsADirectoryError:
        raise CatalogueError(str(file), None, "", "expected a file, found a folder") from None
    except OSError as error:
        raise CatalogueError(str(file), None, "", f"cannot be read: {error.strerror}") from None


def _read_all(data: Path) -> dict[str, bytes]:
    """Name below the data folder to content, in a stable order."""
    names = ["aliases.toml"]
    for optional in (BENCHMARKS, "families.toml"):
        if os.path.exists(data / optional):  # noqa: PTH110  at every start
            names.append(optional)
    for folder in ("models", "providers"):
        with os.scandir(data / folder) as files:
            names += sorted(f"{folder}/{f.name}" for f in files if f.name.endswith(".toml"))
    root = f"{data}{os.sep}"
    found: dict[str, bytes] = {}
    for name in names:
        with open(root + name, "rb", buffering=0) as file:  # noqa: PTH123  half the time of Path
            found[name] = file.read()
    return found


def _digest(sources: dict[str, bytes]) -> bytes:
    state = blake2b(digest_size=_DIGEST_BYTES)
    package = Path(__file__).parent.parent
    for reader in _READERS:
        with contextlib.suppress(OSError):  # an installation without sources
            state.update((package / reader).read_bytes())
    for name, text in sources.items():
        state.update(f"{name}\0{len(text)}\0".encode())
        state.update(text)
    return state.digest()


def _packed(catalogue: Catalogue, digest: bytes) -> bytes:
    body = msgspec.msgpack.encode(catalogue)
    return MAGIC + digest + blake2b(body, digest_size=_DIGEST_BYTES).digest() + body


def _unpacked(place: Path, digest: bytes) -> Catalogue | None:
    """The snapshot at `place`, or None when it is missing, stale or damaged."""
    try:
        packed = place.read_bytes()
    except OSError:
        return None
    start = len(MAGIC)
    made_from, body_digest = packed[start : start + 32], packed[start + 32 : start + 64]
    body = memoryview(packed)[start + 64 :]
    if packed[:start] != MAGIC or made_from != digest:
        return None
    if blake2b(body, digest_size=_DIGEST_BYTES).digest() != body_digest:
        return None
    collecting = gc.isenabled()
    gc.disable()  # tens of thousands of new values, none of them garbage
    try:
        return msgspec.msgpack.decode(body, type=Catalogue)
    except msgspec.DecodeError:
        return None
    finally:
        if collecting:
            gc.enable()


def _write(place: Path, packed: bytes) -> None:
    """Whole or not at all: a reader never sees half a snapshot. Raises OSError."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{SNAPSHOT}-{os.urandom(8).hex()}")
    try:
        temporary.write_bytes(packed)
        temporary.replace(place)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
