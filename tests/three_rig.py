"""Ollama, the machine under it and `warmset serve` as three processes of one host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fakenvml import FakeNvml
from machine import sweep
from serving_rig import ROOT, Process, Rig

FAKENVML = ROOT / "tests/fakenvml"
PATIENCE_SECONDS = 120.0
"""Nothing here is a matter of speed; a machine with other work may take long."""


class Three(Rig):
    """Three processes of one host.

    Args:
        folder: holds everything.
        host: what the machine is.
        words: of the operator.
        max_loaded: how many models the server keeps at most.
    """

    def __init__(self, folder: Path, host: str, words: str, *, max_loaded: int = 6) -> None:
        super().__init__(folder)
        (folder / "host.toml").write_text(host)
        self.budgets.write_text(words)
        self._max_loaded = str(max_loaded)
        self._nvml = FakeNvml(folder)
        assert self._proc is not None
        self._table = self._proc
        self.processes: dict[str, Process] = {}

    @property
    def environ(self) -> dict[str, str]:
        """The pretended driver too."""
        return self._nvml.env(super().environ | {"OLLAMA_MAX_LOADED_MODELS": self._max_loaded})

    def show(self, pid: int) -> None:
        """The server's own process is not seen: the machine has one that looks like Ollama's."""

    def start(self, *names: str) -> None:
        """Starts some of the three; whoever needs another one comes after it."""
        for name in names:
            self.processes[name] = getattr(self, f"_start_{name}")()

    def kill(self, *names: str) -> None:
        """Ends some of them as kill -9 does, before any of it is waited for."""
        for name in names:
            self.processes[name].popen.kill()
        for name in names:
            self.processes[name].popen.wait()

    def end(self) -> None:
        """Ends whatever is left."""
        if "machine" in self.processes:
            self.kill("machine")
        sweep(self.folder)  # they hold the machine's pipes
        super().end()

    def _start_server(self) -> Process:
        return self.start_twin()

    def _start_machine(self) -> Process:
        popen = subprocess.Popen(
            [sys.executable, ROOT / "tests/machine.py", self.folder, self._table, self.url],
            env=self.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}:{FAKENVML}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        made = Process(popen)
        self._started.append(made)
        assert popen.stdout is not None
        assert popen.stdout.readline() == "ready\n", made.raw
        return made

    def _start_warmset(self) -> Process:
        config = ("--config", str(self.budgets), "--host", self.url)
        daemon = self._start("serve", *config)
        daemon.wait_for("started", PATIENCE_SECONDS)
        return daemon
