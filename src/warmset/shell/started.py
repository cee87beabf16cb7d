"""In which shape a resident was loaded, and what it should hold in that shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from warmset.core.footprint import Footprint, estimate_footprint
from warmset.core.host.commands import Command
from warmset.core.model import Entry, Observation, Resident, ServerSettings
from warmset.core.ollama.context import slots
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.options import load_shape
from warmset.core.ollama.types import WeightsFile
from warmset.errors import FactsError
from warmset.shell.lessons import engine_of

_FLASH: Final = {"on": True, "": True, "1": True, "off": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedAs:
    """In which shape a model was loaded. `flash`, `batch` are `None` for the engine's choice."""

    parallel: int
    kv_type: str
    flash: bool | None
    batch: int | None


def shape_as_started(
    settings: ServerSettings, resident: Resident, command: Command | None
) -> LoadedAs | None:
    """Returns the shape by its command line, else by the server's settings; `None` if untold.

    Source: ollama-behaviour 5: `-c` and `-np` are on every line from 0.30, and before 0.11.5.
    """
    if command is None or command.context is None:
        if settings.num_parallel is None or settings.kv_cache_type is None:
            return None
        return LoadedAs(
            parallel=settings.num_parallel,
            kv_type=settings.kv_cache_type,
            flash=settings.flash_attention,
            batch=None,
        )
    if command.slot_context != resident.context:
        return None
    options, keys = command.options, command.kv_cache_type or "f16"
    values = options.get("--cache-type-v") or keys
    batch = options.get("-ub") or options.get("--ubatch-size") or ""
    return LoadedAs(
        parallel=max(1, command.parallel or 1),
        kv_type=keys if values == keys else f"{keys}/{values}",
        flash=_FLASH.get(options.get("--flash-attn", "auto"), settings.flash_attention),
        batch=int(batch) if batch.isdecimal() else None,
    )


def usual_shape(settings: ServerSettings) -> LoadedAs:
    """Returns the shape by the server's settings, with Ollama's defaults where they are untold."""
    env = ServerEnv.from_settings(settings)
    return LoadedAs(
        parallel=env.num_parallel,
        kv_type=env.kv_cache_type or "f16",
        flash=env.flash_attention,
        batch=None,
    )


def has_extras(command: Command, entry: Entry) -> bool:
    """Whether a process holds more than its model: a draft, or another tag's adapter, projector."""
    has_adapter = bool(command.adapters) and entry.adapter_bytes == 0
    has_projector = command.projector not in (None, entry.key) and entry.projector_bytes == 0
    return command.draft is not None or has_adapter or has_projector


def estimate_as_started(
    observation: Observation, resident: Resident, entry: Entry, shape: LoadedAs, *, gpus: int
) -> Footprint | None:
    """Returns the cold estimate of a resident in its shape, `None` where facts are missing."""
    file = WeightsFile.of_entry(entry)
    if file is None or resident.context is None:
        return None
    usual = load_shape(
        file,
        request={"num_ctx": resident.context},
        modelfile={},
        default_num_ctx=resident.context,
        is_embedding="embedding" in entry.capabilities,
        has_vision="vision" in entry.capabilities,
    )
    automatic = None if usual.num_batch_auto else usual.options.num_batch
    devices = observation.devices
    try:
        return estimate_footprint(
            entry.facts,
            num_ctx=resident.context,
            num_parallel=slots(file, shape.parallel, completes=not entry.is_embedding),
            kv_type=shape.kv_type,
            flash_attn=shape.flash,
            gpus=gpus,
            batch=shape.batch or automatic,
            engine=engine_of(observation.version),
            tensors=entry.tensors,
            file_bytes=file.file_bytes,
            projector_bytes=entry.projector_bytes,
            adapter_bytes=entry.adapter_bytes,
            integrated=bool(gpus) and all(device.integrated for device in devices),
        )
    except FactsError:
        return None
