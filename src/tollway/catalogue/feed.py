"""The model list as an RSS 2.0 feed. Pure: rows in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from xml.sax.saxutils import escape

from .entries import Model
from .views import View

FEED_MAX = 500
"""Readers poll feeds; what is older than the 500 newest is read from /models."""


def feed(rows: Sequence[tuple[Model, View, int]], site: str, chat_links: bool = False) -> bytes:
    """RSS 2.0 of (model, its view, Unix seconds of its release or 0) rows in that order. `site` is
    the public origin; `chat_links` points items at the console's chat instead of the model."""
    items = "".join(_item(row, site, chat_links) for row in rows[:FEED_MAX])
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<rss version="2.0"><channel><title>Tollway models</title>'
        f"<link>{escape(site)}</link><description>Models of this gateway, newest first"
        f"</description>{items}</channel></rss>"
    ).encode()


def _item(row: tuple[Model, View, int], site: str, chat_links: bool) -> str:
    model, view, created_s = row
    link = f"{site}/chat?models={model.id}" if chat_links else f"{site}/{model.id}"
    price = view["pricing"]
    text = f"{view['description']} {price['prompt']} USD a prompt token, {price['completion']} USD a completion token."
    date = ""
    if created_s:
        date = f"<pubDate>{format_datetime(datetime.fromtimestamp(created_s, UTC))}</pubDate>"
    return (
        f"<item><title>{escape(model.name)}</title><link>{escape(link)}</link>"
        f'<guid isPermaLink="false">{escape(model.id)}</guid>{date}'
        f"<description>{escape(text)}</description></item>"
    )
