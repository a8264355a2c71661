"""Router slugs: models that are nobody's, but choose one. What they are called, and how they look
in the lists of models.

Pure. They are no part of a `Catalogue`: nothing is priced, routed or counted under their name. How
they choose is in `routing.routers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from .entries import Model
from .rows import Row
from .views import architecture

Kind = Literal["auto", "free"]


class Router(msgspec.Struct, frozen=True):
    id: str
    name: str
    kind: Kind
    plugin: str
    """The id under which its options stand in `plugins`; an alias may have one of its own."""
    description: str


AUTO = Router(
    "tollway/auto",
    "Tollway: Auto Router",
    "auto",
    "auto-router",
    "Looks at the request, here and without asking a model, and picks from what can be called: a "
    "model that can do it, in the price band that was asked for. You pay the model it picked.",
)
FREE = Router(
    "tollway/free",
    "Tollway: Free Models Router",
    "free",
    "free-router",
    "A random model among those that cost nothing and can do what the request needs.",
)
ROUTERS: tuple[Router, ...] = (AUTO, FREE)

BY_SLUG: dict[str, Router] = {
    "tollway/auto": AUTO,
    "openrouter/auto": AUTO,
    "openrouter/auto-beta": msgspec.structs.replace(AUTO, plugin="auto-beta-router"),
    "tollway/free": FREE,
    "openrouter/free": FREE,
}
"""Every name a router answers to."""


def router_of(slug: str) -> Router | None:
    """The router of that name, whatever its case and its variants."""
    return BY_SLUG.get(slug.lower().partition(":")[0])


def router_view(router: Router, rows: Sequence[Row], base: str = "/api/v1") -> dict[str, Any]:
    """OpenRouter's `Model`, as it shows its own routers: prices of "-1", no top provider. `rows`
    are the models it may pick from; what one of them can do, it can."""
    made = _model(router, rows)
    return {
        "id": router.id,
        "canonical_slug": router.id,
        "hugging_face_id": None,
        "name": router.name,
        "created": 0,
        "description": router.description,
        "context_length": made.context_length,
        "architecture": {**architecture(made), "tokenizer": "Router"},
        "pricing": {"prompt": "-1", "completion": "-1"},
        "top_provider": {
            "context_length": None,
            "max_completion_tokens": None,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": list(made.params or ()),
        "default_parameters": None,
        "supported_voices": None,
        "knowledge_cutoff": None,
        "expiration_date": None,
        "links": {"details": f"{base}/models/{router.id}/endpoints"},
    }


def router_endpoints_view(router: Router, rows: Sequence[Row]) -> dict[str, Any]:
    """`data` of `/models/{author}/{slug}/endpoints`: a router has none of its own."""
    view = router_view(router, rows)
    kept = ("id", "name", "created", "description", "architecture")
    return {**{name: view[name] for name in kept}, "endpoints": []}


def router_rows(rows: Sequence[Row], base: str) -> tuple[Row, ...]:
    """A row for each router that has something to pick from."""
    found = []
    for router in ROUTERS:
        pickable = picks(router, rows)
        if not pickable:
            continue
        view = router_view(router, pickable, base)
        made = _model(router, pickable)
        found.append(
            Row(
                model=made,
                endpoints=(),
                raw=msgspec.Raw(msgspec.json.encode(view)),
                created_s=0,
                context=made.context_length or 0,
                params=frozenset(made.params or ()),
                prompt_pico=None,
                completion_pico=None,
                weighted_pico=None,
                search_text=f"{router.id} {router.name} {router.description}".lower(),
                providers=frozenset(),
                zdr=any(row.zdr for row in pickable),
                regions=frozenset[str]().union(*(row.regions for row in pickable)),
            )
        )
    return tuple(found)


def picks(router: Router, rows: Iterable[Row]) -> list[Row]:
    """The models a router can come to, as far as a list can tell: chat models with a known price,
    for the free one those whose tokens cost nothing; never the sandbox."""
    return [
        row
        for row in rows
        if row.model.type == "chat"
        and "text" in row.model.output_modalities
        and not row.model.id.startswith("tollway/")
        and row.prompt_pico is not None
        and row.completion_pico is not None
        and (router.kind == "auto" or _has_free(row))
    ]


def _has_free(row: Row) -> bool:
    return any(
        e.price.base.prompt == 0 and e.price.base.completion == 0 and not e.price.base.request
        for e in row.endpoints
    )


def _model(router: Router, rows: Sequence[Row]) -> Model:
    inputs = {kind for row in rows for kind in row.model.input_modalities}
    return Model(
        id=router.id,
        name=router.name,
        author=router.id.partition("/")[0],
        context_length=max((row.context for row in rows), default=0) or None,
        input_modalities=tuple(kind for kind in _INPUTS if kind in inputs) or ("text",),
        params=tuple(sorted({name for row in rows for name in row.params})),
    )


_INPUTS = ("text", "image", "file", "audio", "video")
