"""Ceilings: whatever an answer turns out to use, it costs no more than its attempt said."""

from hypothesis import given, settings
from hypothesis import strategies as st
from routing_builders import NOW, model, offered, planned, request, usd

from tollway.canon import Usage
from tollway.money import Override, Price, Rates, charge_nano, cost
from tollway.routing.entries import Attempt, Policy

RATES = Rates(
    prompt=usd(1),
    completion=usd(5),
    request=7,
    input_cache_read=usd(0.1),
    input_cache_write=usd(1.25),
    input_cache_write_1h=usd(2),
    internal_reasoning=usd(6),
    audio=usd(30),
    audio_output=usd(60),
    image=1_000_000,
    image_token=usd(3),
    image_output_token=usd(40),
    web_search=10**10,
)
SPEAKS = model(input_modalities=("text", "audio", "image"), output_modalities=("text", "audio"))


def attempt(asked, policy=None, **facts) -> Attempt:
    facts.setdefault("price", Price(RATES))
    return planned(asked, offered(**facts), policy=policy).attempts[0]


def test_a_prompt_is_held_at_its_dearest_possible_token() -> None:
    tokens = request(prompt_bytes=1_000).prompt_tokens_max
    assert attempt(request(prompt_bytes=1_000)).fixed_pico == tokens * usd(1.25) + 7
    marked = attempt(request(prompt_bytes=1_000, cache_marked=True))
    assert marked.fixed_pico == tokens * usd(2) + 7
    heard = attempt(request(prompt_bytes=1_000, modalities=frozenset({"text", "audio"})), of=SPEAKS)
    assert heard.fixed_pico == tokens * usd(30) + 7
    seen = request(prompt_bytes=1_000, modalities=frozenset({"text", "image"}), images=2)
    assert attempt(seen, of=SPEAKS).fixed_pico == tokens * usd(3) + 7 + 2 * 1_000_000
    searched = attempt(request(prompt_bytes=1_000, params=frozenset({"web_search_options"})))
    assert searched.fixed_pico == tokens * usd(1.25) + 7 + 10 * 10**10


def test_an_answer_is_held_at_its_dearest_possible_token_times_the_choices() -> None:
    assert attempt(request()).output_pico == usd(6)
    assert attempt(request(choices=3)).output_pico == 3 * usd(6)
    assert attempt(request(), of=SPEAKS).output_pico == usd(60)


def test_the_callers_limit_is_wanted_and_least() -> None:
    one = attempt(request(output_tokens_max=700))
    assert (one.output_tokens_wanted, one.output_tokens_least) == (700, 700)


def test_without_a_limit_the_smallest_bound_is_wanted_and_sixteen_suffice() -> None:
    def wanted(asked=None, policy=None, **facts):
        one = attempt(asked or request(), policy, **facts)
        return one.output_tokens_wanted, one.output_tokens_least

    assert wanted() == (32_768, 16)
    assert wanted(policy=Policy(output_tokens_default=1_000)) == (1_000, 16)
    assert wanted(of=model(output_tokens_max=900)) == (900, 16)
    assert wanted(of=model(output_tokens_max=900), output_tokens_max=8) == (8, 8)
    assert wanted(request(prompt_bytes=400), context_length=601) == (500, 16)
    assert wanted(request(prompt_bytes=400), context_length=102) == (1, 1)


def test_a_plan_holds_for_its_dearest_attempt_with_margin() -> None:
    offers = [offered(f"p{n}", dollars=n) for n in (1, 4, 2)]
    asked = request(prompt_bytes=1_000, output_tokens_max=100, order=("p1", "p4", "p2"))
    made = planned(asked, *offers, policy=Policy(margin_ppm=50_000))
    tokens = asked.prompt_tokens_max + 100
    assert made.wanted_nano == made.least_nano == charge_nano(tokens * usd(4), 50_000)


def test_a_plan_without_attempts_holds_nothing() -> None:
    made = planned(request(), offered(live=False))
    assert (made.attempts, made.wanted_nano, made.least_nano) == ((), 0, 0)


rates = st.one_of(st.none(), st.integers(0, 10**8))
some_rates = st.builds(
    Rates,
    **{name: rates for name in Rates.__struct_fields__ if name not in ("prompt", "completion")},
    prompt=st.integers(0, 10**8),
    completion=st.integers(0, 10**8),
)
some_prices = st.builds(
    Price,
    some_rates,
    st.lists(
        st.builds(
            Override,
            st.builds(Rates, **dict.fromkeys(Rates.__struct_fields__, rates)),
            min_prompt_tokens=st.one_of(st.none(), st.integers(0, 2_000)),
        ),
        max_size=2,
    ).map(tuple),
)


@settings(max_examples=300, deadline=None)
@given(st.data(), some_prices, st.integers(0, 3_000), st.integers(1, 400), st.integers(1, 3))
def test_no_usage_within_the_limits_costs_more_than_the_ceiling(
    data, price, size, limit, choices
) -> None:
    heard, marked = data.draw(st.booleans()), data.draw(st.booleans())
    images, margin = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 200_000))
    brought = frozenset(
        {"text"} | ({"audio"} if heard else set()) | ({"image"} if images else set())
    )
    asked = request(
        prompt_bytes=size,
        output_tokens_max=limit,
        choices=choices,
        cache_marked=marked,
        modalities=brought,
        images=images,
    )
    one = attempt(asked, of=SPEAKS, price=price)
    prompt = data.draw(st.integers(0, asked.prompt_tokens_max))
    spoken = data.draw(st.integers(0, limit * choices))

    def part(total: int, possible: bool = True) -> int:
        return data.draw(st.integers(0, total)) if possible else 0

    cached = part(prompt)
    write = part(prompt - cached)
    write_1h = part(prompt - cached - write, marked)
    audio = part(prompt - cached - write - write_1h, heard)
    image = part(prompt - cached - write - write_1h - audio, bool(images))
    reasoning = part(spoken)
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=spoken,
        cached_tokens=cached,
        cached_audio_tokens=part(cached, heard),
        cache_write_tokens=write,
        cache_write_1h_tokens=write_1h,
        audio_tokens=audio,
        image_tokens=image,
        reasoning_tokens=reasoning,
        audio_output_tokens=part(spoken - reasoning),
        images=part(images),
    ).checked()
    assert usage.doubts == ()
    charged = charge_nano(cost(price.rates(prompt, NOW), usage).total_pico, margin)
    assert charged <= one.ceiling_nano(limit, margin)


@settings(max_examples=500, deadline=None)
@given(
    st.integers(0, 10**15),
    st.integers(0, 10**9),
    st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**12),
)
def test_the_output_that_a_grant_pays_for_never_costs_more_than_the_grant(
    fixed, rate, wanted, margin, granted
) -> None:
    plain = offered()
    one = Attempt(plain.model, plain.endpoint, plain.provider, wanted, 1, fixed, rate)
    tokens = one.output_tokens_for(granted, margin)
    assert 0 <= tokens <= wanted
    if granted >= one.ceiling_nano(0, margin):
        assert one.ceiling_nano(tokens, margin) <= granted
        if tokens < wanted:
            assert one.ceiling_nano(tokens + 1, margin) > granted
