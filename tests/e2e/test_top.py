"""`warmset top` in a real terminal: frames of each size, keys, signals, and without a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest
from serving_rig import ROOT, Rig, rigged

HOST = "twin://workstation?hours=3&seed=5"
PATIENCE_SECONDS = 60.0
SHOW_CURSOR, ENTER_SCREEN, LEAVE_SCREEN = b"\x1b[?25h", b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """`warmset` in a pseudo-terminal, its screen read as a terminal would show it.

    Args:
        program: another program instead.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int,
        lines: int = 40,
        program: tuple[str, ...] = (sys.executable, "-m", "warmset"),
        **environ: str,
    ) -> None:
        self._master, slave = pty.openpty()
        self.slave = os.dup(slave)
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._set_size(columns, lines)
        self.before = termios.tcgetattr(self.slave)
        clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [*program, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**clean, "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm-256color", **environ},
        )
        os.close(slave)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int = 40) -> None:
        """Changes the size, and tells of it as a terminal does."""
        self._set_size(columns, lines)
        self.screen.resize(lines, columns)
        self.process.send_signal(signal.SIGWINCH)

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._master, keys.encode())

    def read(self, seconds: float = 0.1) -> None:
        """Takes in what was written meanwhile."""
        while select.select([self._master], [], [], seconds)[0]:
            try:
                chunk = os.read(self._master, 1 << 16)
            except OSError:
                return
            self.raw += chunk
            self._stream.feed(chunk)

    @property
    def text(self) -> str:
        """What is on the screen now."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, fact: Callable[[str], bool]) -> str:
        """Waits until the screen shows something; returns it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not fact(self.text):
            assert time.monotonic() < deadline, self.text
            self.read()
        return self.text

    def end(self) -> int:
        """Waits for its end; returns the exit code."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.text
            self.read()
        self.read()
        return self.process.returncode

    def is_restored(self) -> bool:
        """Whether the terminal is as it was: modes, cursor, the screen from before."""
        last = self.raw[-200:]
        is_same = termios.tcgetattr(self.slave) == self.before
        return is_same and SHOW_CURSOR in last and LEAVE_SCREEN in last

    def close(self) -> None:
        """Ends it if need be."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self.slave)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A host of a test's own."""
    with rigged(tmp_path) as made:
        yield made


def test_a_terminal_of_any_size_is_filled_anew_at_each_resize() -> None:
    """60, 80, 120 and 200 columns, each told by SIGWINCH: bars as wide as the terminal."""
    terminal = Terminal("top", "0.3", "--host", HOST, columns=60)
    try:
        for columns in (60, 80, 120, 200, 60):
            if columns != terminal.screen.columns:
                terminal.resize(columns)
            text = terminal.wait_for(
                lambda shown, columns=columns: any(
                    len(line) == columns and line.startswith("[") and line.endswith("]")
                    for line in shown.split("\n")
                )
            )
            assert "GPU 0: NVIDIA" in text
            assert "llama3.2:3b" in text
            assert ("STATE" in text) is (columns >= 110)
            assert "q quits" in text
        terminal.resize(80, 8)
        terminal.wait_for(lambda shown: "more lines need a taller terminal" in shown)
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.is_restored()
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_signal_leaves_a_clean_terminal(number: signal.Signals, code: int) -> None:
    """Modes, cursor and screen are given back, and the exit code tells the signal."""
    terminal = Terminal("top", "--host", HOST, columns=80)
    try:
        terminal.wait_for(lambda shown: "q quits" in shown)
        terminal.process.send_signal(number)
        assert terminal.end() == code
        assert terminal.is_restored()
    finally:
        terminal.close()


def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_brings_the_picture_back() -> None:
    """Under a shell with job control, twice: between them the shell has its screen and modes."""
    bash = ("setsid", "--ctty", "--wait", "bash", "--norc", "--noprofile", "-i")
    terminal = Terminal(columns=100, program=bash, PS1="shell> ")
    try:
        terminal.wait_for(lambda shown: "shell>" in shown)
        terminal.type(f"{sys.executable} -m warmset top 0.3 --host '{HOST}'\n")
        for turn in (1, 2):
            terminal.wait_for(lambda _, turn=turn: terminal.raw.count(ENTER_SCREEN) == turn)
            terminal.wait_for(lambda shown: "q quits" in shown)
            terminal.type("\x1a")
            terminal.wait_for(lambda shown: "Stopped" in shown)
            assert terminal.raw.count(LEAVE_SCREEN) == turn
            terminal.type("clear; stty -a\n")
            terminal.wait_for(lambda shown: " icanon" in shown and " echo " in shown)
            terminal.type("clear; fg\n")
        terminal.wait_for(lambda _: terminal.raw.count(ENTER_SCREEN) == 3)
        terminal.wait_for(lambda shown: "q quits" in shown)
        terminal.type("q")
        terminal.wait_for(lambda _: terminal.raw.count(LEAVE_SCREEN) == 3)
        terminal.type("exit $?\n")
        assert terminal.end() == 0
    finally:
        terminal.close()


def test_without_colour_there_is_none() -> None:
    """With NO_COLOR the frame is the same, and not one colour is sent."""
    terminal = Terminal("top", "--host", HOST, columns=80, NO_COLOR="1")
    try:
        terminal.wait_for(lambda shown: "q quits" in shown and "BBBB" in shown)
        colours = {cell.fg for row in terminal.screen.buffer.values() for cell in row.values()}
        grounds = {cell.bg for row in terminal.screen.buffer.values() for cell in row.values()}
        assert colours == grounds == {"default"}
        terminal.type("q")
        assert terminal.end() == 0
    finally:
        terminal.close()


def test_a_dumb_terminal_and_a_pipe_get_one_frame(tmp_path: Path) -> None:
    """Nothing moves there: one plain frame, and a hint where a stream is to be had."""
    terminal = Terminal("top", "--host", HOST, columns=80, TERM="dumb")
    try:
        assert terminal.end() == 0
        assert b"\x1b[?1049h" not in terminal.raw
        assert b"drawn once" in terminal.raw
    finally:
        terminal.close()
    done = subprocess.run(
        [sys.executable, "-m", "warmset", "top", "--host", HOST],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("12:00:00 UTC")
    assert "`status --watch` makes a stream" in done.stderr


def test_the_running_daemon_is_asked_and_missed(rig: Rig) -> None:
    """Its verdict, loads and reasons are shown; when it ends `top` looks itself, and goes on."""
    rig.budgets.write_text('[model."llama3.2:3b"]\npin = true\n')
    daemon = rig.serve("--listen", "0")
    daemon.wait_for("decision", is_converged=True)
    assert "by warmset" in rig.run("top", "--once").stdout
    terminal = Terminal(
        *("top", "0.3", "--config", str(rig.budgets), "--host", rig.url),
        columns=100,
        **{k: rig.environ[k] for k in ("WARMSET_STATE", "HOME")},
    )
    try:
        shown = terminal.wait_for(lambda text: "what is resident is what is wanted" in text)
        assert "+ loaded llama3.2:3b: loaded in" in shown
        daemon.stop()
        terminal.wait_for(lambda text: "nobody steers this host" in text)
        rig.kill_twin()
        terminal.wait_for(lambda text: "this may be old" in text)
        terminal.type("q")
        assert terminal.end() == 0
    finally:
        terminal.close()
    done = rig.run("top")
    assert done.returncode == 4
    assert not done.stdout
