"""A large host on this machine for benchmarks: 8 GPUs, 20 models resident, each with its runner.

The server is a twin over HTTP, the driver the test suite's NVML double, the runners are idle
processes with real command lines. It needs Linux, a C compiler, and `tests` on the path.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors import Actors
from fakenvml import GIB, MIB, FakeNvml

from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import physics_of
from warmset.shell.twin_files import find_host
from warmset.shell.twin_server import TwinServer

GPUS, MODELS = 8, 20
KINDS = ("llama3.1:8b", "qwen2.5:7b", "qwen2.5:14b", "mistral:7b")
TOTAL_BYTES = 81559 * MIB
HELD_BYTES = 8 * GIB


def _describe() -> str:
    """Returns the twin's host file."""
    rows = [
        'ram = "1024GiB"',
        '[gpu.0]\nname = "NVIDIA H100 80GB HBM3"',
        f'memory = "81559MiB"\ncount = {GPUS}',
        f'[env]\nOLLAMA_MAX_LOADED_MODELS = "{MODELS}"\nOLLAMA_CONTEXT_LENGTH = "8192"',
        *(f'[model."bench{n:02}:8b"]\nlike = "{KINDS[n % len(KINDS)]}"' for n in range(MODELS)),
    ]
    return "\n".join(rows) + "\n"


@contextmanager
def large_host() -> Iterator[tuple[str, dict[str, str]]]:
    """Gives the server's address and the environment in which the GPUs are seen."""
    with tempfile.TemporaryDirectory(prefix="warmset-bench-") as name:
        folder = Path(name)
        (folder / "large.toml").write_text(_describe())
        spec = find_host(str(folder / "large.toml"))
        twin = TwinHost(spec, physics_of(spec), Timeline(time.time() - 3600))
        server = TwinServer(Api(twin), speed=None)
        server.start()
        actors = Actors(folder, server.port)
        try:
            for model in spec.models:
                with server.locked() as host:
                    host.use(model.name, 0.0, keep_alive=86400.0)
                server.advance(twin.timeline.now + 120)
            assert len(twin.residents()) == MODELS, "the bench's models do not fit its host"
            nvml = _fill(folder, actors, [model.key for model in spec.models])
            yield server.url, nvml.env() | {"XDG_CACHE_HOME": name}
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
