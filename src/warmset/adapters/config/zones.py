"""Time zones by name, and the host's own."""

from __future__ import annotations

import os
from datetime import UTC, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from warmset.errors import ConfigError

LOCALTIME: Final = Path("/etc/localtime")
"""Source: tzset(3): without TZ the C library reads this file, and without it takes UTC."""


def find_zone(name: str) -> tzinfo:
    """Returns a zone of the zone database; for an empty name, the host's.

    Raises:
        ConfigError: there is no such zone, or the host's cannot be told.
    """
    if name:
        return _named(name, f"timezone {name!r}")
    return _host_zone(os.environ.get("TZ", "").removeprefix(":"))


@lru_cache(maxsize=64)
def _host_zone(variable: str) -> tzinfo:
    if variable.startswith("/"):
        return _from_file(Path(variable))
    if variable:
        return _named(variable, f"the host's TZ={variable!r}")
    if os.name == "nt":
        raise ConfigError("the host's time zone cannot be told on Windows", hint=_HINT)
    return _from_file(LOCALTIME) if LOCALTIME.exists() else UTC


@lru_cache(maxsize=64)
def _named(name: str, what: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise ConfigError(f"{what} is no time zone", hint=_HINT) from error
    except KeyError as error:
        raise ConfigError(f"{what} is no time zone of the database", hint=_HINT) from error


def _from_file(path: Path) -> tzinfo:
    try:
        with path.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: the host's time zone cannot be read", hint=_HINT) from error


_HINT: Final = 'set timezone = "Europe/Berlin", or another name of the zone database'
