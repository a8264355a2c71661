"""Kinds: a request reaches only models of its kind, and is held for what that kind can cost."""

from routing_builders import index, model, offered, planned, provider, reasons, request, tags, usd

from tollway.canon import Usage
from tollway.dialects import for_kind
from tollway.money import Price, Rates, charge_nano, cost

EMBEDS = model("acme/embed", type="embedding", context_length=512)
RANKS = model("acme/rank", type="rerank", context_length=512)
UNPRICED_OUTPUT = Price(Rates(prompt=usd(1)))
BY_SEARCH = Price(Rates(prompt=0, completion=0, search_unit=2_000_000_000))


def embeds(**facts):
    return offered(of=EMBEDS, **{"dialect": "embed_openai", **facts})


def ranks(**facts):
    return offered(of=RANKS, dialect="rerank_cohere", **facts)


def test_a_request_reaches_only_models_of_its_kind() -> None:
    for kind, one in (("embedding", embeds()), ("rerank", ranks()), ("chat", offered())):
        for asked in ("embedding", "rerank", "chat"):
            made = planned(request(one.model.id, kind=asked), one)
            assert bool(made.attempts) == (asked == kind)
            assert made.attempts or reasons(made) == {"alpha": "model_type"}


def test_a_chat_model_asked_to_embed_is_the_wrong_route_even_where_it_is_not_live() -> None:
    made = planned(request(kind="embedding"), offered(live=False))
    assert reasons(made) == {"alpha": "model_type"}


def test_nothing_is_held_for_output_where_there_is_none() -> None:
    asked = request(EMBEDS.id, kind="embedding", prompt_bytes=1_000)
    (attempt,) = planned(asked, embeds(price=Price(Rates(prompt=7, completion=10**9)))).attempts
    assert (attempt.output_tokens_wanted, attempt.output_tokens_least) == (0, 0)
    assert attempt.fixed_pico == asked.prompt_tokens_max * 7
    assert attempt.output_tokens_for(0, 0) == 0


def test_an_unpublished_price_of_output_does_not_keep_an_embedding_away() -> None:
    (attempt,) = planned(
        request(EMBEDS.id, kind="embedding"), embeds(price=UNPRICED_OUTPUT)
    ).attempts
    used = cost(attempt.endpoint.price.base, Usage(prompt_tokens=1_000))
    assert used.total_pico == 1_000 * usd(1)
    assert offered(price=UNPRICED_OUTPUT).standing == "unknown_price"


def test_a_rerank_is_held_for_the_units_it_may_use() -> None:
    asked = request(RANKS.id, kind="rerank", search_units=3)
    made = planned(asked, ranks(price=BY_SEARCH))
    assert made.wanted_nano == made.least_nano == 6_000_000
    used = cost(BY_SEARCH.base, Usage(search_units=3))
    assert charge_nano(used.total_pico) == 6_000_000


def test_the_window_is_for_one_text_and_not_for_all_of_them() -> None:
    fits = request(EMBEDS.id, kind="embedding", prompt_bytes=100_000, window_bytes=400)
    assert tags(planned(fits, embeds())) == ["alpha"]
    long = request(EMBEDS.id, kind="embedding", prompt_bytes=100_000, window_bytes=100_000)
    assert reasons(planned(long, embeds())) == {"alpha": "context_length"}


def test_a_chat_dialect_has_another_one_for_embeddings_and_rankings() -> None:
    assert for_kind("openai_chat", "chat") == "openai_chat"
    assert for_kind("openai_chat", "rerank") == "rerank_cohere"
    assert for_kind("mistral", "embedding") == "embed_openai"
    assert for_kind("embed_cohere", "embedding") == "embed_cohere"
    shop = index(offered(of=RANKS, by=provider("alpha"), dialect="openai_chat"))
    assert [one.endpoint.dialect for one in shop.of(RANKS.id)] == ["rerank_cohere"]


def test_several_inputs_pass_by_who_takes_one_at_a_time() -> None:
    one = embeds(dialect="bedrock_invoke")
    assert one.endpoint.dialect == "bedrock_embed_one"
    for brought, served in (({"text"}, True), ({"text", "batch"}, False)):
        asked = request(EMBEDS.id, kind="embedding", modalities=frozenset(brought))
        assert bool(planned(asked, one).attempts) == served
        assert planned(asked, embeds()).attempts


def test_behind_one_door_each_vendor_has_its_own_body() -> None:
    named = model("acme/cohere.embed-v4:0", type="embedding")
    assert offered(of=named, dialect="bedrock_invoke").endpoint.dialect == "bedrock_embed_cohere"


def test_tokens_go_to_openais_dialect_alone() -> None:
    asked = request(EMBEDS.id, kind="embedding", modalities=frozenset({"tokens"}))
    assert tags(planned(asked, embeds())) == ["alpha"]
    assert reasons(planned(asked, embeds(dialect="embed_cohere"))) == {"alpha": "modality"}


def test_units_beyond_what_the_request_can_use_are_cut_and_doubted() -> None:
    cut = Usage(search_units=9_000).checked().within(0, 0, 4)
    assert (cut.search_units, cut.doubts) == (4, ("search_units",))
    assert Usage(search_units=4).within(0, 0, 4).doubts == ()
    assert Usage(search_units=-1).checked() == Usage(doubts=("search_units",))
