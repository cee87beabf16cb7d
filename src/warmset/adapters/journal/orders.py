"""The operator's orders to a running warmset: pins, holds and rests, as one small JSON file.

It is written whole or not at all, under a lock, so that two commands at once lose nothing. What a
damaged file said is lost, and the next order replaces it.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from warmset.adapters.journal.folder import give_to_owner, open_state, read_state
from warmset.core.model import normalise_name
from warmset.errors import ConfigError

SCHEMA_VERSION: Final = 1
FILE_NAME: Final = "orders.json"
MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What was ordered without an entry in budgets.toml.

    Attributes:
        pins: model -> whether it counts as pinned, whatever the file says.
        holds: model -> until when it is kept as if it were pinned.
        rests: model -> until when it is not fetched.

    Units:
        Unix seconds of the wall clock.

    Invariants:
        Keys are normalised names.
    """

    pins: Mapping[str, bool] = field(default_factory=dict)
    holds: Mapping[str, float] = field(default_factory=dict)
    rests: Mapping[str, float] = field(default_factory=dict)

    def without_past(self, now: float) -> Orders:
        """Returns the orders that still count."""
        return Orders(
            pins=dict(self.pins),
            holds={name: until for name, until in self.holds.items() if until > now},
            rests={name: until for name, until in self.rests.items() if until > now},
        )


class OrdersFile:
    """The orders for one host.

    Args:
        folder: the host's state folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._seen: tuple[int, int, int] | None = None
        self._orders = Orders()
        self.trouble = ""  # why the last read found nothing, if there should be something

    def read(self) -> Orders:
        """Returns the orders; none where there is no sound file. Cheap while it is unchanged."""
        try:
            status = self._path.lstat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._seen:
                self._orders = _parse(self._path)
                self._seen, self.trouble = seen, ""
        except FileNotFoundError:
            self._orders, self._seen, self.trouble = Orders(), None, ""
        except (OSError, ValueError) as error:
            self._orders, self._seen = Orders(), None
            self.trouble = f"{self._path}: {error}"
        return self._orders

    def change(self, how: Callable[[Orders], Orders], *, now: float) -> Orders:
        """Changes the orders, with what has run out left away; returns them.

        Raises:
            ConfigError: the file cannot be written.
        """
        try:
            with _locked(self._path.with_suffix(".lock")):
                orders = how(self.read()).without_past(now)
                _write(self._path, orders)
        except OSError as error:
            raise ConfigError(
                f"{self._path}: cannot be written: {error.strerror or error}",
                hint="set WARMSET_STATE to the state folder of the running warmset",
            ) from error
        return self.read()


def _parse(path: Path) -> Orders:
    """Raises ValueError for what is no orders file."""
    content = read_state(path, limit_bytes=MAX_BYTES)
    if len(content) > MAX_BYTES:
        raise ValueError("larger than any orders file")
    try:
        plain = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(plain, dict) or plain.get("schema_version") != SCHEMA_VERSION:
        raise ValueError("not an orders file of this version")
    pins = _table(plain, "pins")
    if not all(isinstance(value, bool) for value in pins.values()):
        raise ValueError("a pin is true or false")
    return Orders(
        pins={name: bool(value) for name, value in pins.items()},
        holds=_moments(_table(plain, "holds")),
        rests=_moments(_table(plain, "rests")),
    )


def _table(plain: Mapping[str, object], word: str) -> dict[str, object]:
    found = plain.get(word, {})
    if not isinstance(found, dict):
        raise ValueError(f"{word} should be an object")  # noqa: TRY004 - one error for all
    return {normalise_name(name): value for name, value in found.items()}


def _moments(table: Mapping[str, object]) -> dict[str, float]:
    moments = {}
    for name, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise ValueError(f"{name}: a moment is a number")
        moments[name] = float(value)
    return moments


def _write(path: Path, orders: Orders) -> None:
    document = {
        "schema_version": SCHEMA_VERSION,
        "pins": dict(orders.pins),
        "holds": dict(orders.holds),
        "rests": dict(orders.rests),
    }
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            give_to_owner(file.fileno(), path.parent)
            json.dump(document, file, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = open_state(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
