"""A command as a child of ours: signals go through to it, its exit code comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

NOT_FOUND: Final = 127
"""Exit code of a command that is not there. Source: POSIX, `env`, EXIT STATUS."""

BY_SIGNAL: Final = 128
"""Added to the number of a signal that ended a command. Source: bash(1), EXIT STATUS."""

TURN_SECONDS: Final = 1.0
"""Between two calls of `meanwhile`."""

_PASSED_ON: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")


def run_command(command: Sequence[str], *, meanwhile: Callable[[], None]) -> int:
    """Runs a command in the foreground; returns the exit code as a shell would tell it.

    Args:
        command: program and arguments; what the terminal is, it has too.
        meanwhile: called about once a second.
    """
    with _passing_signals() as passing:
        child = subprocess.Popen(list(command))  # noqa: S603 - the operator's own command
        passing.to(child)
        while True:
            with suppress(subprocess.TimeoutExpired):
                code = child.wait(TURN_SECONDS)
                return code if code >= 0 else BY_SIGNAL - code
            meanwhile()


class _Passing:
    """Sends signals on to a child; those that come before there is one are kept for it."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def to(self, child: subprocess.Popen[bytes]) -> None:
        """Names the child."""
        self._child = child
        for number in self._early:
            child.send_signal(number)

    def hear(self, number: int, _frame: FrameType | None) -> None:
        """Runs as the signal's handler.

        A terminal sends Ctrl-C to the whole foreground group, so the child has it already; anybody
        else sends SIGINT to us alone.
        """
        if number == signal.SIGINT and _is_from_terminal():
            return
        if self._child is None:
            self._early.append(number)
        else:
            self._child.send_signal(number)


@contextmanager
def _passing_signals() -> Iterator[_Passing]:
    passing = _Passing()
    known = [getattr(signal, name) for name in _PASSED_ON if hasattr(signal, name)]
    before = {number: signal.signal(number, passing.hear) for number in known}
    try:
        yield passing
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_from_terminal() -> bool:
    """Whether we are in the foreground of a terminal, whose Ctrl-C reaches the child by itself."""
    try:
        return os.getpgrp() == os.tcgetpgrp(sys.stdin.fileno())
    except (OSError, ValueError, AttributeError):
        return False
