"""A host as it is not: other GPUs, a model less or more, another context, to plan on.

Nothing here is done or sent; the observation and the settings are changed as if it were so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from warmset.core.model import (
    Device,
    DeviceId,
    Entry,
    Observation,
    Reading,
    ServerSettings,
    normalise_name,
)
from warmset.core.settings import Settings
from warmset.core.units import GIB, MIB, format_bytes
from warmset.errors import ConfigError
from warmset.shell.naming import require_entry
from warmset.shell.newcomer import find_newcomer, with_entry, with_policy

SOURCE: Final = "supposed"
MAX_GPUS: Final = 64
MAX_GPU_BYTES: Final = 1024 * GIB
MAX_NUMBER: Final = 100_000_000  # tokens, slots, models: beyond all that exist

_GPUS: Final = re.compile(
    r"(?:(\d{1,3})\s*[x*]\s*)?(\d{1,6}(?:\.\d{1,3})?)\s*(GiB|GB|G|MiB|MB|M)?", re.IGNORECASE
)
_UNITS: Final = {"gib": GIB, "g": GIB, "gb": 10**9, "mib": MIB, "m": MIB, "mb": 10**6}
_FORMS: Final = (
    '"drop MODEL", "add MODEL", "pin MODEL", "unpin MODEL", "resize MODEL to TOKENS", '
    '"gpus 2x48GiB", "kv q8_0", "slots N" or "max-loaded N"'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposed:
    """What would be looked at, and in words what is different."""

    observation: Observation
    settings: Settings
    words: tuple[str, ...] = ()


def parse_gpus(text: str) -> tuple[int, ...]:
    """Returns the bytes of each GPU that a text such as `2x48GiB` or `24GiB,2x80GiB` names.

    Raises:
        ConfigError: it names none, or absurd ones.
    """
    sizes: list[int] = []
    for part in text.split(","):
        match = _GPUS.fullmatch(part.strip())
        size = 0 if match is None else int(float(match[2]) * _UNITS[(match[3] or "GiB").lower()])
        count = 0 if match is None else int(match[1] or 1)
        if not (GIB <= size <= MAX_GPU_BYTES and 0 < count <= MAX_GPUS):
            raise ConfigError(
                f'"{text}" names no GPUs: "{part.strip()}" should be such as 2x48GiB',
                hint=f"1 to {MAX_GPUS} GPUs of 1 GiB to {format_bytes(MAX_GPU_BYTES)} each.",
                context={"gpus": text},
            )
        sizes += [size] * count
    if len(sizes) > MAX_GPUS:
        raise ConfigError(f'"{text}" names {len(sizes)} GPUs; at most {MAX_GPUS} are possible')
    return tuple(sizes)


def on_gpus(supposed: Supposed, text: str) -> Supposed:
    """Returns the same models on empty GPUs of these sizes.

    Raises:
        ConfigError: see `parse_gpus`.
    """
    sizes = parse_gpus(text)
    seen = supposed.observation
    cards = [d for d in seen.devices if d.library == "CUDA" and d.compute]
    compute = cards[0].compute if cards else ""
    devices = tuple(
        Device(
            id=DeviceId(f"supposed-{n}"),
            name=f"{format_bytes(size)} GPU",
            library="CUDA",
            total_bytes=Reading(value=size, source=SOURCE),
            free_bytes=Reading(value=size, source=SOURCE),
            index=n,
            compute=compute,
        )
        for n, size in enumerate(sizes)
    )
    listed = ", ".join(format_bytes(size) for size in sizes)
    return replace(
        supposed,
        observation=_emptied(replace(seen, devices=devices)),
        words=(*supposed.words, f"GPUs of {listed}, empty"),
    )


def on_twin(supposed: Supposed, address: str) -> Supposed:
    """Returns the same models on the hardware and with the server settings of a twin.

    Raises:
        ConfigError: there is no such twin.
    """
    from warmset.core.twin.clock import Timeline
    from warmset.core.twin.host import TwinHost
    from warmset.core.twin.hosts import physics_of
    from warmset.core.twin.sidecar_view import observe_twin
    from warmset.shell.twin_files import find_host
    from warmset.shell.twin_link import parse_twin_address
    from warmset.shell.wiring import TWIN_SCHEME

    if not address.startswith(TWIN_SCHEME):
        raise ConfigError(
            f'--on "{address}": a twin was expected',
            hint="twin://2x24, twin://8x80 or twin://HOST.toml; real hosts are named by --host.",
        )
    before = supposed.observation.settings
    spec = find_host(parse_twin_address(address.removeprefix(TWIN_SCHEME)).host)
    other = observe_twin(TwinHost(spec, physics_of(spec), Timeline(supposed.observation.at)))
    seen = replace(
        supposed.observation,
        devices=other.devices,
        memory=other.memory,
        settings=other.settings,
        version=other.version,
    )
    return replace(
        supposed,
        observation=_emptied(seen),
        words=(*supposed.words, _hardware_of(address, before, other.settings)),
    )


def _hardware_of(address: str, before: ServerSettings, after: ServerSettings) -> str:
    """Returns what is supposed, with the server settings that come with the hardware."""
    names = ("context_length", "num_parallel", "kv_cache_type", "max_loaded_models")
    there = {name: getattr(after, name) for name in names}
    moved = [
        f"{name} = {'as Ollama chooses' if value is None else value}"
        for name, value in there.items()
        if value != getattr(before, name)
    ]
    told = f", with its server's {', '.join(moved)}" if moved else ""
    return f"the hardware of {address}, empty{told}"


def _emptied(observation: Observation) -> Observation:
    """Returns a host on which no model and no other program is, with all RAM free."""
    total = observation.memory.total_bytes
    return replace(
        observation,
        residents=(),
        located={},
        runners=None,
        server=None,
        notes=(),
        memory=replace(observation.memory, available_bytes=total),
    )


def what_if(supposed: Supposed, text: str, environ: Mapping[str, str]) -> Supposed:
    """Returns the host as if one thing were different.

    Args:
        supposed: as it is so far.
        text: one of the forms that the hint of the error lists.
        environ: where caches and the registry are, for models that are not here.

    Raises:
        ConfigError: it is none of the forms, or has a value that makes no sense.
        UnknownModel: there is no such model.
    """
    verb, *words = text.split()
    verb = verb.lower()
    if verb in ("drop", "remove", "without") and len(words) == 1:
        return _drop(supposed, words[0])
    if verb == "add" and len(words) == 1:
        entry = find_newcomer(supposed.observation, words[0], environ)
        return replace(
            supposed,
            observation=with_entry(supposed.observation, entry),
            settings=with_policy(supposed.settings, entry.name, preload=True),
            words=(*supposed.words, f"with {entry.name}"),
        )
    if verb in ("pin", "unpin") and len(words) == 1:
        entry = _entry(supposed, words[0])
        settings = with_policy(supposed.settings, entry.name, pin=verb == "pin")
        said = "pinned" if verb == "pin" else "not pinned"
        return replace(supposed, settings=settings, words=(*supposed.words, f"{entry.name} {said}"))
    if verb in ("resize", "context") and len(words) in (2, 3):
        return _resize(supposed, words[0], words[-1], text)
    if verb == "gpus" and words:
        return on_gpus(supposed, "".join(words))
    server = {"kv": "kv_cache_type", "slots": "num_parallel", "max-loaded": "max_loaded_models"}
    if verb in server and len(words) == 1:
        return _server(supposed, server[verb], words[0], text)
    raise ConfigError(f'--what-if "{text}" is not understood', hint=f"Say {_FORMS}.")


def _drop(supposed: Supposed, name: str) -> Supposed:
    seen = supposed.observation
    entry = _entry(supposed, name)
    rows = (
        None if seen.residents is None else tuple(r for r in seen.residents if r.key != entry.key)
    )
    freed = seen.located.get(entry.key, {})
    devices = tuple(
        replace(d, free_bytes=_more(d.free_bytes, freed.get(d.id, 0))) for d in seen.devices
    )
    names = {normalise_name(n) for n in entry.names}
    models = {n: p for n, p in supposed.settings.models.items() if n not in names}
    return Supposed(
        observation=replace(
            seen,
            entries=tuple(e for e in seen.entries if e.key != entry.key),
            residents=rows,
            devices=devices,
            located={k: v for k, v in seen.located.items() if k != entry.key},
        ),
        settings=replace(supposed.settings, models=models),
        words=(*supposed.words, f"without {entry.name}"),
    )


def _entry(supposed: Supposed, name: str) -> Entry:
    seen = supposed.observation
    return require_entry(seen.entries, name, url=seen.server_url)


def _more(free: Reading[int], count: int) -> Reading[int]:
    return free if free.value is None else replace(free, value=free.value + count)


def _resize(supposed: Supposed, name: str, tokens: str, text: str) -> Supposed:
    entry = _entry(supposed, name)
    return replace(
        supposed,
        settings=with_policy(supposed.settings, entry.name, context=_number(tokens, text)),
        words=(*supposed.words, f"{entry.name} at a context of {tokens}"),
    )


def _server(supposed: Supposed, key: str, value: str, text: str) -> Supposed:
    from warmset.shell.cache_types import check_server_cache_type

    said = check_server_cache_type(value) if key == "kv_cache_type" else _number(value, text)
    settings = replace(supposed.observation.settings, **{key: said})  # type: ignore[arg-type]  # its fields
    return replace(
        supposed,
        observation=replace(supposed.observation, settings=settings),
        words=(*supposed.words, f"{key} = {value}"),
    )


def _number(word: str, text: str) -> int:
    if not (word.isascii() and word.isdigit()) or not 0 < int(word) <= MAX_NUMBER:
        raise ConfigError(
            f'--what-if "{text}": "{word}" should be a whole number from 1 to {MAX_NUMBER}'
        )
    return int(word)


def suppose(
    observation: Observation,
    settings: Settings,
    *,
    on: str | None,
    gpus: str | None,
    what_ifs: Sequence[str],
    environ: Mapping[str, str],
) -> Supposed:
    """Returns the host with everything changed that was asked for, hardware first."""
    supposed = Supposed(observation=observation, settings=settings)
    if on is not None and gpus is not None:
        raise ConfigError("--on and --gpus name two different machines", hint="Keep one of them.")
    if on is not None:
        supposed = on_twin(supposed, on)
    if gpus is not None:
        supposed = on_gpus(supposed, gpus)
    for text in what_ifs:
        if not text.strip():
            raise ConfigError("--what-if says nothing", hint=f"Say {_FORMS}.")
        supposed = what_if(supposed, text, environ)
    return supposed
