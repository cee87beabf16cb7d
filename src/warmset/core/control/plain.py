"""Frozen values to plain JSON-able ones and back, by their type hints.

Infinity is written as the text `"forever"`, since JSON has no word for it; other numbers that JSON
does not know as `{"type": "float", "text": "nan"}`. Where a field may hold one of several classes,
the class name is written as `"type"`. What is read back equals what was written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Final, ForwardRef, TypeVar, Union, get_args, get_origin, get_type_hints

from warmset.core.model import FactValue

T = TypeVar("T")
_FOREVER: Final = "forever"

UNWRITTEN: Final[Mapping[str, bool]] = {"unwritten": True}
"""`field(metadata=UNWRITTEN)`: left out of the plain form; must have a default."""


class PlainError(ValueError):
    """Plain values that are not what the hints say; the message names the place."""


def to_plain(value: object) -> object:
    """Returns `value` as dicts, lists, texts, numbers and `None`."""
    kind: type = type(value)
    return _writer_of(kind)(value)


@cache
def _writer_of(kind: type) -> Callable[[object], object]:
    """Returns what writes values of a class: asked once, since a state has hundreds of values."""
    if is_dataclass(kind):
        return _writer_of_fields(kind)
    for base, write in _WRITERS:
        if issubclass(kind, base):
            return write
    assert issubclass(kind, str | int | NoneType), kind
    return lambda value: value


def _writer_of_fields(kind: type) -> Callable[[object], object]:
    names = [item.name for item in fields(kind) if "unwritten" not in item.metadata]
    of_type = {"type": kind.__name__}

    def write(value: object) -> object:
        return of_type | {name: to_plain(getattr(value, name)) for name in names}

    return write


def _write_mapping(value: object) -> object:
    assert isinstance(value, Mapping)
    return {str(key): to_plain(item) for key, item in value.items()}


def _write_number(value: object) -> object:
    assert isinstance(value, float)
    if math.isfinite(value):
        return value
    return _FOREVER if value > 0 else {"type": "float", "text": str(value)}


def _write_list(value: object) -> object:
    assert isinstance(value, tuple | list | frozenset)
    return [to_plain(item) for item in (sorted(value) if isinstance(value, frozenset) else value)]


_WRITERS: Final[tuple[tuple[type, Callable[[object], object]], ...]] = (
    (StrEnum, attrgetter("value")),
    (Mapping, _write_mapping),
    (tuple, _write_list),
    (list, _write_list),
    (frozenset, _write_list),
    (float, _write_number),
)


def from_plain(kind: type[T], plain: object, *, place: str = "") -> T:
    """Returns the value of type `kind` that `to_plain` wrote.

    Fields that are missing take what their `unsaid` metadata says, else their defaults: an older
    writer did not know them. (`unsaid` is what held before, where the default is another by now.)

    Raises:
        PlainError: a value does not fit its hint, or a field is unknown.
    """
    value = _read(kind, plain, place or kind.__name__)
    assert isinstance(value, get_origin(kind) or kind)
    return value


def _read(hint: object, plain: object, place: str) -> object:
    if isinstance(hint, str | ForwardRef):
        hint = _recursive(hint)
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _read_union(get_args(hint), plain, place)
    if isinstance(hint, type) and is_dataclass(hint) and origin is None:
        return _read_fields(hint, plain, place)
    if isinstance(origin, type) and is_dataclass(origin):
        return _read_fields(origin, plain, place, get_args(hint))
    if origin in (tuple, frozenset):
        items = _read_list(get_args(hint), plain, place)
        return items if origin is tuple else frozenset(items)
    if origin is Mapping:
        if not isinstance(plain, dict):
            raise PlainError(f"{place}: should be an object")
        inner = get_args(hint)[1]
        return {key: _read(inner, item, f"{place}.{key}") for key, item in plain.items()}
    return _read_scalar(hint, plain, place)


def _recursive(hint: str | ForwardRef) -> object:
    """Returns the one type that names itself."""
    name = hint if isinstance(hint, str) else hint.__forward_arg__
    assert name == "FactValue", name
    return FactValue


def _read_list(args: tuple[object, ...], plain: object, place: str) -> tuple[object, ...]:
    if not isinstance(plain, list):
        raise PlainError(f"{place}: should be a list")
    if len(args) == 1 or args[1:] == (Ellipsis,):
        args = (args[0],) * len(plain)
    if len(args) != len(plain):
        raise PlainError(f"{place}: should have {len(args)} items")
    pairs = enumerate(zip(args, plain, strict=True))
    return tuple(_read(arg, item, f"{place}[{n}]") for n, (arg, item) in pairs)


def _read_scalar(hint: object, plain: object, place: str) -> object:
    scalar = getattr(hint, "__supertype__", hint)  # a NewType's own type
    if scalar is float and plain == _FOREVER:
        return math.inf
    if scalar is float and isinstance(plain, dict) and plain.get("type") == "float":
        return float(str(plain.get("text")))
    if scalar is float and isinstance(plain, int | float) and not isinstance(plain, bool):
        return float(plain)
    if isinstance(scalar, type) and issubclass(scalar, StrEnum):
        try:
            return scalar(str(plain))
        except ValueError as error:
            raise PlainError(f"{place}: {plain!r} is no {scalar.__name__}") from error
    if get_args(hint) and plain in get_args(hint):
        return plain  # a Literal
    is_bool = isinstance(plain, bool)
    if isinstance(scalar, type) and isinstance(plain, scalar) and (scalar is bool or not is_bool):
        return plain
    raise PlainError(f"{place}: {plain!r} does not fit")


def _read_union(options: tuple[object, ...], plain: object, place: str) -> object:
    if plain is None and type(None) in options:
        return None
    if plain == _FOREVER and float in options:
        return math.inf  # before the texts that may stand here too
    if isinstance(plain, dict) and "type" in plain:
        named = [o for o in options if isinstance(o, type) and o.__name__ == plain["type"]]
        options = tuple(named) or options
    for option in options:
        try:
            return _read(option, plain, place)
        except PlainError as error:
            last = error
    raise PlainError(f"{place}: {plain!r} is none of what may stand here") from last


def _read_fields(
    kind: type, plain: object, place: str, parameters: tuple[object, ...] = ()
) -> object:
    if not isinstance(plain, dict):
        raise PlainError(f"{place}: should be an object")
    hints = _hints(kind)
    known = {item.name for item in fields(kind) if "unwritten" not in item.metadata}
    unknown = set(plain) - known - {"type"}
    if unknown:
        raise PlainError(f"{place}: unknown field {min(map(str, unknown))!r}")
    meant = dict(zip(getattr(kind, "__parameters__", ()), parameters, strict=False))
    found = {
        name: _read(_filled(hints[name], meant), plain[name], f"{place}.{name}")
        for name in known & set(plain)
    }
    try:
        return kind(**(_unsaid(kind) | found))
    except (TypeError, AssertionError) as error:
        raise PlainError(f"{place}: {error}") from error


@cache
def _unsaid(kind: type) -> dict[str, object]:
    metadata = {item.name: item.metadata for item in fields(kind)}
    return {name: said["unsaid"] for name, said in metadata.items() if "unsaid" in said}


@cache
def _hints(kind: type) -> dict[str, object]:
    return get_type_hints(kind)


def _filled(hint: object, meant: Mapping[object, object]) -> object:
    """Returns a hint of a generic class with its parameters in place."""
    if hint in meant:
        return meant[hint]
    if get_origin(hint) in (Union, UnionType) and set(get_args(hint)) & set(meant):
        return Union[tuple(_filled(arg, meant) for arg in get_args(hint))]  # noqa: UP007 - of a list
    return hint
