"""dialects/think_tags.py"""

from __future__ import annotations

import pytest

from tollway.dialects.think_tags import ThinkTags

CASES = {
    "<think>a b</think>c": ("c", "a b"),
    " \n<think>\na</think>\n\nc": ("c", "a"),
    "plain": ("plain", ""),
    "plain <think>no</think>": ("plain <think>no</think>", ""),
    "<think>never closed": ("", "never closed"),
    "<think>a</thin": ("", "a</thin"),
    "<thi": ("<thi", ""),
    "<think></think>c": ("c", ""),
    "<think>a</thinkx></think>c": ("c", "a</thinkx>"),
    "<": ("<", ""),
    "": ("", ""),
}


@pytest.mark.parametrize("text", CASES)
def test_reasoning_and_content_are_told_apart_however_the_text_is_cut(text: str) -> None:
    content, reasoning = CASES[text]
    for i in range(len(text) + 1):
        for j in range(i, len(text) + 1):
            tags = ThinkTags()
            pieces = [p for t in (text[:i], text[i:j], text[j:]) for p in tags.feed(t)]
            pieces += tags.finish()
            assert "".join(t for is_reasoning, t in pieces if is_reasoning) == reasoning
            assert "".join(t for is_reasoning, t in pieces if not is_reasoning) == content
