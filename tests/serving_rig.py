"""A pretended Ollama and `warmset serve` beside it, as real processes on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import httpx
from actors import make_process_table

ROOT = Path(__file__).parents[1]
HOST = """
ram = "16GiB"
[model."llama3.2:3b"]
file = "20MB"
[model."nomic-embed-text:latest"]
file = "10MB"
[model."qwen2.5-coder:7b"]
file = "30MB"
[model."llama3.1:8b"]
file = "9GB"
"""
SLOW = "llama3.1:8b"  # loads for many seconds
WAIT_SECONDS = 60.0
"""For what is sure to come; a machine with other work may take long."""
PROMPT_SECONDS = 10.0
"""The end of a daemon: two where nothing else runs, and no load is waited for."""
BUDGETS = """
[model."nomic-embed-text"]      # a comment that stays
pin = true
[model."llama3.2:3b"]
priority = 80
"""


class Process:
    """A process of this test, with the JSON lines of its stderr."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen
        self.lines: list[dict] = []
        self.raw: list[str] = []
        self._queue: queue.SimpleQueue[dict] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.raw.append(line)
            with contextlib.suppress(ValueError):
                self._queue.put(json.loads(line))

    def wait_for(self, event: str, seconds: float = WAIT_SECONDS, **fields: object) -> dict:
        """Returns the next log line of an event with these fields."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                line = self._queue.get(timeout=left)
                self.lines.append(line)
                if line["event"] == event and all(line.get(k) == v for k, v in fields.items()):
                    return line
        raise AssertionError(f"no {event} {fields} in {seconds} s; there was: {self.raw}")

    def events(self) -> list[str]:
        """Returns the names of all events so far."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.lines.append(self._queue.get_nowait())
        return [line["event"] for line in self.lines]

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self.popen.send_signal(number)

    def stop(self, seconds: float = WAIT_SECONDS) -> float:
        """Sends SIGTERM; returns how long the end took."""
        began = time.monotonic()
        self.popen.terminate()
        self.popen.wait(seconds)
        return time.monotonic() - began

    def kill(self) -> None:
        """Ends it hard."""
        self.popen.kill()
        self.popen.wait()

    def close(self) -> None:
        """Ends it if need be, and its pipes."""
        self.kill()
        self._reader.join()
        for pipe in (self.popen.stdout, self.popen.stderr):
            assert pipe is not None
            pipe.close()


class Rig:
    """One host and what runs beside it.

    Args:
        folder: holds configuration and state.
        host: a named twin instead of the one above, which loads in no time.
        speed: how fast its time runs.
    """

    def __init__(self, folder: Path, *, host: str = "", speed: float = 1.0) -> None:
        self.folder = folder
        self.host = host or str(folder / "host.toml")
        self.speed = speed
        self.budgets = folder / "config.toml"
        self.budgets.write_text(BUDGETS)
        (folder / "host.toml").write_text(HOST)
        self._proc = make_process_table(folder / "seen") if sys.platform == "linux" else None
        self.url = ""
        self.port = 0
        self._started: list[Process] = []

    def start_twin(self) -> Process:
        """Starts the pretended Ollama; the second time on the same port, with nothing loaded."""
        options = ("--port", str(self.port), "--speed", str(self.speed))
        twin = self._start("twin", self.host, *options)
        assert twin.popen.stdout is not None
        self._twin = twin
        self.show(twin.popen.pid)
        self.url = twin.popen.stdout.readline().removeprefix("OLLAMA_HOST=").strip()
        self.port = int(self.url.rpartition(":")[2])
        return twin

    def show(self, pid: int) -> None:
        """Lets warmset see a process; no others are there, of tests beside this one for example."""
        if self._proc:
            (self._proc / str(pid)).symlink_to(f"/proc/{pid}")

    def kill_twin(self) -> None:
        """Lets the pretended Ollama die with all that it had loaded."""
        self._twin.kill()

    def serve(self, *options: str) -> Process:
        """Starts `warmset serve` beside it."""
        common = ("--config", str(self.budgets), "--host", self.url, "--tick", "0.3")
        return self._start("serve", *common, *options)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs another verb on the same host, with the same configuration."""
        options = ("--config", str(self.budgets), "--host", self.url)
        return subprocess.run(
            [sys.executable, "-m", "warmset", *arguments, *options],
            env=self.environ,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * WAIT_SECONDS,
        )

    @property
    def environ(self) -> dict[str, str]:
        """The environment of every process: a state folder of this test's own."""
        return {
            **os.environ,
            **({"HOST_PROC": str(self._proc)} if self._proc else {}),
            "PYTHONPATH": str(ROOT / "src"),
            "WARMSET_STATE": str(self.folder / "state"),
            "HOME": str(self.folder),
            "OLLAMA_MAX_LOADED_MODELS": "3",
        }

    def residents(self) -> set[str]:
        """Returns the names that `/api/ps` lists."""
        rows = httpx.get(f"{self.url}/api/ps", timeout=WAIT_SECONDS).json()["models"]
        return {row["name"] for row in rows}

    def longest_left_seconds(self) -> float:
        """Returns how long the last resident to go would stay unused."""
        rows = httpx.get(f"{self.url}/api/ps", timeout=WAIT_SECONDS).json()["models"]
        ends = [datetime.fromisoformat(row["expires_at"]).timestamp() for row in rows]
        return max(ends) - time.time()

    def wait_until(self, fact: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
        """Waits for something to come true."""
        deadline = time.monotonic() + seconds
        while not fact():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.05)

    def end(self) -> None:
        """Ends whatever is left."""
        for process in self._started:
            process.close()

    def _start(self, *arguments: str, program: tuple[str, ...] = ("-m", "warmset")) -> Process:
        popen = subprocess.Popen(
            [sys.executable, *program, *arguments],
            env=self.environ,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        process = Process(popen)
        self._started.append(process)
        return process


@contextlib.contextmanager
def rigged(folder: Path, *, host: str = "", speed: float = 1.0) -> Iterator[Rig]:
    """Gives a rig whose twin runs, and ends everything afterwards."""
    rig = Rig(folder, host=host, speed=speed)
    try:
        rig.start_twin()
        yield rig
    finally:
        rig.end()
