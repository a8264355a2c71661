"""`<think>…</think>` at the start of an answer's text: taken apart into reasoning and content.

For models whose host does not do it. Only a tag that opens the answer counts (after white space);
later ones are the model's own words. Line ends next to the tags belong to neither side. Works on
any slicing; holds back at most a partial tag.
"""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


class ThinkTags:
    """Splits one choice's text. `feed` gives pieces as (is_reasoning, text)."""

    __slots__ = ("_held", "_state", "_trims")

    def __init__(self) -> None:
        self._state = "start"
        self._held = ""
        self._trims = False
        """A tag has just passed: line ends that follow it are dropped."""

    def feed(self, text: str) -> list[tuple[bool, str]]:
        text, self._held = self._held + text, ""
        if self._state == "start":
            bare = text.lstrip()
            if len(bare) < len(OPEN) and OPEN.startswith(bare):
                self._held = text
                return []
            if bare.startswith(OPEN):
                self._state, self._trims, text = "thinking", True, bare[len(OPEN) :]
            else:
                self._state = "content"
        pieces: list[tuple[bool, str]] = []
        if self._state == "thinking":
            thought, closed, rest = text.partition(CLOSE)
            if not closed:
                keep = _partial(thought)
                self._held = thought[len(thought) - keep :]
                thought = thought[: len(thought) - keep]
            self._give(pieces, True, thought)
            if not closed:
                return pieces
            self._state, self._trims, text = "content", True, rest
        self._give(pieces, False, text)
        return pieces

    def finish(self) -> list[tuple[bool, str]]:
        """What was held back in the hope of a whole tag."""
        held, self._held = self._held, ""
        return [(self._state == "thinking", held)] if held else []

    def _give(self, pieces: list[tuple[bool, str]], is_reasoning: bool, text: str) -> None:
        if self._trims:
            text = text.lstrip("\r\n")
        if text:
            self._trims = False
            pieces.append((is_reasoning, text))


def _partial(text: str) -> int:
    """Length of the longest end of `text` that may become a closing tag."""
    for length in range(min(len(CLOSE) - 1, len(text)), 0, -1):
        if CLOSE.startswith(text[-length:]):
            return length
    return 0
