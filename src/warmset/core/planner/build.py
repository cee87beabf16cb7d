"""From one look at a host and the operator's words to the planner's values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from warmset.core.footprint import Footprint, estimate_footprint
from warmset.core.footprint.calibrate import calibration_of
from warmset.core.host.budget import if_fresh, promise_bytes
from warmset.core.model import (
    Device,
    DeviceId,
    Entry,
    ModelKey,
    Observation,
    Quality,
    Reading,
    Resident,
)
from warmset.core.ollama.context import default_context, effective_context, slots
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.options import load_shape
from warmset.core.ollama.types import Gpu, LoadShape, WeightsFile
from warmset.core.planner.candidates import Candidate, Demand, Need, Spread, expected_saving
from warmset.core.planner.capacity import GpuCapacity, HostCapacity
from warmset.core.planner.locate import Located, is_readable, locate_residents
from warmset.core.settings import ModelPolicy, Settings, merge_server, normalise_gpu
from warmset.core.units import MIB
from warmset.errors import FactsError

RAM_PRIOR_RATIO: Final = 0.1
RAM_PRIOR_BYTES: Final = 512 * MIB
"""RAM of a model on GPUs whose tensor table is not known: a tenth of its file for the input table,
which stays in RAM, and half a GiB for the runner.

Source: input tables take 2 to 9 % of the files in the footprint rows with a tensor table.
"""

FootprintOf = Callable[..., Footprint]
"""`estimate_footprint`, or a calibrated form with the same arguments."""


def build_host(
    observation: Observation,
    settings: Settings,
    *,
    located: Mapping[ModelKey, Mapping[DeviceId, int]] | None = None,
) -> tuple[HostCapacity, Located]:
    """Returns what the host can hold, and where its residents are.

    Args:
        observation: one look; devices in the order in which Ollama names them.
        settings: with the budget.
        located: device -> bytes of residents, as the driver shows them, where that is known.
    """
    env = ServerEnv.from_settings(merge_server(settings.server, observation.settings))
    where = locate_residents(observation, located or {})
    devices = enumerate(observation.devices)
    gpus = tuple(_gpu(position, device, settings, where) for position, device in devices)
    ram, ram_note = _ram(observation, settings, where)
    notes = (*observation.notes, *where.notes, *((ram_note,) if ram_note else ()))
    host = HostCapacity(
        gpus=gpus,
        ram_bytes=ram,
        env=env,
        strangers=where.strangers,
        knows_residents=observation.residents is not None,
        notes=notes,
    )
    return host, where


def _gpu(position: int, device: Device, settings: Settings, where: Located) -> GpuCapacity:
    """Returns one GPU; its free bytes are those it has when no model of ours is on it."""
    now_free = if_fresh(device.free_bytes)
    total, free = device.total_bytes.value, now_free.value
    unknown = ""
    if total is None:
        unknown = f"total memory: {device.total_bytes.reason}"
    elif free is None:
        unknown = f"free memory: {now_free.reason}"
    major, _, minor = device.compute.partition(".")
    empty = None
    if total is not None and free is not None:
        empty = min(total, free + where.on_device.get(device.id, 0))
    usable = None
    if total is not None and empty is not None:
        budget = settings.budget.budget_bytes(device.id, device.index, total, pci_id=device.pci_id)
        usable = max(0, min(budget, empty - _doubtful(now_free)))
    return GpuCapacity(
        id=device.id,
        name=device.name,
        names=tuple(
            normalise_gpu(name)
            for name in (
                device.id,
                device.pci_id,
                "" if device.index is None else str(device.index),
            )
            if name
        ),
        gpu=Gpu(
            library=device.library,
            id=str(position),
            total_bytes=total or 0,
            free_bytes=empty or 0,
            integrated=device.integrated,
            name=device.name,
            **({"compute_major": int(major), "compute_minor": int(minor)} if minor else {}),
        ),
        usable_bytes=usable,
        unknown=unknown,
    )


def _doubtful(free: Reading[int]) -> int:
    """Returns what of an estimate is not promised; of a count the operator's reserve is enough."""
    if free.value is None or free.quality is not Quality.ESTIMATE:
        return 0
    return free.value - promise_bytes(free)


def _ram(observation: Observation, settings: Settings, where: Located) -> tuple[int | None, str]:
    """Returns the RAM that models may take, residents' own part included.

    On a GPU that lives in RAM that is all of a resident: what it holds there is not available.
    """
    available = observation.memory.available_bytes
    if available.value is None:
        return None, f"RAM is not known ({available.reason}): nothing is promised in it"
    held = sum(
        max(0, r.size_bytes - r.size_vram_bytes)
        for r in observation.residents or ()
        if r.size_bytes is not None and r.size_vram_bytes is not None
    )
    shared = sum(where.on_device.get(d.id, 0) for d in observation.devices if d.integrated)
    ram = available.value + held + shared
    if observation.memory.total_bytes.value is not None:
        ram = min(ram, observation.memory.total_bytes.value)
    if settings.budget.ram_limit_bytes is not None:
        ram = min(ram, settings.budget.ram_limit_bytes)
    return ram, ""


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
    measure = _Measure(
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    """The needs of one model in each kind of place."""

    entry: Entry
    shape: LoadShape | None
    parallel: int
    host: HostCapacity
    footprint: FootprintOf
    engine: str

    def needs(self) -> tuple[Need | None, Spread | None, int | None, str]:
        """Returns the need on one GPU, over a group, in RAM, and why something is not known."""
        if self.shape is None:
            return None, None, None, "the size of its weights file is not known"
        try:
            on_cpu = self._estimate(0).ram_bytes
            if not self.host.gpus:
                reason = "" if on_cpu is not None else "its bytes in RAM are not known"
                return None, None, on_cpu, reason
            one = self._estimate(1)
            largest_group = max(len(self.host.group_of(gpu)) for gpu in self.host.gpus)
            group = self._estimate(largest_group) if largest_group > 1 else None
        except FactsError as error:
            return None, None, None, error.message
        need = self._need(one)
        if need is None:
            return None, None, on_cpu, "; ".join(one.unknowns) or "its weights are not known"
        return need, None if group is None else self._spread(group), on_cpu, ""

    def _estimate(self, gpus: int) -> Footprint:
        assert self.shape is not None
        entry, env = self.entry, self.host.env
        options = self.shape.options
        file = entry.file_bytes if entry.file_bytes is not None else entry.size_bytes
        return self.footprint(
            entry.facts,
            num_ctx=effective_context(options.num_ctx, self.shape.trained_context),
            num_parallel=self.parallel,
            kv_type=env.kv_cache_type or "f16",
            flash_attn=env.flash_attention,
            gpus=gpus,
            batch=None if self.shape.num_batch_auto else options.num_batch,
            engine=self.engine,
            tensors=entry.tensors,
            file_bytes=file,
            projector_bytes=entry.projector_bytes,
            adapter_bytes=entry.adapter_bytes,
            integrated=bool(gpus) and all(gpu.gpu.integrated for gpu in self.host.gpus),
        )

    def _need(self, estimate: Footprint) -> Need | None:
        point, upper = estimate.vram_bytes, estimate.vram_upper_bytes
        if point is None or upper is None:
            return None
        return Need(
            point_bytes=point,
            upper_bytes=max(point, upper),
            ram_bytes=self._ram(estimate),
            basis=estimate.basis,
        )

    def _spread(self, estimate: Footprint) -> Spread | None:
        """Splits an estimate over a group into what each GPU takes and what is shared out."""
        if estimate.vram_bytes is None or estimate.vram_upper_bytes is None:
            return None
        shared = fixed = fixed_upper = step = 0
        for share in estimate.devices:
            if share.vram_bytes is None or share.vram_upper_bytes is None:
                return None
            own = (share.weights_bytes or 0) + share.kv_bytes + share.recurrent_bytes
            shared += own
            step = max(step, own // max(1, share.layers))
            fixed = max(fixed, share.vram_bytes - own)
            fixed_upper = max(fixed_upper, share.vram_upper_bytes - own)
        return Spread(
            fixed_point_bytes=fixed,
            fixed_upper_bytes=max(fixed, fixed_upper) + step,
            shared_bytes=shared,
            ram_bytes=self._ram(estimate),
            basis=estimate.basis,
        )

    def _ram(self, estimate: Footprint) -> int:
        if estimate.ram_bytes is not None:
            return estimate.ram_bytes
        file = self.entry.file_bytes or self.entry.size_bytes or 0
        return int(file * RAM_PRIOR_RATIO) + RAM_PRIOR_BYTES


def _engine(version: str | None) -> str:
    return f"ollama-{version}" if version else "ollama"
