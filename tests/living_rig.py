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

import httpx
from actors import Actors
from fakenvml import MIB, FakeNvml
from serving_rig import Process, Rig

from warmset.adapters.journal import EventRow, open_for_reading, state_folder
from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.events import Event, LoadEnded, LoadStarted
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
        speed: of the server's time.
    """

    def __init__(self, folder: Path, *, bytes_per_second: float = 20e9, speed: float = 1.0) -> None:
        super().__init__(folder)
        self.budgets.write_text(PINS)
        (folder / "host.toml").write_text(HOST)
        spec = find_host(str(folder / "host.toml"))
        physics = FootprintPhysics(
            {model.key: model.weights.facts for model in spec.models},
            bytes_per_second=bytes_per_second,
            start_seconds=0.3,
        )
        self.happened: list[tuple[float, Event]] = []  # in the server's time
        self.twin = TwinHost(spec, physics, Timeline(time.time()), on_event=self._note)
        self.server = TwinServer(Api(self.twin), speed=speed)
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

    def ask(self, model: str, *, is_risky: bool = False, **more: object) -> threading.Thread:
        """Lets a user ask for a model, in the background; `answered` tells of the answer.

        To get none fails the test, unless it `is_risky` because the server may die meanwhile.
        """
        options = {"num_predict": 3, **more.pop("options", {})}  # type: ignore[dict-item]
        body = {"model": model, "prompt": "hello", "stream": False, "options": options, **more}

        def work() -> None:
            try:
                reply = httpx.post(f"{self.url}/api/generate", json=body, timeout=120)
                reply.raise_for_status()
            except httpx.HTTPError:
                if not is_risky:
                    raise
            else:
                self.answered.append(model)

        user = threading.Thread(target=work)
        user.start()
        return user

    def events_of(self, *kinds: str) -> list[EventRow]:
        """Returns the journal's events of some kinds."""
        pages = open_for_reading(state_folder(self.environ, self.url))
        assert pages is not None
        try:
            return [event for event in pages.events(limit=1000) if event.kind in kinds]
        finally:
            pages.close()

    def serve(self, *options: str) -> Process:
        """Starts `warmset serve` beside it, as quick as its file says."""
        config = ("--config", str(self.budgets), "--host", self.url)
        return self._start("serve", *config, *options)

    @property
    def environ(self) -> dict[str, str]:
        """The pretended driver too, and no processes but this host's."""
        return self.nvml.env(super().environ | {"HOST_PROC": str(self.actors.proc)})

    def end(self) -> None:
        """Ends whatever is left."""
        super().end()
        self._is_ending.set()
        self._mirror.join()
        self.actors.end()
        self.server.stop()

    def loads(self) -> list[tuple[float, float, str]]:
        """Returns start, end and model of each load that has ended, whoever asked for it."""
        begun: dict[int, tuple[float, str]] = {}
        found = []
        with self.server.locked():
            happened = list(self.happened)
        for at, event in happened:
            if isinstance(event, LoadStarted):
                begun[event.pid] = (at, event.order.model.name)
            elif isinstance(event, LoadEnded):
                start, name = begun[event.pid]
                found.append((start, at, name))
        return found

    def duration(self, name: str) -> float:
        """Returns the keep-alive that the server has for a resident model; 0 if it is gone."""
        with self.server.locked() as host:
            model = host.library.find(name)
            runner = None if model is None else host.scheduler.loaded.get(model.key)
            return 0.0 if runner is None else runner.duration

    def _note(self, event: Event) -> None:
        self.happened.append((self.twin.timeline.now, event))

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
def living(folder: Path, *, bytes_per_second: float = 20e9, speed: float = 1.0) -> Iterator[Living]:
    """Gives a living host, and ends everything afterwards."""
    rig = Living(folder, bytes_per_second=bytes_per_second, speed=speed)
    try:
        yield rig
    finally:
        rig.end()


def holds(rig: Living, names: set[str]) -> Callable[[], bool]:
    """Returns the fact that exactly these models are resident."""
    return lambda: rig.residents() == names
