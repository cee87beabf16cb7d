"""Where the picture comes from: the running daemon, else our own looks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from warmset.core.host.picture import Picture
from warmset.core.settings import Settings
from warmset.errors import WarmsetError
from warmset.shell.board.draw import draw_look
from warmset.shell.board.values import Board, board_from_plain
from warmset.shell.observe import see
from warmset.shell.telemetry.once import ask_daemon
from warmset.shell.wiring import Connection

PATH: Final = "/api/status.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One picture, and what is to be said of it.

    `board` is `None` where a later look failed: then the one before is the last that is known.
    """

    board: Board | None
    remark: str = ""


def boards(
    connection: Connection, settings: Settings, *, environ: Mapping[str, str]
) -> Iterator[News]:
    """Yields a picture at each turn; ends never.

    Raises:
        WarmsetError: there is no daemon and the first look fails.
    """
    before: Picture | None = None
    is_first = True
    while True:
        told = _ask(connection, environ)
        if told is not None:
            yield told
        else:
            try:
                seen = see(connection, settings, before=before)
            except WarmsetError as error:
                if is_first:
                    raise
                yield News(board=None, remark=error.message)
            else:
                before = seen.picture
                yield News(board=draw_look(seen, settings))
        is_first = False


def _ask(connection: Connection, environ: Mapping[str, str]) -> News | None:
    """Returns the daemon's picture; `None` where we have to look ourselves."""
    text = ask_daemon(connection, environ=environ, path=PATH)
    if text is None:
        return None
    try:
        board = board_from_plain(json.loads(text))
    except ValueError:
        return None
    return None if board is None else News(board=board)
