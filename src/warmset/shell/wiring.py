"""Which real thing stands behind each port: an Ollama over HTTP, or a twin under a virtual clock.

A remote server never gets this machine's GPUs or RAM attributed to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from warmset.core.host.survey import HostSurvey, survey_of_elsewhere
from warmset.core.settings import Settings
from warmset.ports import Clock, ModelServer
from warmset.shell.lessons import Lessons, lessons_of
from warmset.shell.local import LocalHost, MachineRoots

TWIN_SCHEME = "twin://"


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clocks. Implements `ports.Clock`."""

    def now(self) -> float:
        """Returns Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Returns seconds that never step back."""
        return time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One host that warmset looks at.

    Attributes:
        is_local: whether the machine surveyed is the server's.
        survey: reads the server's machine; all that cannot be seen from here is unknown.
        wait: lets time pass until the next look; in a twin, its own time too.
        skip: lets time pass for the host; a twin does not make us wait for it.
        clients: tells who is connected to the server; `None`: it cannot be seen from here.
        notes: what the operator should know about the connection itself.
        lessons: what earlier loads on the host taught.
    """

    server: ModelServer
    clock: Clock
    is_local: bool
    survey: Callable[[], HostSurvey]
    wait: Callable[[float], None] = time.sleep
    skip: Callable[[float], None] = time.sleep
    notes: tuple[str, ...] = ()
    clients: Callable[[], tuple[str, ...] | None] = lambda: None
    close: Callable[[], None] = field(default=lambda: None)
    lessons: Lessons = field(default_factory=lambda: Lessons(None))


def connect(
    settings: Settings, *, environ: Mapping[str, str], weighs_demand: bool = True
) -> Connection:
    """Returns a connection to the host that the settings name; opens nothing yet.

    Args:
        settings: they name the host.
        environ: names the folder of what earlier loads taught, and where the host's /proc is.
        weighs_demand: whether the models' demand is wanted too, which plans need and pictures not.

    Raises:
        ConfigError: the address, the twin's name or the host's /proc cannot be used.
    """
    if settings.url.startswith(TWIN_SCHEME):
        from warmset.shell.twin_link import connect_twin

        twin = connect_twin(settings.url.removeprefix(TWIN_SCHEME), settings)
        lessons = lessons_of(environ, twin.server.url, weighs_demand=weighs_demand)
        return replace(twin, lessons=lessons)
    from warmset.adapters.ollama.address import is_local, parse_address
    from warmset.adapters.ollama.client import connect as connect_server

    address = parse_address(settings.url)
    server = connect_server(address, environ=environ)
    roots = MachineRoots.from_environ(environ)
    here = LocalHost(address.port, settings.budget, roots) if is_local(address) else None
    lessons = lessons_of(environ, server.url, weighs_demand=weighs_demand)

    def close() -> None:
        server.close()
        lessons.close()
        if here is not None:
            here.close()

    return Connection(
        server=server,
        clock=SystemClock(),
        is_local=here is not None,
        survey=here.survey if here else lambda: survey_of_elsewhere(address.host),
        clients=here.clients if here else lambda: None,
        notes=address.notes,
        close=close,
        lessons=lessons,
    )
