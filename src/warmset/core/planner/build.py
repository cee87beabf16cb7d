"""From one look at a host and the operator's words to the models as the planner weighs them."""

from __future__ import annotations

from collections.abc import Mapping

from warmset.core.footprint import estimate_footprint
from warmset.core.footprint.calibrate import calibration_of
from warmset.core.model import (
    DeviceId,
    Entry,
    ModelKey,
    Observation,
    Resident,
)
from warmset.core.ollama.context import default_context, effective_context, slots
from warmset.core.ollama.options import load_shape
from warmset.core.ollama.types import LoadShape, WeightsFile
from warmset.core.planner.candidates import Candidate, Demand, Need, expected_saving
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.locate import Located, is_readable
from warmset.core.planner.needs import FootprintOf, Measure
from warmset.core.settings import ModelPolicy, Settings


def build_candidates(
    observation: Observation,
    settings: Settings,
    host: HostCapacity,
    where: Located,
    *,
    footprint: FootprintOf | None = None,
    busy: frozenset[ModelKey] = frozenset(),
    load_seconds: Mapping[ModelKey, float] | None = None,
) -> tuple[Candidate, ...]:
    """Returns one candidate per installed set of weights.

    Args:
        observation, settings: as for `build_host`.
        host, where: what it returned.
        footprint: estimates a load; `None`: with what the host has taught.
        busy: residents with requests in flight.
        load_seconds: as measured on this host.
    """
    timed = load_seconds or {}
    if footprint is None and observation.learnt.loads:
        footprint = calibration_of(observation.learnt).estimator(observation.entries)
    residents = {r.key: r for r in observation.residents or () if r.key in where.by_model}
    learnt = observation.learnt
    return tuple(
        build_candidate(
            entry,
            settings.policy_for(entry.names),
            host,
            requests_per_day=learnt.requests_per_day.get(entry.key),
            resident=residents.get(entry.key),
            located=where.by_model.get(entry.key),
            footprint=footprint or estimate_footprint,
            engine=_engine(observation.version),
            is_busy=entry.key in busy,
            load_seconds=timed.get(entry.key)
            or learnt.expect_load_seconds(entry.key, entry.file_bytes),
        )
        for entry in observation.entries
    )


def build_candidate(
    entry: Entry,
    policy: ModelPolicy,
    host: HostCapacity,
    *,
    resident: Resident | None = None,
    located: Mapping[DeviceId, int] | None = None,
    footprint: FootprintOf = estimate_footprint,
    engine: str = "ollama",
    is_busy: bool = False,
    load_seconds: float | None = None,
    requests_per_day: float | None = None,
) -> Candidate:
    """Returns one model as the planner weighs it; see `build_candidates`.

    `requests_per_day` is as measured.
    """
    demand = Demand.known_from(requests_per_day, policy.requests_per_day)
    file = WeightsFile.of_entry(entry)
    shape = None if file is None else shape_of(entry, file, policy, host, resident)
    completes = not entry.is_embedding
    wanted_slots = policy.parallel or host.env.num_parallel
    parallel = 1 if file is None else slots(file, wanted_slots, completes=completes)
    value, seconds = expected_saving(
        None if file is None else file.file_bytes,
        load_seconds=load_seconds,
        requests_per_day=demand.requests_per_day,
    )
    measure = Measure(
        entry=entry, shape=shape, parallel=parallel, host=host, footprint=footprint, engine=engine
    )
    on_one, spread, on_cpu, unknown = measure.needs()
    bound_to = None if policy.gpu is None else host.named(policy.gpu)
    if policy.gpu is not None and bound_to is None:
        there = ", ".join(f"{gpu.label} {gpu.id}" for gpu in host.gpus) or "none"
        on_one = spread = None
        unknown = f'it is bound to gpu = "{policy.gpu}", which is not here; there is: {there}'
    if resident is not None and located and len(located) == 1:
        if not is_readable(entry):
            held = sum(located.values())
            on_one, unknown = Need(point_bytes=held, upper_bytes=held, basis="observed"), ""
        elif on_one is not None and not _is_as_wanted(resident, shape):
            # Its clients will have it loaded anew: what it holds today is not what it will need.
            located = dict.fromkeys(located, on_one.upper_bytes)
    return Candidate(
        key=entry.key,
        name=entry.name,
        names=entry.names,
        on_one=on_one,
        spread=spread,
        on_cpu_bytes=on_cpu,
        unknown=unknown,
        file=file,
        shape=shape,
        parallel=parallel,
        completes=completes,
        priority=policy.priority,
        pin=policy.pin,
        value=value,
        demand=demand,
        load_seconds=seconds,
        is_preloadable=policy.preload or policy.pin,
        bound_to=bound_to,
        is_resident=resident is not None,
        is_busy=is_busy,
        located=located if resident is not None else None,
    )


def _is_as_wanted(resident: Resident, shape: LoadShape | None) -> bool:
    """Whether a resident has the context that its clients get."""
    if shape is None or resident.context is None:
        return True
    return effective_context(shape.options.num_ctx, shape.trained_context) == resident.context


def shape_of(
    entry: Entry,
    file: WeightsFile,
    policy: ModelPolicy,
    host: HostCapacity,
    resident: Resident | None,
) -> LoadShape:
    """Returns how the model is loaded: the operator's word, what is there, then the defaults."""
    totals = [gpu.gpu.total_bytes for gpu in host.gpus]
    request: dict[str, object] = {}
    if policy.context is not None:
        request["num_ctx"] = policy.context
    elif resident is not None and resident.context is not None:
        request["num_ctx"] = resident.context
    in_file = {"num_ctx": entry.modelfile_num_ctx, "main_gpu": entry.modelfile_main_gpu}
    modelfile = {key: said[entry.name] for key, said in in_file.items() if entry.name in said}
    return load_shape(
        file,
        request=request,
        modelfile=modelfile,
        default_num_ctx=default_context(totals, host.env.gpu_overhead_bytes),
        context_length_env=host.env.context_length,
        is_embedding="embedding" in entry.capabilities,
        has_vision="vision" in entry.capabilities,
        is_mlx=entry.format != "gguf",
    )


def _engine(version: str | None) -> str:
    return f"ollama-{version}" if version else "ollama"
