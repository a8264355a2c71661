"""Which parameters are taken out."""

import pytest

from tollway.routing.params import SAMPLING, VOCABULARY, unsupported


@pytest.mark.parametrize(
    ("supported", "sent", "dropped"),
    [
        (None, VOCABULARY, set()),
        (("temperature",), {"temperature", "seed"}, {"seed"}),
        (("max_tokens",), {"max_completion_tokens"}, set()),
        ((), {"max_tokens", "max_completion_tokens"}, set()),
        (("tools",), {"tools", "tool_choice", "parallel_tool_calls"}, set()),
        (("reasoning",), {"reasoning_effort", "include_reasoning"}, set()),
        (("logprobs",), {"top_logprobs"}, set()),
        (("structured_outputs",), {"response_format"}, set()),
        (("response_format",), {"structured_outputs"}, {"structured_outputs"}),
        ((), {"messages", "model", "stream", "safe_prompt", "n"}, set()),
    ],
)
def test_what_an_endpoint_does_not_support_is_dropped_and_nothing_else(
    supported, sent, dropped
) -> None:
    assert unsupported(supported, no_sampling=False) & sent == dropped


def test_a_model_that_takes_no_sampling_loses_it_whatever_its_list_says() -> None:
    assert unsupported(None, no_sampling=True) == SAMPLING
    assert unsupported(("temperature", "tools"), no_sampling=True) >= SAMPLING
    assert "tools" not in unsupported(("temperature", "tools"), no_sampling=True)
