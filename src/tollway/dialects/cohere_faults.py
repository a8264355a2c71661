"""Cohere's refusals: `{id, message}` with a status. What differs from everybody's table.

Source: Cohere's page of HTTP status codes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from ..canon import Fault
from . import faults


def parse_fault(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: float | None = None,
    quirks: Collection[str] = (),
) -> Fault:
    """See `faults.parse_fault`. Never raises."""
    fault = faults.parse_fault(status, headers, body, now_s=now_s, quirks=quirks)
    if status == 498:  # blocked input or output; elsewhere it means "no capacity"
        return msgspec.structs.replace(
            fault,
            status=400,
            error_type="content_policy_violation",
            message="The provider blocked the request as unsafe.",
            retry="never",
        )
    if status == 429 and b"rial key" in body:  # a thousand calls a month, not a rate
        return msgspec.structs.replace(fault, retry="cool")
    return fault
