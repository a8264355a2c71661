"""Context compression: a prompt that fits no window is shortened until it fits one.

Where a plan dropped every endpoint for the length of the prompt, a shorter request is planned
again: by `middle_out`, for the window that loses least. A prompt that fits somewhere is never
touched, except for its number of messages where a model takes no more. Switched on by the plugin
`context-compression`; without a word of the caller it serves windows of SMALL_TOKENS and less.
OpenRouter: plugins, context compression. Where a provider finds too long what was planned as
fitting, and the plugin was asked for, what is left of the prompt is sent there once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ..canon import Fault, Request
from ..dialects import dialect
from ..routing.entries import Offer, Plan
from .middle_out import Room, middle_out
from .threads import Thread, read, shortened, text_size, written

SMALL_TOKENS = 8_192
"""Windows up to this compress without being told to (OpenRouter)."""

MESSAGES_MAX: Mapping[str, int] = {"anthropic": 1_000}
"""By the author of a model: how many messages it takes (OpenRouter)."""

OUTPUT_SHARE, OUTPUT_TOKENS = 4, 4_096
"""What is left free for the answer when the caller names no limit: a quarter of the window, at most
this. A limit of the caller's is left free itself, up to three quarters."""

WINDOWS_MAX = 4
"""Windows that are tried: each costs a walk over the prompt and a plan."""

_NO_LIMIT = 1 << 62


def fitted(
    request: Request,
    planned: Plan,
    offers: Mapping[str, Sequence[Offer]],
    replan: Callable[[Request], Plan],
) -> tuple[Request, Plan]:
    """The request and its plan, or a shorter request and the plan for that. What was done stands in
    `Plan.pipeline`; what cannot be made to fit is returned as it came."""
    wanted = request.plugins.compression
    if wanted is False or (planned.attempts and not wanted) or request.kind != "chat":
        return request, planned
    targets = _too_many(planned) if planned.attempts else _too_long(request, planned, offers)
    found = read(request) if targets else None
    if found is None:
        return request, planned
    history = _History(request, *found)
    for window, most in targets:
        shorter = history.within(window, most)
        if shorter is None:
            continue
        replanned = replan(shorter)
        if replanned.attempts:
            entry = history.report(shorter, window)
            return shorter, msgspec.structs.replace(
                replanned, pipeline=(*replanned.pipeline, entry)
            )
    return request, planned


def halved(
    request: Request, planned: Plan, index: int, fault: Fault
) -> tuple[Request, Plan] | None:
    """After attempt `index` was refused as too long: half of the prompt by our estimate, which was
    wrong, and the plan that says so. None where the fault or the caller says otherwise, or too
    little of the prompt can be left out. It costs no more than what was planned."""
    refused = planned.attempts[index]
    if fault.retry != "larger" or request.plugins.compression is not True:
        return None
    if request.kind != "chat" or "text" not in refused.model.output_modalities:
        return None
    found = read(request)
    if found is None:
        return None
    history = _History(request, *found)
    shorter = history.half(MESSAGES_MAX.get(refused.model.author, _NO_LIMIT))
    if shorter is None:
        return None
    why = f"since {refused.provider.name} refused it as too long"
    window = refused.endpoint.context_length or refused.model.context_length
    entry = history.report(shorter, window, why)
    return shorter, msgspec.structs.replace(planned, pipeline=(*planned.pipeline, entry))


Target = tuple[int | None, int]
"""A window in tokens (None: any) and a number of messages."""


def _too_many(planned: Plan) -> list[Target]:
    """The model that is asked first may take fewer messages than there are."""
    most = MESSAGES_MAX.get(planned.attempts[0].model.author)
    return [] if most is None else [(None, most)]


def _too_long(
    request: Request, planned: Plan, offers: Mapping[str, Sequence[Offer]]
) -> list[Target]:
    """The windows to aim at, best first: of each model the largest, in the order of the request, if
    it holds half of what is needed; where none does, the largest of all."""
    dropped = {(drop.model, drop.tag) for drop in planned.drops if drop.reason == "context_length"}
    if not dropped:
        return []
    needed = request.prompt_tokens_likely + (request.output_tokens_max or 0)
    largest: list[Target] = []
    for candidates in offers.values():
        windows = [
            (offer.context, MESSAGES_MAX.get(offer.model.author, _NO_LIMIT))
            for offer in candidates
            if (offer.model.id, offer.endpoint.tag) in dropped and _eligible(request, offer)
        ]
        if windows:
            largest.append(max(windows, key=lambda target: target[0] or 0))
    enough = [target for target in largest if 2 * (target[0] or 0) >= needed]
    if not enough and largest:
        enough = [max(largest, key=lambda target: target[0] or 0)]
    return enough[:WINDOWS_MAX]


def _eligible(request: Request, offer: Offer) -> bool:
    """Models that only make images are given the whole prompt or none."""
    if offer.context is None or "text" not in offer.model.output_modalities:
        return False
    return request.plugins.compression is True or offer.context <= SMALL_TOKENS


class _History:
    """A request's history while windows are tried: read once."""

    def __init__(self, request: Request, thread: Thread, raws: list[Raw]) -> None:
        self._request = request
        self._thread = thread
        self._raws = raws
        self._entries = [thread.entry(msgspec.json.decode(raw)) for raw in raws]
        self._sizes, self._beside = _sizes(request, thread, raws)
        self._count = self._shortened = 0

    def within(self, window: int | None, most: int) -> Request | None:
        """A request that fits; None when none does, or when this one already does."""
        if window is None:
            if len(self._raws) <= most:
                return None
            return self._with(Room(_NO_LIMIT, most))
        output = self._request.output_tokens_max
        free = min(window // OUTPUT_SHARE, OUTPUT_TOKENS)
        if output is not None:
            free = min(output, window * 3 // 4)
        # A token for 4 bytes is an estimate, so a tenth is left. A question that leaves no room for
        # a long answer is still better asked.
        for tokens in ((window - free) * 9 // 10, window * 9 // 10):
            shorter = self._with(Room(4 * tokens - self._beside, most))
            if shorter is not None and shorter.prompt_tokens_likely < window:
                return shorter
        return None

    def half(self, most: int) -> Request | None:
        """The tokens that were counted may be twice as many by the model's own count: texts that are
        not in English letters, numbers, data. Half of them then fit wherever these should have."""
        tokens = self._request.prompt_tokens_likely
        shorter = self._with(Room(2 * tokens - self._beside, most))
        return shorter if shorter is not None and shorter.prompt_tokens_likely < tokens else None

    def report(
        self, shorter: Request, window: int | None, why: str | None = None
    ) -> dict[str, Any]:
        """The entry of the pipeline. `why` if not to fit."""
        before, after, cut = len(self._raws), self._count, self._shortened
        done = f"Kept {after:,} of {before:,} messages"
        if cut:
            done += f", {cut:,} of them shortened"
        fits = "the number a model takes" if window is None else f"a context of {window:,} tokens"
        return {
            "type": "context_compression",
            "name": "context-compression",
            "summary": f"{done}, {why or f'to fit {fits}'}.",
            "data": {
                "engine": "middle-out",
                "messages_before": before,
                "messages_after": after,
                "messages_shortened": cut,
                "tokens_before": self._request.prompt_tokens_likely,
                "tokens_after": shorter.prompt_tokens_likely,
                "context_length": window,
            },
        }

    def _with(self, room: Room) -> Request | None:
        kept = middle_out(self._entries, self._sizes, room, self._texts)
        if not kept:
            return None
        entries: list[Raw] = []
        self._shortened = 0
        for n, most in kept.items():
            raw = self._raws[n]
            if most is not None:
                raw, changed = shortened(raw, self._thread, most)
                self._shortened += changed
            entries.append(raw)
        self._count = len(entries)
        return measured(self._request, written(self._request, self._thread, entries))

    def _texts(self, place: int) -> list[int]:
        """Sizes as they count in the entry as it came. Escapes and spaces that are gone once it is
        written anew are shared out, so that what a cut saves is not underrated."""
        message = msgspec.json.decode(self._raws[place])
        sizes = [text_size(container[key]) for container, key in self._thread.slots(message)]
        spare = len(self._raws[place]) - len(msgspec.json.encode(message))
        total = sum(sizes)
        if spare <= 0 or total == 0:
            return sizes
        return [size + spare * size // total for size in sizes]


def _sizes(request: Request, thread: Thread, raws: Sequence[Raw]) -> tuple[list[int], int]:
    """What each entry counts for, at 4 bytes a token, and what everything else does: tools, schema,
    a system prompt of its own. Where media are involved the dialect says what they count for."""
    beside = request.prompt_bytes - len(request.fields[thread.field]) + _FRAME_BYTES
    if not request.media_tokens:
        return [len(raw) + 1 for raw in raws], beside
    sizes: list[int] = []
    beside += 4 * request.media_tokens
    for raw in raws:
        alone = measured(request, {thread.field: Raw(b"[" + bytes(raw) + b"]")})
        sizes.append(alone.prompt_bytes + 4 * alone.media_tokens)
        beside += len(raw) + 2 - sizes[-1]
    return sizes, beside


_FRAME_BYTES = 16
"""Brackets, and the token that every estimate adds."""

_MEASURED = (
    "prompt_bytes",
    "media_tokens",
    "images",
    "modalities",
    "cache_marked",
    "traits",
    "foreign_thinking",
)


def measured(request: Request, fields: dict[str, Raw]) -> Request:
    """The request with other fields, and with what follows from them read anew by its dialect."""
    name = _READ_AS.get(request.dialect, request.dialect)
    body = msgspec.json.encode({"model": "any/model", **fields})
    seen: Request = dialect(name).parse_request(body, {}, "/models/any/model:generateContent")
    changed = {name: getattr(seen, name) for name in _MEASURED if name in request.__struct_fields__}
    return msgspec.structs.replace(request, fields=fields, **changed)


_READ_AS = {"openai_completions": "openai_chat"}
"""Whose fields are those of another dialect."""
