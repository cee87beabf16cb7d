"""What changed between versions of Ollama, as facts that the rules ask for.

Unknown and development versions count as the newest. Source: ollama-behaviour section 7, read
from the release tags named there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

Version = tuple[int, int, int]
_NUMBERS: Final = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How a version of Ollama behaves where versions differ."""

    version: Version | None  # None: unknown or a development build
    keeps_duration_on_reuse: bool = True  # 0.2.0; before, every request reset it
    loads_several: bool = True  # 0.2.0; before, one model unless the limit was set
    has_context_tiers: bool = True  # 0.15.5
    has_automatic_flags: bool = True  # 0.30.0; safe pings echo num_ctx from here on
    runs_llama_server: bool = True  # 0.30.0
    default_context: int | None = None  # without tiers: 2048, from 0.6.7 4096


NEWEST: Final = Generation(version=None)


def parse_version(text: str | None) -> Version | None:
    """Returns the numbers of a version text; `None` for unknown and for 0.0.0 builds."""
    match = _NUMBERS.match((text or "").strip())
    if match is None:
        return None
    major, minor, patch = (int(part or 0) for part in match.groups())
    return (major, minor, patch) if (major, minor, patch) != (0, 0, 0) else None


def generation_of(text: str | None) -> Generation:
    """Returns the behaviour of a version such as `0.33.0-rc2`; vendor suffixes are ignored."""
    version = parse_version(text)
    if version is None:
        return NEWEST
    tiers = version >= (0, 15, 5)
    return Generation(
        version=version,
        keeps_duration_on_reuse=version >= (0, 2, 0),
        loads_several=version >= (0, 2, 0),
        has_context_tiers=tiers,
        has_automatic_flags=version >= (0, 30, 0),
        runs_llama_server=version >= (0, 30, 0),
        default_context=None if tiers else 4096 if version >= (0, 6, 7) else 2048,
    )
