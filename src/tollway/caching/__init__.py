"""Answers kept for the same question: whether to, under which key, what is kept, how it is told again.

Pure, but for `flights`, where requests wait for one another. docs/caching.md tells the story.

Rules. Opt-in, per request. What is kept is what the provider said, not what the caller was told:
a hit goes through the same relay as the first answer did, under a new id and with a bill of
nothing, so that it is right in every dialect. Contents stay in this process's memory, bounded,
and are gone when their time is over. Nothing kept under one API key is ever found under another.
"""

from __future__ import annotations

from .shelf import Shelf
from .tape import Kept, Taped, kept, record, replay
from .wanted import Wanted, key_of, wanted

__all__ = ["Kept", "Shelf", "Taped", "Wanted", "kept", "key_of", "record", "replay", "wanted"]
