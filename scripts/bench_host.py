"""A large host on this machine for benchmarks: 8 GPUs, models resident, each with its runner.

The server is a twin over HTTP, the driver the test suite's NVML double, the runners are idle
processes with real command lines. It needs Linux, a C compiler, and `tests` on the path.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from actors import Actors
from fakenvml import GIB, MIB, FakeNvml

from warmset.core.twin.api import Api, Exchange
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import physics_of
from warmset.shell.twin_files import find_host
from warmset.shell.twin_server import TwinServer

GPUS, MODELS = 8, 20
KINDS = ("llama3.1:8b", "qwen2.5:7b", "qwen2.5:14b", "mistral:7b")
TOTAL_BYTES = 81559 * MIB
HELD_BYTES = 8 * GIB
SETUP_SECONDS = 120.0  # of the twin, for each model to load


class CountingApi(Api):
    """The twin's interface, which counts what it is asked."""

    def __init__(self, host: TwinHost) -> None:
        super().__init__(host)
        self.asked: Counter[str] = Counter()

    def handle(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Exchange:
        """Takes one request."""
        self.asked[path] += 1
        return super().handle(method, path, body, headers)


@dataclass(frozen=True)
class LargeHost:
    """What runs: the server, and the environment in which its GPUs are seen."""

    server: TwinServer
    api: CountingApi
    models: tuple[str, ...]
    environ: dict[str, str]
    nvml: FakeNvml
    held: tuple[int, ...]  # bytes of models on each GPU

    def hold_elsewhere(self, index: int, count: int) -> None:
        """Lets other programs hold `count` bytes of a GPU, beside its models."""
        self.nvml.set(index, used=self.held[index] + count)


def _describe(installed: int, resident: int) -> str:
    """Returns the twin's host file."""
    rows = [
        'ram = "1024GiB"',
        '[gpu.0]\nname = "NVIDIA H100 80GB HBM3"',
        f'memory = "81559MiB"\ncount = {GPUS}',
        "[env]",
        *(f'{name} = "{value}"' for name, value in _environment(resident).items()),
        *(f'[model."bench{n:02}:8b"]\nlike = "{KINDS[n % len(KINDS)]}"' for n in range(installed)),
    ]
    return "\n".join(rows) + "\n"


def _environment(resident: int) -> dict[str, str]:
    """Returns how the server was started, which its process shows too."""
    return {"OLLAMA_MAX_LOADED_MODELS": str(resident), "OLLAMA_CONTEXT_LENGTH": "8192"}


@contextmanager
def large_host(
    *, resident: int = MODELS, installed: int = MODELS, is_alive: bool = False
) -> Iterator[LargeHost]:
    """Gives a host whose first models are resident; its time runs only if it `is_alive`."""
    with tempfile.TemporaryDirectory(prefix="warmset-bench-") as name:
        folder = Path(name)
        (folder / "large.toml").write_text(_describe(installed, resident))
        spec = find_host(str(folder / "large.toml"))
        began = time.time() - SETUP_SECONDS * (resident + 1)
        twin = TwinHost(spec, physics_of(spec), Timeline(began))
        for number, model in enumerate(spec.models[:resident]):
            twin.use(model.name, 0.0, keep_alive=86400.0)
            twin.timeline.advance(began + SETUP_SECONDS * (number + 1))
        assert len(twin.residents()) == resident, "the bench's models do not fit its host"
        twin.timeline.advance(time.time())
        api = CountingApi(twin)
        server = TwinServer(api, speed=1.0 if is_alive else None)
        server.start()
        actors = Actors(folder, server.port, _environment(resident))
        try:
            nvml = _fill(folder, actors, [model.key for model in spec.models[:resident]])
            yield LargeHost(
                server=server,
                api=api,
                models=tuple(model.name for model in spec.models),
                environ=nvml.env() | {"XDG_CACHE_HOME": name},
                nvml=nvml,
                held=tuple(len(range(index, resident, GPUS)) * HELD_BYTES for index in range(GPUS)),
            )
        finally:
            actors.end()
            server.stop()


def _fill(folder: Path, actors: Actors, keys: list[str]) -> FakeNvml:
    """Puts a runner for each model on the cards in turn."""
    nvml = FakeNvml(folder)
    rows: list[list[tuple[int, int]]] = [[] for _ in range(GPUS)]
    for number, key in enumerate(keys):
        rows[number % GPUS].append((actors.load(key.rpartition("sha256")[2][1:]), HELD_BYTES))
    for index, held in enumerate(rows):
        nvml.gpu(
            index,
            name="NVIDIA H100 80GB HBM3",
            total=TOTAL_BYTES,
            reserved=600 * MIB,
            used=len(held) * HELD_BYTES,
        )
        nvml.procs(index, held)
    return nvml
