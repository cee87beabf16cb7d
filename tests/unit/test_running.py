"""Commands as children: their exit codes, and the signals that go through to them."""

from __future__ import annotations

import signal

import pytest

from warmset.shell.running import run_command


def sh(script: str) -> int:
    return run_command(["sh", "-c", script], meanwhile=lambda: None)


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill $$", 143)],
)
def test_the_exit_code_is_what_a_shell_would_tell(script: str, code: int) -> None:
    """Its own, or 128 and the number of the signal that ended it."""
    assert sh(script) == code


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"])
def test_signals_go_through_and_our_own_handlers_come_back(name: str) -> None:
    """The command's parent is sent the signal, and the command catches it."""
    number = getattr(signal, f"SIG{name}")
    before = signal.getsignal(number)
    caught = f"trap 'exit 5' {name}; kill -{name} $PPID; while :; do sleep 0.05; done"
    assert sh(caught) == 5
    assert signal.getsignal(number) is before


def test_time_is_given_while_the_command_runs() -> None:
    """`meanwhile` is called again and again until the end."""
    turns: list[int] = []
    assert run_command(["sleep", "1.2"], meanwhile=lambda: turns.append(1)) == 0
    assert turns
