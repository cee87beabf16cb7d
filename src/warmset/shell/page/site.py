"""The page over HTTP: `/` and the stream of its changes. GET only; nothing changes any state.

Everything the page needs is in it. The browser is forbidden to load anything else, to run any
script or style but ours (by hash), and to show the page inside another one.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from importlib.resources import files
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from warmset.shell.board.keeper import BoardKeeper
from warmset.shell.page.drawings import PATTERNS
from warmset.shell.page.sections import TITLES, render_sections

MOST_STREAMS: Final = 16
"""Open pages that are told of changes; metrics and health need connections too. Our choice."""

POLL_SECONDS: Final = 0.5
BEAT_SECONDS: Final = 15.0
"""A stream says something so often, or a dead one would not be noticed."""

RELOAD_SECONDS: Final = 5
"""Without JavaScript the page loads itself again so often."""

EXTRAS: Final = {
    "alarms": ('role="status"', 'aria-live="polite"'),
    "timeline": ('role="group"', 'aria-labelledby="timeline-title"', 'tabindex="0"'),
}
"""Alarms are read out when they come; the timeline can be scrolled with the keyboard."""

ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect y='9' width='16' height='6' fill='%23e69f00'/%3E"
    "%3Crect y='2' width='10' height='6' fill='%2356b4e9'/%3E%3C/svg%3E"
)


def _read(name: str) -> str:
    return files("warmset.shell.page").joinpath(name).read_text("utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


STYLE: Final = _read("page.css")
SCRIPT: Final = _read("live.js")
HEADERS: Final = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hash(STYLE)}",
            f"script-src {_hash(SCRIPT)}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Site:
    """Answers browsers.

    Args:
        keeper: has the picture.
    """

    def __init__(self, keeper: BoardKeeper) -> None:
        self._keeper = keeper
        self._streams = 0
        self.app = Starlette(
            routes=[Route("/", self._page), Route("/api/events", self._events)],
        )

    async def _page(self, request: Request) -> Response:
        del request
        return HTMLResponse(render_page(self._sections()), headers=HEADERS)

    async def _events(self, request: Request) -> Response:
        if self._streams >= MOST_STREAMS:
            return PlainTextResponse("too many open pages\n", 503, headers=HEADERS)
        return StreamingResponse(
            self._stream(request), media_type="text/event-stream", headers=HEADERS
        )

    async def _stream(self, request: Request) -> AsyncIterator[str]:
        self._streams += 1
        try:
            told: dict[str, str] = {}
            seen, quiet = -1, BEAT_SECONDS
            while not await request.is_disconnected():
                if self._keeper.changes != seen:
                    seen, quiet = self._keeper.changes, 0.0
                    for name, html in self._sections().items():
                        if told.get(name) != html:
                            told[name] = html
                            yield _event(name, html)
                elif quiet >= BEAT_SECONDS:
                    quiet = 0.0
                    yield ": still here\n\n"
                await asyncio.sleep(POLL_SECONDS)
                quiet += POLL_SECONDS
        finally:
            self._streams -= 1

    def _sections(self) -> Mapping[str, str]:
        board = self._keeper.board()
        return {} if board is None else render_sections(board)


def _event(name: str, html: str) -> str:
    news = {"name": name, "digest": _digest(html), "html": html}
    return f"event: section\ndata: {json.dumps(news)}\n\n"


def _digest(html: str) -> str:
    return sha256(html.encode()).hexdigest()[:16]


def render_page(sections: Mapping[str, str]) -> str:
    """Returns the whole page. Sections that are missing wait for the first look."""

    def body(name: str, tag: str, *attributes: str) -> str:
        html = sections.get(name, "No look has ended yet.")
        told = " ".join((f'id="{name}-now"', f'data-digest="{_digest(html)}"', *attributes))
        return f"<{tag} {told}>{html}</{tag}>"

    parts = [
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>'
        + body(name, "div", *EXTRAS.get(name, ()))
        + "</section>"
        for name, title in TITLES.items()
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>warmset</title>
<link rel="icon" href="{ICON}">
<style>{STYLE}</style>
<noscript><meta http-equiv="refresh" content="{RELOAD_SECONDS}"></noscript>
</head>
<body>
<a class="skip" href="#models">Skip to the models</a>
<header>
<h1>warmset</h1>
{body("summary", "p")}
<p id="link" role="status" aria-live="polite"></p>
</header>
{PATTERNS}
<main>
{"".join(parts)}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""
