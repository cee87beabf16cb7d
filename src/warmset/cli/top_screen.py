"""The screen of `warmset top`: frames, keys, sizes, and at the end the terminal as it was."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from types import FrameType
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from warmset.cli.top_frame import draw_frame
from warmset.shell.board.source import News

QUIT_KEYS: Final = frozenset("qQ\x04")
REDRAW_SECONDS: Final = 1.0
"""Without news: after a resize that nobody told of, the frame fits again so soon."""


class Ended(Enum):
    """Why the drawing ended."""

    QUIT = auto()
    STOPPED = auto()  # by Ctrl-Z, until the shell says go on


class Screen:
    """Draws what a source tells until `q`, Ctrl-C or SIGTERM.

    Args:
        first: the picture to begin with.
        source: further ones, each as it is asked for.
        no_color: draw without any.
    """

    def __init__(self, first: News, source: Iterator[News], *, no_color: bool) -> None:
        self._board = first.board
        self._remark = first.remark
        self._source = source
        self._failure: Exception | None = None
        self._is_to_stop = False
        self._console = Console(no_color=no_color or None, highlight=False)
        self._bell, self._ring = os.pipe()

    def run(self, wait: Callable[[], None]) -> None:
        """Draws until it is told to quit.

        Args:
            wait: lets the time between two pictures pass.

        Raises:
            Exception: the source failed in a way that nobody foresaw.
        """
        threading.Thread(target=self._listen, args=(wait,), name="board", daemon=True).start()
        with self._hearing_signals():
            while self._draw() is Ended.STOPPED:
                _stop_until_continued()

    def _draw(self) -> Ended:
        """Draws until somebody wants the terminal back, which it is then given as it was."""
        live = Live(console=self._console, screen=True, auto_refresh=False)
        with self._hearing_keys() as keys, live:
            while self._failure is None:
                live.update(self._frame(), refresh=True)
                ready, _, _ = select.select([self._bell, *keys], [], [], REDRAW_SECONDS)
                if self._bell in ready:
                    os.read(self._bell, 4096)
                if keys and keys[0] in ready and self._wants_to_quit(keys):
                    return Ended.QUIT
                if self._is_to_stop:
                    self._is_to_stop = False
                    return Ended.STOPPED
        raise self._failure

    def _frame(self) -> Text:
        assert self._board is not None
        width, height = self._console.size
        frame = draw_frame(self._board, width=width, height=height, remark=self._remark, keys=True)
        frame.no_wrap, frame.overflow = True, "crop"
        return frame

    def _wants_to_quit(self, keys: list[int]) -> bool:
        typed = os.read(keys[0], 64)
        if not typed:
            keys.clear()  # whoever typed is gone; signals still end it
        return any(key in QUIT_KEYS for key in typed.decode("latin-1"))

    def _listen(self, wait: Callable[[], None]) -> None:
        """Runs in a thread of its own: a host that answers slowly must not swallow keys."""
        try:
            while True:
                wait()
                news = next(self._source)
                self._board = news.board or self._board
                self._remark = news.remark
                self._wake()
        except Exception as error:  # noqa: BLE001 - told by the thread that draws
            self._failure = error
            self._wake()

    def _wake(self) -> None:
        with suppress(OSError):
            os.write(self._ring, b".")

    @contextmanager
    def _hearing_signals(self) -> Iterator[None]:
        """A resize is drawn at once; Ctrl-Z first gives the terminal back."""

        def resized(_number: int, _frame: FrameType | None) -> None:
            self._wake()

        def stopped(_number: int, _frame: FrameType | None) -> None:
            self._is_to_stop = True
            self._wake()

        before = signal.signal(signal.SIGWINCH, resized)
        stop_before = signal.signal(signal.SIGTSTP, stopped)
        try:
            yield
        finally:
            signal.signal(signal.SIGWINCH, before)
            signal.signal(signal.SIGTSTP, stop_before)

    @contextmanager
    def _hearing_keys(self) -> Iterator[list[int]]:
        """Keys come one by one and unseen inside this block, if somebody can type."""
        if not sys.stdin.isatty():
            yield []
            return
        import termios
        import tty

        keyboard = sys.stdin.fileno()
        before = termios.tcgetattr(keyboard)
        try:
            tty.setcbreak(keyboard)
            yield [keyboard]
        finally:
            termios.tcsetattr(keyboard, termios.TCSAFLUSH, before)


def _stop_until_continued() -> None:
    """Stops this process as Ctrl-Z would have; the shell's `fg` returns from here."""
    ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, ours)
