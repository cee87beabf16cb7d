"""Signals as messages: a handler only puts a word into the inbox, the loop does the rest."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from queue import SimpleQueue
from types import FrameType
from typing import Final


class Word(StrEnum):
    """What the outside tells the loop."""

    STOP = "stop"
    RELOAD = "reload"
    DUMP = "dump"


_WORDS: Final = {
    "SIGTERM": Word.STOP,
    "SIGINT": Word.STOP,
    "SIGHUP": Word.RELOAD,
    "SIGUSR1": Word.DUMP,
}


@contextmanager
def signals_to(
    inbox: SimpleQueue[object], *, on_stop: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Turns signals into words in the inbox, until the block ends. Main thread only.

    Args:
        inbox: of the loop.
        on_stop: called as well at the first word to stop, inside the handler.

    `SimpleQueue.put` is reentrant, which a handler needs: it may interrupt a `put` or a `get`.
    Source: Python library reference, `queue.SimpleQueue`.
    """
    is_stopping = False

    def hear(number: int, _frame: FrameType | None) -> None:
        nonlocal is_stopping
        word = _WORDS[signal.Signals(number).name]
        inbox.put(word)
        if word is Word.STOP and not is_stopping:
            is_stopping = True
            on_stop()

    known = [getattr(signal, name) for name in _WORDS if hasattr(signal, name)]
    before = {number: signal.signal(number, hear) for number in known}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
