"""A named twin host as a server, with users who live in it: the work behind `warmset twin`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from warmset.core.ollama.env import ServerEnv
from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.demand import Arrival
from warmset.core.twin.host import HostSpec, TwinHost
from warmset.core.twin.hosts import physics_of
from warmset.core.twin.library import InstalledModel
from warmset.core.twin.names import parse_name
from warmset.errors import ConfigError
from warmset.shell.twin_files import find_demand, find_host
from warmset.shell.twin_server import TwinServer


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinOrder:
    """What is to be served.

    Attributes:
        host: a known name, or a `.toml` file.
        speed: pretended seconds per real second.
        demand: a pattern or a trace file; empty for no users.
        hours: pretended hours that the users stay.
        models: only these of the host's models; all when empty.
        environ: `OLLAMA_*` in it decides like on a real server's command line.
    """

    host: str
    port: int = 0
    speed: float = 1.0
    demand: str = ""
    hours: float = 24.0
    seed: int = 0
    models: Sequence[str] = ()
    environ: Mapping[str, str]


def build_server(order: TwinOrder) -> TwinServer:
    """Returns the server, not yet started; its pretended time begins now.

    Raises:
        ConfigError: there is no such host, model or demand.
        TraceError: the demand's trace is malformed.
    """
    spec = find_host(order.host)
    variables = {k: v for k, v in order.environ.items() if k.startswith("OLLAMA_")}
    env = ServerEnv.from_environ({**spec.env.raw, **variables})
    spec = replace(spec, env=env, seed=order.seed, models=_chosen(spec, order.models))
    timeline = Timeline(time.time())
    host = TwinHost(spec, physics_of(spec), timeline)
    names = tuple(model.name for model in spec.models)
    if order.demand:
        start = timeline.now
        for arrival in find_demand(order.demand, names, hours=order.hours, seed=order.seed):
            timeline.at(start + arrival.at, partial(_arrive, host, arrival))
    return TwinServer(Api(host), port=order.port, speed=order.speed)


def serve(order: TwinOrder, ready: Callable[[TwinServer], None]) -> None:
    """Serves until interrupted; `ready` is told once connections are accepted."""
    server = build_server(order)
    server.run(lambda _: ready(server))


def _chosen(spec: HostSpec, wanted: Sequence[str]) -> tuple[InstalledModel, ...]:
    if not wanted:
        return spec.models
    by_name = {parse_name(model.name): model for model in spec.models}
    missing = [name for name in wanted if parse_name(name) not in by_name]
    if missing:
        raise ConfigError(
            f'the twin host "{spec.name}" has no model "{missing[0]}"',
            hint=f"It has: {', '.join(model.name for model in spec.models)}.",
        )
    return tuple(by_name[parse_name(name)] for name in wanted)


def _arrive(host: TwinHost, arrival: Arrival) -> None:
    """One user's request, unless the server is down or the model was deleted meanwhile."""
    if host.is_up and host.library.find(arrival.model) is not None:
        host.use(arrival.model, arrival.seconds, keep_alive=arrival.keep_alive)
