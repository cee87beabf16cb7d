"""One model's footprint as a host would make it: facts, load shape, calibration.

The host is asked first. Without one that answers, the estimate stands on the model alone, and the
notes say what was assumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from warmset.core.footprint import Footprint, estimate_footprint
from warmset.core.footprint.calibrate import Calibration, calibration_of
from warmset.core.footprint.observed import load_key
from warmset.core.footprint.split import FIT_MARGIN_BYTES
from warmset.core.model import DeviceId, Entry
from warmset.core.ollama.context import TIER_SMALL, effective_context, slots
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.placement import select_placement
from warmset.core.ollama.types import WeightsFile
from warmset.core.planner.build import shape_of
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.host_room import build_host
from warmset.core.settings import Settings
from warmset.errors import BackendError, FactsError
from warmset.shell.cache_types import check_cache_types
from warmset.shell.decide import locate
from warmset.shell.lessons import engine_of, epoch_of
from warmset.shell.newcomer import find_newcomer
from warmset.shell.observe import Seen, look_closely


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the operator asked; `None` means as the host would do it."""

    name: str
    context: int | None = None
    parallel: int | None = None
    kv_type: str | None = None
    gpus: int | None = None
    engine: str | None = None
    offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes that one more model may take beside the current set, on each GPU, most first.

    Attributes:
        why: what is missing for an answer; empty where there is one.
    """

    gpus: tuple[int, ...] = ()
    free: tuple[int, ...] = ()  # as the driver shows it, in the same order
    ram: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model in the circumstances in which it would be loaded."""

    entry: Entry
    context: int
    parallel: int
    kv_type: str
    flash: bool | None
    batch: int | None
    gpus: int
    engine: str
    integrated: bool
    trained_context: int
    room: Room
    residents: tuple[str, ...]  # others that Ollama could evict
    is_resident: bool
    devices: tuple[str, ...]
    calibration: Calibration | None
    notes: tuple[str, ...]

    def estimate(
        self, *, context: int | None = None, kv_type: str | None = None, gpus: int | None = None
    ) -> Footprint:
        """Returns the calibrated footprint, with some of the circumstances changed.

        Raises:
            FactsError: a fact that matters is missing.
        """
        entry, count = self.entry, self.gpus if gpus is None else gpus
        cold = estimate_footprint(
            entry.facts,
            num_ctx=context or self.context,
            num_parallel=self.parallel,
            kv_type=kv_type or self.kv_type,
            flash_attn=self.flash,
            gpus=count,
            batch=self.batch,
            engine=self.engine,
            tensors=entry.tensors,
            file_bytes=entry.file_bytes if entry.file_bytes is not None else entry.size_bytes,
            projector_bytes=entry.projector_bytes,
            adapter_bytes=entry.adapter_bytes,
            integrated=self.integrated,
        )
        if self.calibration is None:
            return cold
        devices = self.devices if count == len(self.devices) else ()
        architecture = str(entry.facts.get("general.architecture"))
        return self.calibration.apply(
            cold, load_key(cold, model=entry.key, architecture=architecture, devices=devices)
        )


def find_subject(asked: Asked, settings: Settings, environ: Mapping[str, str]) -> Subject:
    """Returns the model with the circumstances of the host that the settings name.

    Raises:
        WarmsetError: nothing is known of the model, or the configuration or a flag is wrong.
    """
    if asked.kv_type:
        check_cache_types(asked.kv_type)
    seen, notes = _look(settings, environ)
    observation = None if seen is None else seen.observation
    entry = find_newcomer(observation, asked.name, environ, offline=asked.offline)
    engine = asked.engine or ("ollama" if seen is None else engine_of(seen.observation.version))
    if seen is None:
        return _alone(entry, asked, settings, engine, notes)
    located = locate(seen)
    host, _ = build_host(seen.observation, settings, located=located)
    policy = settings.policy_for(entry.names)
    policy = replace(policy, context=asked.context or policy.context)
    rows = {r.key: r for r in seen.observation.residents or () if r.key is not None}
    resident = rows.get(entry.key)
    file = WeightsFile.of_entry(entry)
    if file is None:
        raise FactsError(
            f"{entry.name}: the size of its weights file is not known",
            hint="the file's path, or its name in the registry, tells it",
            context={"key": "file_bytes"},
        )
    shape = shape_of(entry, file, policy, host, resident)
    wanted = asked.parallel or policy.parallel or host.env.num_parallel
    own = located.get(entry.key, {})
    subject = Subject(
        entry=entry,
        context=effective_context(shape.options.num_ctx, shape.trained_context),
        parallel=slots(file, wanted, completes=not entry.is_embedding),
        kv_type=asked.kv_type or host.env.kv_cache_type or "f16",
        flash=host.env.flash_attention,
        batch=None if shape.num_batch_auto else shape.options.num_batch,
        gpus=0,
        engine=engine,
        integrated=bool(host.gpus) and all(gpu.gpu.integrated for gpu in host.gpus),
        trained_context=file.trained_context,
        room=_room(seen, settings, own),
        residents=tuple(r.name for key, r in rows.items() if key != entry.key),
        is_resident=resident is not None,
        devices=tuple(device.id for device in seen.observation.devices),
        calibration=_calibration(seen, engine),
        notes=(*notes, *seen.observation.notes),
    )
    count = _usual_gpus(subject, host) if asked.gpus is None else asked.gpus
    return replace(subject, gpus=count)


def _look(settings: Settings, environ: Mapping[str, str]) -> tuple[Seen | None, tuple[str, ...]]:
    try:
        return look_closely(settings, environ), ()
    except BackendError as error:
        return None, (f"no host to look at: {error.message}",)


def _calibration(seen: Seen, engine: str) -> Calibration:
    learnt, version = seen.observation.learnt, seen.observation.version
    return calibration_of(replace(learnt, epoch=epoch_of(seen.survey, version, engine=engine)))


def _alone(
    entry: Entry, asked: Asked, settings: Settings, engine: str, notes: Sequence[str]
) -> Subject:
    """Returns the model without a host: Ollama's smallest defaults, one GPU of unknown size."""
    env = ServerEnv.from_settings(settings.server)
    policy = settings.policy_for(entry.names)
    trained = WeightsFile.from_facts(0, entry.facts)
    said = asked.context or policy.context or entry.modelfile_num_ctx.get(entry.name)
    context = said or env.context_length or TIER_SMALL
    assumed = "" if said else f"; a context of {TIER_SMALL} is assumed"
    wanted = asked.parallel or policy.parallel or env.num_parallel
    return Subject(
        entry=entry,
        context=effective_context(context, trained.trained_context),
        parallel=slots(trained, wanted, completes=not entry.is_embedding),
        kv_type=asked.kv_type or env.kv_cache_type or "f16",
        flash=env.flash_attention,
        batch=None,
        gpus=1 if asked.gpus is None else asked.gpus,
        engine=engine,
        integrated=False,
        trained_context=trained.trained_context,
        room=Room(why="no host to look at, so its free memory is not known"),
        residents=(),
        is_resident=False,
        devices=(),
        calibration=None,
        notes=(*notes[:-1], f"{notes[-1]}{assumed}"),
    )


def _usual_gpus(subject: Subject, host: HostCapacity) -> int:
    """Returns how many GPUs Ollama would give the model on this host while it is empty."""
    if not host.known:
        return 1 if host.gpus else 0
    forecast = subject.estimate(gpus=1).ollama_forecast_bytes or 0
    gpus = [gpu.gpu for gpu in host.known]
    spread = bool(host.env.sched_spread)
    return len(select_placement(gpus, predicted_bytes=forecast, spread=spread).gpus)


def _room(seen: Seen, settings: Settings, own: Mapping[DeviceId, int]) -> Room:
    """Returns what is left on each GPU within budget; the model's own bytes count as free.

    llama.cpp moves layers to RAM rather than leave less than its margin.
    """
    observation = seen.observation
    ram = observation.memory.available_bytes
    pairs, why = [], ""
    for device in observation.devices:
        total, free = device.total_bytes.value, device.free_bytes.value
        if total is None or free is None:
            why = f"{device.name}: {device.free_bytes.reason or device.total_bytes.reason}"
            continue
        free = min(total, free + own.get(device.id, 0))
        budget = settings.budget.budget_bytes(device.id, device.index, total, pci_id=device.pci_id)
        pairs.append((min(free - FIT_MARGIN_BYTES, budget - (total - free)), free))
    pairs.sort(reverse=True)
    if not observation.devices and ram.value is None:
        why = f"RAM: {ram.reason}"
    return Room(
        gpus=tuple(max(room, 0) for room, _ in pairs),
        free=tuple(free for _, free in pairs),
        ram=ram.value,
        why="" if pairs or not observation.devices else why,
    )
