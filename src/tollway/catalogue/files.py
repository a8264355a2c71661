"""What a catalogue file may say: the public format of `providers/*.toml` and `models/*.toml`.

Text in, strictly checked values out; no file is opened here and no index is built. An unknown key
is an error: a misspelt price or limit that is silently ignored costs money. Every error names the
file, the line, the field and what was expected. A field that is not said is `UNSET`, which is how
an operator's file overrides some facts of a known provider and leaves the rest.
"""

from __future__ import annotations

import re
import tomllib
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .entries import DataPolicy, ModelType, Task

Count = Annotated[int, Meta(ge=1)]
Date = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Slug = Annotated[str, Meta(pattern=r"^~?[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._+-]*(:[a-z]+)?$")]
ProviderId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]*$")]
ServiceTier = Literal["batch", "flex", "priority", "ultrafast"]
Quantization = Literal[
    "int4", "int8", "fp4", "mxfp4", "nvfp4", "fp6", "fp8", "mxfp8", "fp16", "bf16", "fp32", "unknown"
]  # fmt: skip


class CatalogueError(Exception):
    """A catalogue file that cannot be used. `line` is None when it could not be found."""

    def __init__(self, file: str, line: int | None, field: str, problem: str) -> None:
        where = f"{file}:{line}" if line else file
        super().__init__(f"{where}: {field}: {problem}" if field else f"{where}: {problem}")
        self.file = file
        self.line = line
        self.field = field
        self.problem = problem


class AuthRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`bearer` is `header` with `Authorization: Bearer {key}`."""

    scheme: Literal["bearer", "header", "none", "aws-sigv4", "oauth2-bearer", "oci-signature"]
    env: str | tuple[str, ...] = ()
    header: str = "Authorization"
    format: str | UnsetType = UNSET
    service: str | None = None


class EndpointRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Slug
    id: Annotated[str, Meta(min_length=1)]
    pricing: dict[str, Any]
    tag: str | UnsetType = UNSET
    dialect: str | UnsetType = UNSET
    context_length: Count | None = None
    output_tokens_max: Count | None = None
    quantization: Quantization = "unknown"
    region: str | None = None
    variant: str | None = None
    retires: Date | None = None
    params: tuple[str, ...] | None = None
    free_trial: bool = False
    service_tiers: dict[ServiceTier, dict[str, Any]] = {}
    source: tuple[str, ...] = ()


class ModelRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field for field what `entries.Model` holds."""

    id: Slug
    name: str | UnsetType = UNSET
    author: str | UnsetType = UNSET
    type: ModelType | UnsetType = UNSET
    created: Date | UnsetType = UNSET
    context_length: Count | UnsetType = UNSET
    output_tokens_max: Count | UnsetType = UNSET
    input_modalities: tuple[str, ...] | UnsetType = UNSET
    output_modalities: tuple[str, ...] | UnsetType = UNSET
    capabilities: tuple[str, ...] | UnsetType = UNSET
    params: tuple[str, ...] | UnsetType = UNSET
    no_sampling: bool | UnsetType = UNSET
    efforts: tuple[str, ...] | UnsetType = UNSET
    thinking_budget: dict[str, int] | UnsetType = UNSET
    dimensions: tuple[int, ...] | UnsetType = UNSET
    knowledge_cutoff: str | UnsetType = UNSET
    open_weights: bool | UnsetType = UNSET
    hugging_face_id: str | UnsetType = UNSET
    canonical_slug: Slug | UnsetType = UNSET


class ProviderFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field for field what `entries.Provider` holds, then its endpoints and models of its own."""

    id: ProviderId
    name: str | UnsetType = UNSET
    dialect: str | UnsetType = UNSET
    base_url: str | UnsetType = UNSET
    variables: dict[str, str] | UnsetType = UNSET
    auth: AuthRow | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    disabled_because: str | UnsetType = UNSET
    private_network: bool | UnsetType = UNSET
    cancels: bool | UnsetType = UNSET
    quirks: tuple[str, ...] | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET
    dialects: dict[str, str] | UnsetType = UNSET
    regions: dict[str, str] | UnsetType = UNSET
    data_policy: DataPolicy | UnsetType = UNSET
    headquarters: str | UnsetType = UNSET
    datacenters: tuple[str, ...] | UnsetType = UNSET
    docs: str | UnsetType = UNSET
    models_path: str | UnsetType = UNSET
    aliases: tuple[str, ...] | UnsetType = UNSET
    checked: Date | UnsetType = UNSET
    source: tuple[str, ...] | UnsetType = UNSET
    endpoints: tuple[EndpointRow, ...] = ()
    models: tuple[ModelRow, ...] = ()


class ModelsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: tuple[ModelRow, ...]
    checked: Date | None = None
    source: tuple[str, ...] = ()


class AliasesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    aliases: dict[str, str] = {}
    retired: dict[str, tuple[str, ...]] = {}


class BenchmarkRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Field for field what `entries.Benchmark` holds. Where a figure comes from, and when it was
    read, are required: a score without them is hearsay."""

    name: Annotated[str, Meta(min_length=1)]
    source: Annotated[str, Meta(min_length=1)]
    checked: Date
    scores: dict[str, float]
    tasks: tuple[Task, ...] = ()


class BenchmarksFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    benchmarks: tuple[BenchmarkRow, ...] = ()


class FamilyRow(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"excluded": "except"}
):
    """What `entries.Family` holds under its slug; `except` is no name in Python."""

    id: Annotated[str, Meta(pattern=r"^~[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*-latest$")]
    name: str
    models: str
    excluded: str | None = None


class FamiliesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    families: tuple[FamilyRow, ...] = ()


class Source(msgspec.Struct, frozen=True):
    """One file: the name it is known by in errors, and its text."""

    name: str
    text: str

    def error(self, path: tuple[str | int, ...], problem: str) -> CatalogueError:
        return CatalogueError(self.name, line_of(self.text, path), spell(path), problem)


Shape = TypeVar("Shape", ProviderFile, ModelsFile, AliasesFile, BenchmarksFile, FamiliesFile)


def read(source: Source, shape: type[Shape]) -> Shape:
    """The text as that shape. Raises CatalogueError."""
    try:
        table = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found[1]) if found else source.text.count("\n") + 1
        raise CatalogueError(source.name, line, "", f"not valid TOML: {error}") from None
    try:
        return msgspec.convert(table, shape)
    except msgspec.ValidationError as error:
        path, problem = _explain(str(error), shape)
        raise source.error(path, problem) from None


def line_of(text: str, path: tuple[str | int, ...]) -> int | None:
    """The line (from 1) that says the field at `path`, or the nearest one around it.

    tomllib keeps no positions, so this looks for the table's header and the key below it. Inside
    an inline table the line of its first key is as near as it gets.
    """
    lines = text.splitlines()
    first, last, line = 0, _next_header(lines, 0), None
    for n, step in enumerate(path):
        if isinstance(step, int):
            continue
        index = path[n + 1] if n + 1 < len(path) else None
        headers = [i for i, row in enumerate(lines) if row.strip().startswith(f"[[{step}]]")]
        if isinstance(index, int) and index < len(headers):
            first = headers[index]
            last, line = _next_header(lines, first + 1), first + 1
            continue
        name = re.escape(step)
        key = re.compile(rf"""^\s*["']?{name}["']?\s*[=.]|^\s*\[(\w+\.)*{name}\]""")
        found = next((i for i in range(first, last) if key.search(lines[i])), None)
        if found is None:
            break
        first, line = found, found + 1
        last = max(last, _next_header(lines, found + 1))
    return line


def spell(path: tuple[str | int, ...]) -> str:
    """`endpoints[2].pricing.prompt`"""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")


def _next_header(lines: list[str], start: int) -> int:
    """Where the next array table begins; `[endpoints.pricing]` still belongs to its endpoint."""
    for i in range(start, len(lines)):
        if lines[i].lstrip().startswith("[["):
            return i
    return len(lines)


_PARTS = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[(?:\.\.\.)\]")
_ROWS: dict[str, type[msgspec.Struct]] = {
    "endpoints": EndpointRow,
    "models": ModelRow,
    "benchmarks": BenchmarkRow,
    "families": FamilyRow,
    "auth": AuthRow,
    "data_policy": DataPolicy,
}


def _explain(message: str, shape: type[msgspec.Struct]) -> tuple[tuple[str | int, ...], str]:
    """msgspec's message as a path and our words."""
    problem, _, at = message.partition(" - at `$")
    path: tuple[str | int, ...] = tuple(
        name or int(index) for name, index, *_ in _PARTS.findall(at.rstrip("`")) if name or index
    )
    around = next((_ROWS[p] for p in reversed(path) if isinstance(p, str) and p in _ROWS), shape)
    if unknown := re.fullmatch(r"Object contains unknown field `(.+)`", problem):
        known = ", ".join(around.__struct_fields__)
        return (*path, unknown[1]), f"no such field; known are {known}"
    if missing := re.fullmatch(r"Object missing required field `(.+)`", problem):
        return (*path, missing[1]), "expected a value, found none"
    if invalid := re.fullmatch(r"Invalid enum value (.+)", problem):
        return path, f"expected one of {_choices(path)}, got {invalid[1]}"
    if pattern := re.fullmatch(r"Expected `str` matching regex '(.+)'", problem):
        return path, f"expected {_PATTERNS.get(_name(path), 'text matching ' + pattern[1])}"
    return path, problem[0].lower() + problem[1:].replace("`", "")


def _name(path: tuple[str | int, ...]) -> str:
    return next((p for p in reversed(path) if isinstance(p, str)), "")


_PATTERNS = {
    "id": "a lower-case id (a provider: letters, digits, hyphens; a model: author/name)",
    "model": "a lower-case slug like author/name",
    "canonical_slug": "a lower-case slug like author/name",
    "created": "a date as text, YYYY-MM-DD",
    "retires": "a date as text, YYYY-MM-DD",
    "checked": "a date as text, YYYY-MM-DD",
}

_CHOICES: dict[str, Any] = {
    "type": ModelType,
    "quantization": Quantization,
    "tasks": Task,
    "service_tiers": ServiceTier,
    "scheme": AuthRow.__annotations__["scheme"],
}


def _choices(path: tuple[str | int, ...]) -> str:
    literal = _CHOICES.get(_name(path))
    values = re.findall(r"'([^']+)'|\"([^\"]+)\"", str(literal))
    return ", ".join(a or b for a, b in values) or "the known values"
