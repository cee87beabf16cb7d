"""A host as a replay takes it: one pool of memory, and what each model costs to hold and to load.

Several GPUs count as one pool of their sum, which flatters a host whose models are large against
one card. Pins hold their room whether anybody asks for them or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from warmset.core.model import ModelKey, normalise_name
from warmset.core.planner import Candidate, HostCapacity, build_candidates, build_host
from warmset.core.planner.verdict import first_forecast
from warmset.core.policy import ModelCost
from warmset.core.settings import Settings
from warmset.core.twin.hosts import HOSTS
from warmset.core.twin.memory import PoolSpec
from warmset.errors import CapacityError, TraceError
from warmset.shell.wiring import TWIN_SCHEME


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayHost:
    """A host and what it has installed.

    Attributes:
        label: for people.
        gpus: how many; Ollama's default limit on loaded models is three for each.
        budget_bytes: what models may hold together; `None`: it cannot be read.
        costs: by each of the names that a model has there.
        names: one name of each set of weights.
        keys: the weights of each name.
    """

    label: str
    url: str
    gpus: int
    budget_bytes: int | None
    max_loaded: int
    costs: Mapping[str, ModelCost]
    names: tuple[str, ...]
    keys: Mapping[str, str]

    def spec(
        self,
        asked: Iterable[str],
        *,
        given: Mapping[str, ModelCost] | None = None,
        budget_bytes: int | None = None,
    ) -> PoolSpec:
        """Returns the pool in which a trace's models live.

        Args:
            asked: the models of the trace.
            given: sizes and load times that came with the trace; they count before the host's.
            budget_bytes: instead of the host's.

        Raises:
            TraceError: nothing is known of a model.
            CapacityError: the host's memory cannot be read and no budget was given.
        """
        budget = budget_bytes or self.budget_bytes
        if budget is None:
            raise CapacityError(
                f"the memory of {self.label} cannot be read from here", hint="--budget 24GB"
            )
        models: dict[str, ModelCost] = {}
        for name in dict.fromkeys(asked):
            here = self.costs.get(normalise_name(name))
            cost = (given or {}).get(name) or here
            if cost is None:
                raise TraceError(
                    f"{name}: its size is not known: it is not installed on {self.label}",
                    hint="put NAME.models.json beside NAME.csv.gz, with bytes and load_s of each",
                )
            mine = here or cost
            models[name] = replace(
                cost,
                id=name,
                priority=mine.priority,
                may_preload=mine.may_preload,
                pinned=mine.pinned,
                forecast_bytes=mine.forecast_bytes,
            )
        there = {self.keys.get(normalise_name(name)) for name in models}
        for name in self.names:
            pin = self.costs.get(normalise_name(name))
            if pin is not None and pin.pinned and self.keys[normalise_name(name)] not in there:
                models[name] = pin
        return PoolSpec(models=models, budget_bytes=budget, max_loaded=self.max_loaded)


def host_url(word: str) -> str:
    """Returns the address that `--on` means: `workstation` is `twin://workstation`, unused."""
    name = word.removeprefix(TWIN_SCHEME)
    is_twin = word.startswith(TWIN_SCHEME) or name in HOSTS or name.endswith(".toml")
    if not is_twin or "?" in name:
        return word
    return f"{TWIN_SCHEME}{name}?demand=idle&hours=0"


def look_at(settings: Settings) -> ReplayHost:
    """Returns the host that the settings name, as it would be without any model loaded.

    Raises:
        WarmsetError: the host cannot be reached, or its address is wrong.
    """
    from warmset.shell.decide import locate
    from warmset.shell.observe import look_closely

    seen = look_closely(settings)
    observation = seen.observation
    host, where = build_host(observation, settings, located=locate(seen))
    candidates = build_candidates(observation, settings, host, where)
    costs: dict[str, ModelCost] = {}
    for candidate in candidates:
        cost = _cost(candidate, host)
        if cost is not None:
            costs |= {normalise_name(name): cost for name in candidate.names}
    return ReplayHost(
        label=settings.url.partition("?")[0],
        url=observation.server_url,
        gpus=len(host.gpus),
        budget_bytes=_room(host),
        max_loaded=host.max_count,
        costs=costs,
        names=tuple(c.name for c in candidates),
        keys={normalise_name(n): ModelKey(c.key) for c in candidates for n in c.names},
    )


def _room(host: HostCapacity) -> int | None:
    if host.is_cpu_only:
        return host.ram_bytes
    usable = [gpu.usable_bytes for gpu in host.gpus]
    return None if None in usable else sum(count or 0 for count in usable)


def _cost(candidate: Candidate, host: HostCapacity) -> ModelCost | None:
    count: int | None = None
    if host.is_cpu_only:
        count = candidate.on_cpu_bytes
    elif candidate.on_one is not None:
        count = candidate.on_one.point_bytes
    elif candidate.spread is not None:
        shares = candidate.spread.shares({g.id: g.gpu.free_bytes for g in host.gpus})
        count = sum(shares.values())
    if not count:
        return None
    forecast = first_forecast(host, candidate)
    return ModelCost(
        id=candidate.name,
        bytes=count,
        load_seconds=candidate.load_seconds,
        priority=candidate.priority,
        may_preload=candidate.is_preloadable,
        pinned=candidate.pin,
        forecast_bytes=None if forecast is None else forecast.total_bytes,
    )
