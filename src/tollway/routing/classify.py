"""Classify: what kind of work a request is, and what a model must be able to do to take it.

Pure, local and cheap: no tokenizer, no model, no text leaves the process. Reads the caller's own
JSON of any dialect, and of its text only the last thing the user said and the system prompt, each
cut to a few thousand characters. Two answers that must not be mixed up: `Needs` are facts of the
request (an image is there, tools are there) and bind; `Work` is a guess from words and marks, and
only moves models up or down. A request that cannot be read is `chat`.

Points: every signal gives its kind of work some; the most points win, ties go to the kind that
stands first in `ORDER`, none is `chat`. docs/routers.md lists the signals.
"""

from __future__ import annotations

import re
from typing import get_args

import msgspec

from ..canon import Request
from ..catalogue.entries import Task
from .said import UNREADABLE, Said, declined, outputs, said, turns

ORDER: tuple[Task, ...] = get_args(Task)
"""Who wins a tie: what is dearest to get wrong first."""

LONG_TOKENS = 16_000
"""From here on a prompt is mostly something to be read."""


class Needs(msgspec.Struct, frozen=True):
    """What a model must be able to do. Hard: whoever lacks one of these is no candidate."""

    inputs: frozenset[str]
    """Modalities it has to read."""
    outputs: frozenset[str]
    """Exactly what it is to write: nobody who asked for text wants a model that also draws."""
    features: frozenset[str]
    """Of FEATURES."""


class Work(msgspec.Struct, frozen=True):
    """What a request seems to be, and why: `points` by kind of work, for the record."""

    task: Task
    points: dict[str, int]
    script: str
    """The writing system most of the text is in: latin, cyrillic, han, … or `none`."""
    turns: int
    """Messages of the user so far."""


FEATURES: tuple[str, ...] = ("tools", "structured_outputs", "response_format", "reasoning")
"""What is needed when it was asked for; the values are names of `supported_parameters`."""

_NO_FEATURES: frozenset[str] = frozenset()


def needs_of(request: Request) -> Needs:
    sent = request.params
    features = _NO_FEATURES
    if sent and not sent.isdisjoint(FEATURES):
        features = sent & frozenset(FEATURES)
        if "reasoning" in features and declined(request.fields):
            features -= {"reasoning"}
        if "structured_outputs" in features:  # who keeps a schema writes JSON
            features -= {"response_format"}
    return Needs(request.modalities, outputs(request.fields), features)


def work_of(request: Request, needs: Needs) -> Work:
    """Never raises: what cannot be read says nothing."""
    try:
        talk = said(request)
    except UNREADABLE:
        talk = Said()
    points: dict[str, int] = {}
    _words(talk.user, points)
    _marks(talk.user, points)
    if talk.system:
        seen: dict[str, int] = {}
        _words(talk.system, seen)
        for task in seen:  # what an application is for counts once, however often it says so
            points[task] = points.get(task, 0) + 1
    _shape(request, needs, talk, points)
    scripts = _scripts(talk.user)
    if len(scripts) > 1:
        _add(points, "translation", 1)
    task = max(ORDER, key=lambda t: points.get(t, 0)) if points else "chat"
    return Work(task, points, scripts[0] if scripts else "none", talk.turns)


def last_model(request: Request) -> str | None:
    """The `model` of the last message of the assistant that names one, for `pin_model`."""
    try:
        talk = turns(request.fields)
    except UNREADABLE:
        return None
    for turn in reversed(talk):
        if turn.role in ("assistant", "model"):
            return turn.model if isinstance(turn.model, str) and turn.model else None
    return None


# ---- signals -------------------------------------------------------------------------------------


def _shape(request: Request, needs: Needs, talk: Said, points: dict[str, int]) -> None:
    """What needs no words: fields, sizes and kinds of input."""
    if "tools" in needs.features:
        _add(points, "agent", 9 if talk.tools_used else 3)
    if not needs.features.isdisjoint({"structured_outputs", "response_format"}):
        _add(points, "extraction", 3)
    if "reasoning" in needs.features:
        _add(points, "reasoning", 2)
    if not request.modalities.isdisjoint({"image", "audio", "video"}):
        _add(points, "media", 3)
    if "file" in request.modalities:
        _add(points, "document", 3)
    if request.prompt_tokens_likely - request.media_tokens > LONG_TOKENS:
        _add(points, "document", 2)


def _add(points: dict[str, int], task: Task, more: int) -> None:
    points[task] = points.get(task, 0) + more


_BY_TASK: dict[Task, tuple[str, str]] = {
    "code": (
        "debug refactor typescript javascript golang rustc kotlin traceback stacktrace segfault "
        "dockerfile kubernetes regex sql css html api endpoint",
        "code coding python java function class method variable compile compiler bug unittest "
        "script repository commit programming programmer developer algorithm query database",
    ),
    "math": (
        "theorem lemma integral derivative eigenvalue polynomial logarithm cosine arithmetic "
        "geometry algebra calculus trigonometry",
        "equation equations prove proof probability matrix solve triangle sum divisible prime "
        "math mathematics mathematical beweise gleichung équation ecuación",
    ),
    "reasoning": (
        "puzzle riddle deduce logically",
        "why reason reasoning analyse analyze compare evaluate plan strategy tradeoff tradeoffs "
        "assess argue implications consequences decide",
    ),
    "extraction": (
        "extract classify categorize categorise",
        "label labels sentiment json csv fields parse entities tag tags structured extrahiere",
    ),
    "translation": (
        "translate translation translator übersetze übersetzen übersetzung traduis traduire "
        "traduction traduce traducir traducción traduzir tradução traduci переведи перевод",
        "",
    ),
    "summary": (
        "summarize summarise summary summarization tldr zusammenfassung zusammenfassen résume "
        "résumer résumé resume resumen resumir riassumi резюмируй abstract",
        "condense shorten gist takeaways",
    ),
    "writing": (
        "poem essay haiku lyrics sonnet screenplay blogpost roleplay gedicht aufsatz",
        "story write rewrite proofread letter email article blog creative fiction novel tone "
        "paraphrase slogan headline character narrative schreibe écris escribe",
    ),
}
"""Words that speak for a kind of work: strong ones (2 points) and weak ones (1)."""

_WORDS: dict[str, tuple[Task, int]] = {
    word: (task, weight)
    for task, lists in _BY_TASK.items()
    for weight, words in zip((2, 1), lists, strict=True)
    for word in words.split()
}
_VOCABULARY = frozenset(_WORDS)
_WORDS_MOST = 4
"""A kind of work gets no more from words than this: a long text mentions everything."""
_WORD = re.compile(r"[^\W\d_]{2,}")

_MARKS: tuple[tuple[Task, int, int, tuple[str, ...]], ...] = (
    ("code", 4, 1, ("```", "Traceback (most recent call last)", "#include", "#!/")),
    (
        "code",
        3,
        2,
        (
            "def ",
            "();",
            "){",
            ") {",
            "=> ",
            "</",
            "import ",
            "SELECT ",
            "->",
            "::",
            "&&",
            "return ",
        ),
    ),
    ("code", 2, 1, ("代码", "代碼", "コード", "코드", "код ")),
    ("math", 4, 1, ("\\frac", "\\int", "\\sum", "\\sqrt", "\\begin{", "$$", "∫", "∑", "√")),
    ("math", 2, 1, ("≤", "≥", "π", "∞", "x^", "^2", "证明", "証明", "方程")),
    ("translation", 4, 1, ("翻译", "翻譯", "翻訳", "번역")),
    ("summary", 4, 1, ("总结", "總結", "摘要", "要約", "요약", "tl;dr", "TL;DR")),
    ("reasoning", 1, 1, ("step by step", "step-by-step", "一步一步")),
    ("writing", 2, 1, ("写一", "小说", "詩を", "써줘")),
)
"""Kind of work, points, how many of the marks must be there, marks. One arrow is no program."""
_SUM = re.compile(r"\d\s*[-+*/×÷^]\s*\d+\s*[-+*/×÷^=]")
_ASKED = ("what is ", "calculate ", "compute ", "how much is ")
_NUMBER = re.compile(r"[\d(]")


def _words(text: str, points: dict[str, int]) -> None:
    found: dict[Task, int] = {}
    for word in _VOCABULARY.intersection(_WORD.findall(text.lower())):
        task, weight = _WORDS[word]
        found[task] = found.get(task, 0) + weight
    for task, weight in found.items():
        _add(points, task, min(weight, _WORDS_MOST))


def _marks(text: str, points: dict[str, int]) -> None:
    for task, weight, least, marks in _MARKS:
        if sum(mark in text for mark in marks) >= least:
            _add(points, task, weight)
    if _SUM.search(text) or _reckoned(text[:_ASKED_CHARS].lower()):
        _add(points, "math", 2)


_ASKED_CHARS = 200


def _reckoned(start: str) -> bool:
    """`What is 17 …`: a number right behind the question."""
    for words in _ASKED:
        at = start.find(words)
        if at >= 0 and _NUMBER.match(start, at + len(words)):
            return True
    return False


_SCRIPTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("latin", re.compile(r"[A-Za-z\u00c0-\u024f]")),
    ("cyrillic", re.compile(r"[\u0400-\u04ff]")),
    ("greek", re.compile(r"[\u0370-\u03ff]")),
    ("arabic", re.compile(r"[\u0600-\u06ff]")),
    ("hebrew", re.compile(r"[\u0590-\u05ff]")),
    ("devanagari", re.compile(r"[\u0900-\u097f]")),
    ("thai", re.compile(r"[\u0e00-\u0e7f]")),
    ("hangul", re.compile(r"[\uac00-\ud7af]")),
    ("kana", re.compile(r"[\u3040-\u30ff]")),
    ("han", re.compile(r"[\u4e00-\u9fff]")),
)
_SCRIPT_CHARS = 600


def _scripts(text: str) -> list[str]:
    """Writing systems that hold at least a quarter of the letters, the largest first. Japanese
    mixes two by nature, and counts as one."""
    if text.isascii():
        return ["latin"] if text and not text.isspace() else []
    sample = text[:_SCRIPT_CHARS]
    counts = {name: len(pattern.findall(sample)) for name, pattern in _SCRIPTS}
    if counts["kana"]:
        counts["kana"] += counts.pop("han")
    total = sum(counts.values())
    held = [(count, name) for name, count in counts.items() if count and 4 * count >= total]
    return [name for _, name in sorted(held, reverse=True)]
