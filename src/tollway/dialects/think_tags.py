"""`<think>…</think>` at the start of an answer's text: taken apart into reasoning and content.

For models whose host does not do it. Only a tag that opens the answer counts (after white space);
later ones are the model's own words. Works on any slicing; holds back at most a partial tag.
"""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


class ThinkTags:
    """Splits one choice's text. `feed` gives pieces as (is_reasoning, text)."""

    __slots__ = ("_held", "_state")

    def __init__(self) -> None:
        self._state = "start"
        self._held = ""

    def feed(self, text: str) -> list[tuple[bool, str]]:
        if self._state == "content":
            return [(False, text)] if text else []
        text, self._held = self._held + text, ""
        pieces: list[tuple[bool, str]] = []
        if self._state == "start":
            bare = text.lstrip()
            if len(bare) < len(OPEN) and OPEN.startswith(bare):
                self._held = text
                return pieces
            if not bare.startswith(OPEN):
                self._state = "content"
                return [(False, text)]
            self._state = "thinking"
            text = bare[len(OPEN) :].lstrip("\n")
        thought, closed, rest = text.partition(CLOSE)
        if not closed:
            keep = _partial(thought)
            self._held = thought[len(thought) - keep :]
            thought = thought[: len(thought) - keep]
        if thought:
            pieces.append((True, thought))
        if closed:
            self._state = "content"
            rest = rest.lstrip("\n")
            if rest:
                pieces.append((False, rest))
        return pieces

    def finish(self) -> list[tuple[bool, str]]:
        """What was held back in the hope of a whole tag."""
        held, self._held = self._held, ""
        return [(self._state == "thinking", held)] if held else []


def _partial(text: str) -> int:
    """Length of the longest end of `text` that may become a closing tag."""
    for length in range(min(len(CLOSE) - 1, len(text)), 0, -1):
        if CLOSE.startswith(text[-length:]):
            return length
    return 0
