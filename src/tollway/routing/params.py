"""Which parameters an endpoint supports, and which are one parameter under several names.

Not here: what a parameter means (dialects). A parameter outside the public vocabulary is never
touched: the provider may know it.
"""

from __future__ import annotations

from collections.abc import Iterable

VOCABULARY: frozenset[str] = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "top_a",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "max_tokens",
        "max_completion_tokens",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "prediction",
        "seed",
        "response_format",
        "structured_outputs",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "include_reasoning",
        "reasoning",
        "reasoning_effort",
        "web_search_options",
        "verbosity",
    }
)
"""Every value `supported_parameters` may hold, by OpenRouter's schema."""

ALWAYS: frozenset[str] = frozenset({"max_tokens", "max_completion_tokens"})
"""Never dropped: the output limit is what keeps an answer within its hold."""

SAMPLING: frozenset[str] = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "top_a",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
    }
)
"""What a model marked `no_sampling` rejects."""

IMPLIED: dict[str, frozenset[str]] = {
    "tools": frozenset({"tool_choice", "parallel_tool_calls"}),
    "logprobs": frozenset({"top_logprobs"}),
    "structured_outputs": frozenset({"response_format"}),
    "reasoning": frozenset({"reasoning_effort", "include_reasoning"}),
    "reasoning_effort": frozenset({"reasoning", "include_reasoning"}),
    "include_reasoning": frozenset({"reasoning", "reasoning_effort"}),
}
"""Lists of supported parameters are short-spoken: who takes the first takes the others."""

SOFT: tuple[frozenset[str], ...] = (
    frozenset({"tools", "tool_choice"}),
    frozenset({"response_format", "structured_outputs"}),
    frozenset({"verbosity"}),
)
"""Where some endpoints of a model support all that was sent of a group, only those are used."""


def unsupported(supported: Iterable[str] | None, no_sampling: bool) -> frozenset[str]:
    """The vocabulary without what is supported. `None` = nobody published a list, so everything
    is, except what a model that takes no sampling parameters rejects."""
    if supported is None:
        return SAMPLING if no_sampling else frozenset()
    known = set(supported) | ALWAYS
    for name in tuple(known):
        known |= IMPLIED.get(name, frozenset())
    if no_sampling:
        known -= SAMPLING
    return VOCABULARY - known
