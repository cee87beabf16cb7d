"""What callers hand to `pack`, checked: each wrong value is refused by name, with a way out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from warmset.core.settings import DEFAULT_PRIORITY
from warmset.core.units import format_bytes
from warmset.errors import Refused

MAX_BYTES: Final = 1 << 60
"""Sizes beyond an exbibyte are typing errors."""

MAX_NUMBER: Final = 1e300
"""Values and priorities beyond are typing errors; of all that are allowed, the sum is a number."""

MAX_THINGS: Final = 10_000
"""Models and devices of one call."""

MOST_BITS: Final = 128
"""Of integers that are shown as they are given; Python refuses to write down those of thousands."""

Id = str | int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackDevice:
    """One device with the bytes that models may take on it."""

    id: Id
    bytes: int


class PackModel(NamedTuple):
    """One model to place. `device`: the only one it may go to.

    No dataclass: it takes several times as long to make one, and there are hundreds.
    """

    id: Id
    bytes: int
    value: float = 1.0
    priority: float = DEFAULT_PRIORITY
    pinned: bool = False
    device: Id | None = None
    splittable: bool = False


def read_devices(rows: Iterable[Mapping[str, object]]) -> tuple[PackDevice, ...]:
    """Returns the devices.

    Raises:
        Refused: a value is missing or impossible; names the device and the key.
    """
    devices = tuple(
        PackDevice(id=_id(row, "device", place), bytes=_bytes(row, "device", place))
        for place, row in enumerate(_rows(rows, "device"))
    )
    _check_distinct([d.id for d in devices], "device")
    return devices


def read_models(
    rows: Iterable[Mapping[str, object]], devices: tuple[PackDevice, ...]
) -> tuple[PackModel, ...]:
    """Returns the models.

    Raises:
        Refused: a value is missing or impossible, or a device is not among `devices`.
    """
    known = [d.id for d in devices]
    listed = _rows(rows, "model")
    models = _as_they_are(listed, known)
    if models is None:
        models = tuple([_model(row, place, known) for place, row in enumerate(listed)])
    _check_distinct([m.id for m in models], "model")
    return models


_NAMES: Final = {str, int}
_NUMBERS: Final = {int, float}
_FLAGS: Final = {bool, type(None)}


def _as_they_are(
    rows: Sequence[Mapping[str, object]], known: Sequence[Id]
) -> tuple[PackModel, ...] | None:
    """Returns models of which there is nothing to say; `None`: they are to be looked at singly.

    Key by key, which takes a third of the time: for small hosts that is a tenth of all.
    """

    def column(key: str, default: object = None) -> list[Any]:
        found = [row.get(key) for row in rows]
        return [default if n is None else n for n in found] if None in found else found

    ids, sizes, places = column("id"), column("bytes"), column("device")
    values, priorities = column("value", 1.0), column("priority", DEFAULT_PRIORITY)
    flags = [row.get(key) for row in rows for key in ("pinned", "splittable")]
    is_plain = (
        {*map(type, ids)} <= _NAMES
        and "" not in ids
        and {*map(type, sizes)} == {int}
        and 0 < min(sizes) <= max(sizes) <= MAX_BYTES
        and {*map(type, values), *map(type, priorities)} <= _NUMBERS
        and all(-MAX_NUMBER <= n <= MAX_NUMBER for n in {*values, *priorities})
        and min(values) >= 0
        and {*map(type, places)} <= _NAMES | {type(None)}
        and {*places} <= {None, *known}
        and {*map(type, flags)} <= _FLAGS
    )
    if not is_plain:
        return None
    is_so = [flag is True for flag in flags]
    columns = (ids, sizes, values, priorities, is_so[::2], places, is_so[1::2])
    return tuple(map(PackModel, *columns))


def read_max_loaded(value: object) -> int | None:
    """Returns the most models to choose, `None` for no limit.

    Raises:
        Refused: it is no whole number from 0.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Refused(
            f"max_loaded is {value!r:.60}; a whole number from 0 was expected",
            hint="leave it out for no limit",
            context={"key": "max_loaded"},
        )
    return value


def _model(row: Mapping[str, object], place: int, known: list[Id]) -> PackModel:
    device = row.get("device")
    if device is not None and device not in known:
        near = get_close_matches(str(device), [str(i) for i in known], n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"the devices are: {_listed(known)}"
        label = _label(row, "model", place)
        raise Refused(
            f"{label} is bound to device {device!r:.60}, which is not among the devices",
            hint=hint,
            context={"model": row.get("id"), "key": "device"},
        )
    return PackModel(
        id=_id(row, "model", place),
        bytes=_bytes(row, "model", place),
        value=_number(row, "value", 1.0, place, least=0.0),
        priority=_number(row, "priority", DEFAULT_PRIORITY, place, least=-math.inf),
        pinned=_flag(row, "pinned", place),
        device=None if device is None else known[known.index(device)],
        splittable=_flag(row, "splittable", place),
    )


def _rows(rows: Iterable[Mapping[str, object]], kind: str) -> list[Mapping[str, object]]:
    listed = list(rows)
    if len(listed) > MAX_THINGS:
        raise Refused(
            f"{len(listed)} {kind}s are more than the {MAX_THINGS} that one call takes",
            hint="pack one host at a time",
        )
    for place, row in enumerate(listed):
        if type(row) is not dict and not isinstance(row, Mapping):
            raise Refused(
                f"{kind} {place} is {row!r:.60}, not a mapping with `id` and `bytes`",
                context={"key": kind},
            )
    return listed


def _label(row: Mapping[str, object], kind: str, place: int) -> str:
    return f'{kind} "{row["id"]}"' if "id" in row else f"{kind} {place}"


def _id(row: Mapping[str, object], kind: str, place: int) -> Id:
    value = row.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise Refused(
            f"{kind} {place} has the id {value!r:.60}; a name or a number was expected",
            hint="give each its own `id`",
            context={"key": "id"},
        )
    return value


def _bytes(row: Mapping[str, object], kind: str, place: int) -> int:
    value = row.get("bytes")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        said = "no `bytes`" if "bytes" not in row else f"bytes {value!r:.60}"
        raise Refused(
            f"{_label(row, kind, place)} has {said}; a whole number of bytes was expected",
            hint="`warmset footprint MODEL` estimates the bytes of a model",
            context={"key": "bytes"},
        )
    if not 0 < value <= MAX_BYTES:
        label = _label(row, kind, place)
        raise Refused(
            f"{label} has {_shown(value)} bytes; from 1 to {format_bytes(MAX_BYTES)} is possible",
            hint="sizes are bytes, not GiB",
            context={"key": "bytes"},
        )
    return value


def _number(
    row: Mapping[str, object], key: str, default: float, place: int, *, least: float
) -> float:
    value = row.get(key)
    if value is None:
        return default
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not -MAX_NUMBER <= value <= MAX_NUMBER
    ):
        label = _label(row, "model", place)
        raise Refused(
            f"{label} has the {key} {_shown(value)}; a number up to {MAX_NUMBER:g} was expected",
            context={"key": key},
        )
    if value < least:
        label = _label(row, "model", place)
        raise Refused(
            f"{label} has the {key} {value!r:.60}; it cannot be below {least:g}",
            hint="0 says that the model is worth nothing",
            context={"key": key},
        )
    return value


def _shown(value: object) -> str:
    """Returns a value as it was given, or what it is where that has hundreds of digits."""
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        return f"an integer of {value.bit_length()} bits"
    return f"{value!r:.60}"


def _flag(row: Mapping[str, object], key: str, place: int) -> bool:
    value = row.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        label = _label(row, "model", place)
        raise Refused(f"{label} has {key} = {value!r:.60}; true or false was expected")
    return value


def _check_distinct(ids: list[Id], kind: str) -> None:
    if len(set(ids)) < len(ids):
        twice = next(i for place, i in enumerate(ids) if i in ids[:place])
        raise Refused(
            f'two {kind}s have the id "{twice}"',
            hint="names of one set of weights are one model",
            context={"key": "id"},
        )


def _listed(ids: list[Id]) -> str:
    shown = ", ".join(str(i) for i in ids[:8])
    return f"{shown}, …" if len(ids) > 8 else shown or "none"
