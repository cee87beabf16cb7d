"""The machine under a pretended Ollama, as a process of its own: `machine.py FOLDER TABLE URL`.

It asks the server for its residents again and again. Each has a runner process with Ollama's
command line, and the driver shows its bytes. If the server goes, so do its runners, and another
one comes with it. What a killed machine left behind is swept away by the next one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

import httpx
import psutil
from actors import Actors
from fakenvml import FakeNvml

from warmset.shell.twin_files import find_host


def sweep(folder: Path) -> None:
    """Ends the processes that a killed machine left behind."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.exe()).parent == folder / "actors":
                process.kill()
                process.wait(30)


class Machine:
    """Runners and driver of one host.

    Args:
        folder: holds the host's file, the programs of the actors and the state of the driver.
        table: a process table, to show them in.
        url: of the server.
    """

    def __init__(self, folder: Path, table: Path, url: str) -> None:
        self._url = url
        spec = find_host(str(folder / "host.toml"))
        self._keys = {model.name: model.key for model in spec.models}
        (card,) = spec.gpus
        self._foreign = spec.foreign_bytes[card.device]
        self._runners: dict[str, int] = {}
        self._is_up = True
        self._nvml = FakeNvml(folder)
        self._nvml.gpu(0, total=card.total_bytes, used=self._foreign)
        (folder / "actors").mkdir()
        self._actors = Actors(folder / "actors", int(url.rpartition(":")[2]), proc=table)

    def reflect(self) -> None:
        """Shows what the server holds now."""
        try:
            rows = httpx.get(f"{self._url}/api/ps", timeout=30).json()["models"]
        except httpx.TimeoutException:
            return  # busy
        except httpx.HTTPError:
            rows, is_up = [], False
        else:
            is_up = True
        held = {row["name"]: row["size_vram"] for row in rows}
        for name in set(self._runners) - set(held):
            self._actors.end_runner(self._runners.pop(name))
        if is_up and not self._is_up:
            self._actors.crash_server()
        self._is_up = is_up
        for name in set(held) - set(self._runners):
            self._runners[name] = self._actors.load(self._keys[name].removeprefix("sha256:"))
        self._nvml.set(0, used=self._foreign + sum(held.values()))
        self._nvml.procs(0, [(self._runners[name], count) for name, count in held.items()])


def main() -> None:
    """Goes on until it is killed."""
    folder, table, url = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    sweep(folder)
    shutil.rmtree(folder / "actors", ignore_errors=True)
    machine = Machine(folder, table, url)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    parent = os.getppid()
    while os.getppid() == parent:  # or the test has ended
        machine.reflect()
        time.sleep(0.05)


if __name__ == "__main__":
    main()
