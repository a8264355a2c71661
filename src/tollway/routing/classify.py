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
from typing import Any, get_args

import msgspec
from msgspec import Raw

from ..canon import Request
from ..catalogue.entries import Task

ORDER: tuple[Task, ...] = get_args(Task)
"""Who wins a tie: what is dearest to get wrong first."""

TEXT_CHARS = 3_000
"""Read of the user's last words: two thirds from the beginning, one from the end, since a question
stands before or behind what it is about."""
SYSTEM_CHARS = 1_500
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
    """Things the user said so far, tool results not counted."""


FEATURES: tuple[str, ...] = ("tools", "structured_outputs", "response_format", "reasoning")
"""What is needed when it was asked for; the values are names of `supported_parameters`."""

_TEXT_ONLY = frozenset({"text"})
_NO_FEATURES: frozenset[str] = frozenset()


def needs_of(request: Request) -> Needs:
    sent = request.params
    features = _NO_FEATURES
    if sent and not sent.isdisjoint(FEATURES):
        features = sent & frozenset(FEATURES)
        if "reasoning" in features and _declined(request.fields):
            features -= {"reasoning"}
        if "structured_outputs" in features:  # who keeps a schema writes JSON
            features -= {"response_format"}
    return Needs(request.modalities, _outputs(request.fields), features)


def work_of(request: Request, needs: Needs) -> Work:
    """Never raises: what cannot be read says nothing."""
    try:
        said = _said(request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = _Said()
    points: dict[str, int] = {}
    _words(said.user, points)
    _marks(said.user, points)
    if said.system:
        seen: dict[str, int] = {}
        _words(said.system, seen)
        for task in seen:  # what an application is for counts once, however often it says so
            points[task] = points.get(task, 0) + 1
    _shape(request, needs, said, points)
    scripts = _scripts(said.user)
    if len(scripts) > 1:
        _add(points, "translation", 1)
    task = max(ORDER, key=lambda t: points.get(t, 0)) if points else "chat"
    return Work(task, points, scripts[0] if scripts else "none", said.turns)


def last_model(request: Request) -> str | None:
    """The `model` of the last message of the assistant that names one, for `pin_model`."""
    try:
        turns = _turns(request.fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for turn in reversed(turns):
        if turn.role in ("assistant", "model"):
            return turn.model if isinstance(turn.model, str) and turn.model else None
    return None


# ---- signals -------------------------------------------------------------------------------------


def _shape(request: Request, needs: Needs, said: _Said, points: dict[str, int]) -> None:
    """What needs no words: fields, sizes and kinds of input."""
    if "tools" in needs.features:
        _add(points, "agent", 9 if said.tools_used else 3)
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


# ---- reading any dialect -------------------------------------------------------------------------


class _Said(msgspec.Struct, frozen=True):
    user: str = ""
    system: str = ""
    turns: int = 0
    tools_used: bool = False


class _Turn(msgspec.Struct, frozen=True):
    """A message, an item or a content of any dialect, as far as it is looked at."""

    role: Any = None
    type: Any = None
    content: Raw = Raw(b"")
    parts: Raw = Raw(b"")
    model: Any = None

    @property
    def said(self) -> Raw:
        return self.content if len(self.content) else self.parts


class _Part(msgspec.Struct, frozen=True):
    text: Any = None


_turns_decoder = msgspec.json.Decoder(list[_Turn])
_part_decoder = msgspec.json.Decoder(list[_Part])
_text_decoder = msgspec.json.Decoder(str)
_TALKS = ("messages", "input", "contents")
"""Where a conversation is: chat and Messages, Responses, Gemini."""
_SYSTEMS = ("system", "instructions", "systemInstruction")
_CALLS = (b'"tool_call_id"', b'"tool_result"', b'"function_call_output"', b'"functionResponse"')


def _turns(fields: dict[str, Raw]) -> list[_Turn]:
    raw = next((fields[name] for name in _TALKS if name in fields), Raw(b"[]"))
    if _starts(raw) == b'"':
        return [_Turn(role="user", content=raw)]
    return _turns_decoder.decode(raw)


def _said(request: Request) -> _Said:
    fields = request.fields
    turns = _turns(fields)
    user, count = "", 0
    for turn in reversed(turns):
        if turn.role != "user":
            continue
        if not user:
            user = _text(turn.said)
        count += 1
    system = next((_plain(fields[name]) for name in _SYSTEMS if name in fields), "")
    if not system and turns and turns[0].role in ("system", "developer"):
        system = _text(turns[0].said)
    return _Said(
        user=_ends(user),
        system=system[:SYSTEM_CHARS],
        turns=count,
        tools_used="tools" in request.params and _called(fields),
    )


def _called(fields: dict[str, Raw]) -> bool:
    """A tool has been called and has answered: the marks of the dialects' result messages."""
    talk = next((bytes(fields[name]) for name in _TALKS if name in fields), b"")
    return any(mark in talk for mark in _CALLS)


def _ends(text: str) -> str:
    if len(text) <= TEXT_CHARS:
        return text
    return f"{text[: TEXT_CHARS * 2 // 3]}\n{text[-TEXT_CHARS // 3 :]}"


def _plain(raw: Raw) -> str:
    """A system prompt: text, a list of parts, or Gemini's object with parts."""
    if _starts(raw) == b"{":
        return _text(msgspec.json.decode(raw, type=_Turn).said)
    return _text(raw)


def _starts(raw: Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def _text(raw: Raw) -> str:
    """The text of a content: of its parts those that have some."""
    start = _starts(raw)
    if start == b'"':
        return _text_decoder.decode(raw)
    if start == b"{":  # Gemini lets a single part stand for a list
        raw = Raw(b"[" + bytes(raw) + b"]")
    elif start != b"[":
        return ""
    parts = _part_decoder.decode(raw)
    return "\n".join(part.text for part in parts if isinstance(part.text, str) and part.text)


# ---- reading fields ------------------------------------------------------------------------------


class _Effort(msgspec.Struct, frozen=True):
    effort: Any = None
    enabled: Any = None


class _Budget(msgspec.Struct, frozen=True):
    thinkingBudget: Any = None


class _Config(msgspec.Struct, frozen=True):
    responseModalities: Any = None
    thinkingConfig: _Budget | None = None


_config_decoder = msgspec.json.Decoder(_Config)


def _declined(fields: dict[str, Raw]) -> bool:
    """`reasoning` was sent to say that there is to be none."""
    if bytes(fields.get("reasoning_effort", b"")) == b'"none"':
        return True
    try:
        if (raw := fields.get("reasoning")) is not None:
            wanted = msgspec.json.decode(raw, type=_Effort)
            return wanted.enabled is False or wanted.effort == "none"
        if (raw := fields.get("generationConfig")) is not None:
            budget = _config_decoder.decode(raw).thinkingConfig
            return budget is not None and budget.thinkingBudget == 0
    except msgspec.DecodeError:
        return False
    return False


def _outputs(fields: dict[str, Raw]) -> frozenset[str]:
    """What is to be written: `modalities` of chat and Responses, Gemini's `responseModalities`."""
    raw, config = fields.get("modalities"), fields.get("generationConfig")
    if raw is None and config is None:
        return _TEXT_ONLY
    try:
        if raw is not None:
            asked: Any = msgspec.json.decode(raw)
        else:
            assert config is not None
            asked = _config_decoder.decode(config).responseModalities
    except msgspec.DecodeError:
        return _TEXT_ONLY
    named = {m.lower() for m in asked if isinstance(m, str)} if isinstance(asked, list) else set()
    return frozenset(named) | _TEXT_ONLY if named else _TEXT_ONLY
