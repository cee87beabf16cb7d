"""A host that lives: a twin over HTTP whose runners are real processes on a pretended driver.

What happens in the twin is mirrored: each of its runners has a process with Ollama's command line,
and the driver shows its bytes. `warmset serve` beside it sees one machine.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from actors import Actors
from fakenvml import MIB, FakeNvml
from serving_rig import Process, Rig

from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.physics import FootprintPhysics
from warmset.shell.twin_files import find_host
from warmset.shell.twin_server import TwinServer

CARD = "CUDA:0"
TOTAL_BYTES = 24564 * MIB
FOREIGN_BYTES = 600 * MIB
CODER, CHAT, SMALL = "qwen2.5-coder:7b", "llama3.1:8b", "llama3.2:3b"
MEDIUM, LARGE, GIANT = "qwen2.5:14b", "qwen2.5:32b", "giant:70b"
HOST = f"""
ram = "64GiB"
[gpu.0]
name = "NVIDIA GeForce RTX 4090"
memory = "24564MiB"
foreign = "600MiB"
[env]
OLLAMA_MAX_LOADED_MODELS = "6"
OLLAMA_CONTEXT_LENGTH = "8192"
[model."{CODER}"]
[model."{CHAT}"]
[model."{SMALL}"]
[model."{MEDIUM}"]
[model."{LARGE}"]
[model."{GIANT}"]
like = "llama3.3:70b"
file = "30GB"
"""
POLICY = """
[policy]
tick = "0.3s"
calm = "1s"
settle = "1s"
idle_after = "1s"
cool_down = "1s"
pressure = "1s"
min_residency = "0s"
"""
"""An operator in a hurry: the same rules, in seconds instead of minutes."""

PINS = f'{POLICY}[model."{CODER}"]\npin = true\n[model."{CHAT}"]\npin = true\n'


class Living(Rig):
    """One living host, and what runs beside it.

    Args:
        folder: holds everything.
        bytes_per_second: how fast models load.
    """

    def __init__(self, folder: Path, *, bytes_per_second: float = 20e9) -> None:
        super().__init__(folder)
        self.budgets.write_text(PINS)
        (folder / "host.toml").write_text(HOST)
        spec = find_host(str(folder / "host.toml"))
        physics = FootprintPhysics(
            {model.key: model.weights.facts for model in spec.models},
            bytes_per_second=bytes_per_second,
            start_seconds=0.3,
        )
        self.twin = TwinHost(spec, physics, Timeline(time.time()))
        self.server = TwinServer(Api(self.twin))
        self.server.start()
        self.url, self.port = self.server.url, self.server.port
        self.nvml = FakeNvml(folder)
        self.nvml.gpu(0, total=TOTAL_BYTES, used=FOREIGN_BYTES)
        self.actors = Actors(folder, self.port)
        self.answered: list[str] = []  # models that users got an answer of
        self._processes: dict[int, int] = {}  # the twin's runner -> a real process
        self._is_ending = threading.Event()
        self._mirror = threading.Thread(target=self._reflect, daemon=True)
        self._mirror.start()

    def serve(self, *options: str) -> Process:
        """Starts `warmset serve` beside it, as quick as its file says."""
        config = ("--config", str(self.budgets), "--host", self.url)
        return self._start("serve", *config, *options)

    @property
    def environ(self) -> dict[str, str]:
        """The pretended driver too."""
        return self.nvml.env(super().environ)

    def end(self) -> None:
        """Ends whatever is left."""
        super().end()
        self._is_ending.set()
        self._mirror.join()
        self.actors.end()
        self.server.stop()

    def _reflect(self) -> None:
        while not self._is_ending.wait(0.03):
            with self.server.locked() as host:
                running = {r.pid: r.model.key for r in host.scheduler.loaded.values() if r.is_alive}
                order = host.scheduler.loading
                for pid in host.cards.holders:
                    if pid not in running and order is not None:
                        running[pid] = order.model.key
                held = {pid: host.cards.held_by(pid).get(CARD, 0) for pid in running}
                used = TOTAL_BYTES - host.cards.free(CARD)
            self._show(running, held, used)

    def _show(self, running: dict[int, str], held: dict[int, int], used: int) -> None:
        for pid in set(self._processes) - set(running):
            self.actors.end_runner(self._processes.pop(pid))
        for pid in set(running) - set(self._processes):
            self._processes[pid] = self.actors.load(running[pid].removeprefix("sha256:"))
        rows = [(self._processes[pid], count) for pid, count in held.items() if count]
        self.nvml.sections["gpu0"]["used"] = used
        self.nvml.procs(0, rows)


@contextlib.contextmanager
def living(folder: Path, *, bytes_per_second: float = 20e9) -> Iterator[Living]:
    """Gives a living host, and ends everything afterwards."""
    rig = Living(folder, bytes_per_second=bytes_per_second)
    try:
        yield rig
    finally:
        rig.end()


def holds(rig: Living, names: set[str]) -> Callable[[], bool]:
    """Returns the fact that exactly these models are resident."""
    return lambda: rig.residents() == names
