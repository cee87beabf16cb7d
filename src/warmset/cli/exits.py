"""Exit codes, and the two places where an exception becomes one.

A `WarmsetError` is an answer: its message and hint go to stderr, its class names the code.
Everything else is a bug in warmset and says so in one line.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import NoReturn

from warmset.errors import WarmsetError


class ExitCode(IntEnum):
    """What the shell sees. Verbs end with `raise typer.Exit(ExitCode.REFUSED)` and the like."""

    OK = 0
    """Done, fits, or nothing to change."""
    BUG = 1
    """An error in warmset itself; `--debug` shows the traceback."""
    USAGE = 2
    """The command line was wrong (Typer's own code; never used for anything else)."""
    CONFIG = 3
    """A configuration, budget or trace file is wrong."""
    BACKEND = 4
    """Ollama is unreachable or talks nonsense."""
    CAPACITY = 5
    """A GPU or RAM reading that was needed is not to be had."""
    REFUSED = 6
    """The verdict: does not fit, or refused."""
    CHANGES = 7
    """Changes are pending (only with `--detailed-exitcode`)."""
    INCOMPLETE = 8
    """Applied in part, or not converged in time."""
    INTERRUPTED = 130
    """Ctrl-C."""
    BROKEN_PIPE = 141
    """The reader of our output went away, as in `warmset status | head -1`."""
    TERMINATED = 143
    """SIGTERM."""


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turns what a verb raises on purpose into text on stderr and `SystemExit`."""
    try:
        yield
        sys.stdout.flush()
    except WarmsetError as error:
        sys.stderr.write(f"warmset: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"  hint: {error.hint}\n")
        raise SystemExit(error.exit_code) from error
    except BrokenPipeError:
        _silence_stdout()
        raise SystemExit(ExitCode.BROKEN_PIPE) from None


def report_bug(error: Exception, *, debug: bool) -> NoReturn:
    """Ends the program for an error nobody foresaw: one line, or the traceback with `debug`.

    A full disk behind stdout is nobody's bug and is told as what it is.
    """
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        _silence_stdout()
        sys.stderr.write("warmset: the result could not be written: no space left\n")
        raise SystemExit(ExitCode.INCOMPLETE) from error
    if debug:
        raise error
    text = " ".join(str(error).split())
    sys.stderr.write(f"warmset: internal error: {type(error).__name__}: {text}\n")
    sys.stderr.write("  hint: run the same command with --debug to see where it comes from\n")
    raise SystemExit(ExitCode.BUG)


def exit_on_sigterm() -> None:
    """Makes SIGTERM unwind the stack like Ctrl-C does, so that `finally` blocks run."""

    def terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(ExitCode.TERMINATED)

    signal.signal(signal.SIGTERM, terminate)


def replace_closed_streams() -> None:
    """Lets output of a program started without stdout or stderr (`>&-`) go nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for the whole run
            setattr(sys, name, nowhere)


def _silence_stdout() -> None:
    """Points stdout at nothing, or the interpreter complains about the pipe once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
