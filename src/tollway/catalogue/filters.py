"""The filters and sorts of `GET /models`: tables of small functions, one a parameter.

Pure. A filter on something no fact answers (benchmarks, categories, tool success, distillation)
checks its value and lets nothing pass; a sort puts rows without the figure last. A bad value is a
400 that names the parameter. Prices are asked in USD per million tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .. import errors
from .entries import Catalogue
from .rows import Row
from .views import tokenizer

Health = Mapping[str, Mapping[str, float]]
"""By model slug: `throughput` (tokens/s), `latency` (s), `requests`; what is missing sorts last."""

Test = Callable[[Row], bool]


def output_modalities(text: str) -> Test:
    """Models that write any of them; `all` = every model."""
    return _modalities(text, _outputs)


def _outputs(row: Row) -> tuple[str, ...]:
    return row.model.output_modalities


def _inputs(row: Row) -> tuple[str, ...]:
    return row.model.input_modalities


def _modalities(
    text: str, of: Callable[[Row], tuple[str, ...]], name: str = "output_modalities"
) -> Test:
    """Any of the named output modalities; all of the named input modalities."""
    wanted = _words(text)
    if "all" in wanted:
        return lambda row: True
    for word in wanted:
        if word not in _MODALITIES:
            raise errors.bad_field(
                name, f"expected all, or some of {', '.join(_MODALITIES)}; got {word!r}"
            )
    if of is _outputs:
        return lambda row: not wanted.isdisjoint(of(row))
    return lambda row: wanted.issubset(of(row))


_MODALITIES = (
    "text", "image", "file", "audio", "video", "embeddings", "rerank", "decisions", "speech",
    "transcription", "moderation",
)  # fmt: skip

CATEGORIES = (
    "programming", "roleplay", "marketing", "marketing/seo", "technology", "science",
    "translation", "legal", "finance", "health", "trivia", "academia",
)  # fmt: skip


def _supported(_: Catalogue, name: str, text: str, now_s: float) -> Test:
    wanted = _words(text)
    return lambda row: wanted <= row.params


def _input_modalities(_: Catalogue, name: str, text: str, now_s: float) -> Test:
    return _modalities(text, _inputs, name)


def _output_modalities(_: Catalogue, name: str, text: str, now_s: float) -> Test:
    return _modalities(text, _outputs, name)


def _search(_: Catalogue, name: str, text: str, now_s: float) -> Test:
    words = text.lower().split()
    return lambda row: all(word in row.search_text for word in words)


def _context(_: Catalogue, name: str, text: str, now_s: float) -> Test:
    least = _number(name, text)
    return lambda row: row.context >= least


def _price(rate: Callable[[Row], int | None], least: bool) -> Any:
    def build(_: Catalogue, name: str, text: str, now_s: float) -> Test:
        bound = _number(name, text) * 1_000_000  # USD per million tokens, in pico-USD per token

        def test(row: Row) -> bool:
            pico = rate(row)
            return pico is not None and (pico >= bound if least else pico <= bound)

        return test

    return build


def _age(oldest: bool) -> Any:
    def build(_: Catalogue, name: str, text: str, now_s: float) -> Test:
        since_s = now_s - _number(name, text) * 86_400
        if oldest:
            return lambda row: row.created_s > 0 and row.created_s >= since_s
        return lambda row: 0 < row.created_s <= since_s

    return build


def _family(_: Catalogue, name: str, text: str, now_s: float) -> Test:
    wanted = _words(text)
    return lambda row: tokenizer(row.model).lower() in wanted


def _authors(_: Catalogue, name: str, text: str, now_s: float) -> Test:
    wanted = _words(text)
    return lambda row: row.model.author.lower() in wanted


def _providers(catalogue: Catalogue, name: str, text: str, now_s: float) -> Test:
    wanted = {catalogue.provider_slug(word) for word in _words(text)}
    return lambda row: not wanted.isdisjoint(row.providers)


def _zdr(_: Catalogue, name: str, text: str, now_s: float) -> Test:
    if _choice(name, text, ("true", "false")) == "false":
        return lambda row: True
    return lambda row: row.zdr


def _region(_: Catalogue, name: str, text: str, now_s: float) -> Test:
    region = _choice(name, text, ("eu", "us"))
    return lambda row: region in row.regions


def _unanswered(check: Callable[[str, str], object]) -> Any:
    """A filter on facts nobody has: checked, then nothing passes."""

    def build(_: Catalogue, name: str, text: str, now_s: float) -> Test:
        check(name, text)
        return lambda row: False

    return build


def _prompt(row: Row) -> int | None:
    return row.prompt_pico


def _completion(row: Row) -> int | None:
    return row.completion_pico


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise errors.bad_field(name, f"expected a number of zero or more, got {text!r}")
    return value


def _choice(name: str, text: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        raise errors.bad_field(name, f"expected one of {', '.join(allowed)}; got {text!r}")
    return text


def _words(text: str) -> set[str]:
    return {word.strip().lower() for word in text.split(",") if word.strip()}


def boolean(query: Mapping[str, str], name: str) -> bool | None:
    if name not in query:
        return None
    return _choice(name, query[name], ("true", "false")) == "true"


FILTERS: dict[str, Callable[[Catalogue, str, str, float], Test]] = {
    "supported_parameters": _supported,
    "input_modalities": _input_modalities,
    "output_modalities": _output_modalities,
    "q": _search,
    "context": _context,
    "min_price": _price(_prompt, least=True),
    "max_price": _price(_prompt, least=False),
    "min_output_price": _price(_completion, least=True),
    "max_output_price": _price(_completion, least=False),
    "min_age_days": _age(oldest=False),
    "max_age_days": _age(oldest=True),
    "arch": _family,
    "model_authors": _authors,
    "providers": _providers,
    "zdr": _zdr,
    "region": _region,
    "category": _unanswered(lambda name, text: _choice(name, text, CATEGORIES)),
    "distillable": _unanswered(lambda name, text: _choice(name, text, ("true", "false"))),
    **{
        f"{bound}_{figure}": _unanswered(_number)
        for bound in ("min", "max")
        for figure in ("intelligence_index", "coding_index", "agentic_index", "tool_success_rate")
    },
}


# ---- order ---------------------------------------------------------------------------------------

Key = Callable[[Row, Health], float | None]
"""Smaller comes first; None comes last."""


def _by_health(figure: str, sign: int) -> Key:
    def key(row: Row, health: Health) -> float | None:
        value = health.get(row.model.id, {}).get(figure)
        return None if value is None else sign * value

    return key


SORTS: dict[str, Key] = {
    "newest": lambda row, _: -row.created_s if row.created_s else None,
    "most-popular": _by_health("requests", -1),
    "top-weekly": _by_health("requests", -1),
    "pricing-low-to-high": lambda row, _: row.weighted_pico,
    "pricing-high-to-low": lambda row, _: None if row.weighted_pico is None else -row.weighted_pico,
    "context-high-to-low": lambda row, _: -row.context if row.context else None,
    "throughput-high-to-low": _by_health("throughput", -1),
    "latency-low-to-high": _by_health("latency", 1),
    "intelligence-high-to-low": lambda row, _: None,
    "coding-high-to-low": lambda row, _: None,
    "agentic-high-to-low": lambda row, _: None,
    "design-arena-elo-high-to-low": lambda row, _: None,
}


def in_order(rows: Iterable[Row], sort: str, health: Health) -> list[Row]:
    """Rows that tie, and those without the figure, stay newest first, then in order of the files."""
    key = SORTS[_choice("sort", sort, tuple(SORTS))]

    def rank(row: Row) -> tuple[bool, float, int]:
        value = key(row, health)
        return value is None, value or 0, -row.created_s

    return sorted(rows, key=rank)
