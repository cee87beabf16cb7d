"""The text of a first budgets.toml: what the host has, with every choice left to the operator."""

from __future__ import annotations

import json
from collections.abc import Iterator

from warmset.adapters.config import can_be_named
from warmset.core.model import Entry, Observation
from warmset.core.settings import DEFAULT_PRIORITY
from warmset.core.units import format_bytes
from warmset.shell.profiles import Profile

_KNOWN = (
    ("max_loaded_models", "OLLAMA_MAX_LOADED_MODELS", "6"),
    ("num_parallel", "OLLAMA_NUM_PARALLEL", "1"),
    ("context_length", "OLLAMA_CONTEXT_LENGTH", "8192"),
    ("kv_cache_type", "OLLAMA_KV_CACHE_TYPE", '"f16"'),
    ("flash_attention", "OLLAMA_FLASH_ATTENTION", "true"),
    ("sched_spread", "OLLAMA_SCHED_SPREAD", "false"),
)


def write_starter(seen: Observation, url: str, profile: Profile | None = None) -> str:
    """Returns a configuration that means what holds without one, and says what may be chosen.

    Args:
        seen: one look at the host.
        url: as the file shall name it.
        profile: who uses the host; `None`: nothing is known of that.
    """
    classes = () if profile is None else profile.class_lines()
    parts = (
        _head(seen, profile),
        _server(seen, url),
        _budget(seen, profile),
        classes,
        _models(seen, profile),
    )
    blocks = ["\n".join(part) for part in parts]
    return "\n\n".join(block for block in blocks if block).rstrip() + "\n"


def _head(seen: Observation, profile: Profile | None) -> Iterator[str]:
    version = seen.version or "of unknown version"
    server = _comment(f"Ollama {version} at {seen.server_url}")
    yield f"# Written by `warmset init` for {server}."
    if profile is not None:
        yield f"# Profile: {profile.about}."
    yield "# A line without # counts. `warmset check` reads it, `warmset plan` shows what it means."


def _server(seen: Observation, url: str) -> Iterator[str]:
    yield "[ollama]"
    yield f"url = {_text(url)}"
    yield "# How the server was started. No endpoint tells; what stands here is planned with."
    for name, variable, example in _KNOWN:
        value = getattr(seen.settings, name)
        if value is None:
            yield f"# {name} = {example}".ljust(32) + f"# {variable}, not known"
        else:
            yield f"{name} = {json.dumps(value)}".ljust(32) + f"# {variable}, as seen"


def _budget(seen: Observation, profile: Profile | None) -> Iterator[str]:
    yield "[budget]"
    reserve = "1GiB" if profile is None else profile.reserve
    yield f'vram_reserve = "{reserve}"'.ljust(32) + "# held back on each GPU"
    limit = '# vram_limit = "90%"'
    if profile is not None and profile.limit:
        limit = f'vram_limit = "{profile.limit}"'
    yield limit.ljust(32) + "# of each GPU, or a size"
    yield '# ram_limit = "32GiB"'.ljust(32) + "# for models outside GPUs"
    for device in seen.devices:
        total = format_bytes(device.total_bytes.value)
        yield f"# [budget.gpu.{_text(device.id)}]".ljust(32) + f"# {_comment(device.name)}, {total}"


def _models(seen: Observation, profile: Profile | None) -> Iterator[str]:
    resident = {row.key for row in seen.residents or ()}
    yield "# Every model that stands here may be loaded, ranked and unloaded by warmset; all others"
    yield "# are only watched. Those that are resident now stand here; for another take the # away."
    if not seen.entries:
        yield "# Nothing is installed yet."
    for entry in sorted(seen.entries, key=lambda e: (e.key not in resident, e.name)):
        yield from _model(entry, profile, is_resident=entry.key in resident)


def _model(entry: Entry, profile: Profile | None, *, is_resident: bool) -> Iterator[str]:
    size = format_bytes(entry.size_bytes or entry.file_bytes)
    name = next((n for n in (entry.name, *entry.names) if can_be_named(n)), None)
    yield ""
    if name is None:  # only a server that means no good tells such names
        yield f"# {_comment(entry.name)}: no model can have this name"
        return
    others = [other for other in entry.names if other != name]
    facts = [size, "resident now" if is_resident else "", *(f"also {other}" for other in others)]
    mark = "" if is_resident else "# "
    about = _comment(", ".join(filter(None, facts)))
    yield f"{mark}[model.{_text(name)}]".ljust(40) + f"# {about}"
    if profile is None:
        yield f"{mark}priority = {DEFAULT_PRIORITY}".ljust(40) + "# the lowest loses first"
    else:
        yield f'{mark}class = "{profile.class_for(is_embedding=entry.is_embedding)}"'
    yield "# pin = true".ljust(40) + "# always wanted resident"


def _text(value: str) -> str:
    """A TOML string; JSON's escapes are TOML's too."""
    return json.dumps(value, ensure_ascii=False)


def _comment(value: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in value)
