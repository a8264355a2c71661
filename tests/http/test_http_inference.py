"""What the inference door alone knows of its client; the whole road is walked in tests/reliability."""

from typing import Any, cast

import pytest

from tollway.http.body import ClientGone
from tollway.http.inference import _Watch


class Road:
    """Stands in for a call."""

    left = False

    def leave(self) -> None:
        self.left = True


async def nothing() -> Any:
    raise AssertionError("our own protocol is not waited for")


def test_a_client_that_left_before_it_was_watched_is_not_carried_further() -> None:
    road, scope = Road(), {"tollway.on_disconnect": None, "tollway.gone": True}
    with pytest.raises(ClientGone), _Watch(cast(Any, road), scope, nothing):
        raise AssertionError("the road was entered")
    assert scope["tollway.on_disconnect"] is None


def test_a_client_that_leaves_while_it_is_watched_is_told_to_the_call() -> None:
    road: Any = Road()
    scope: dict[str, Any] = {"tollway.on_disconnect": None}
    with _Watch(road, scope, nothing):
        scope["tollway.on_disconnect"]()
    assert (road.left, scope["tollway.on_disconnect"]) == (True, None)
