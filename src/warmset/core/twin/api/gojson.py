"""JSON as a Go server reads and writes it: error texts, field names in any case, instants.

Source: Go's `encoding/json` (`scanner.go`, `decode.go`) as the web framework of Ollama v0.33 uses
it: one value is read, what follows is ignored. Texts as in transcripts 03, 06 and 08.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

from warmset.core.ollama.keepalive import DurationError, parse_keep_alive

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_KEY: Final = "looking for beginning of object key string"
_SYNTAX: Final = {
    "Expecting property name enclosed in double quotes": _NO_KEY,
    "Illegal trailing comma before end of object": _NO_KEY,
    "Expecting ':' delimiter": "after object key",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
    "Invalid \\uXXXX escape": "in \\u hexadecimal character escape",
}
_GO_WORDS: Final = {str: "string", bool: "bool", int: "number", float: "number", dict: "object"}


class GoJsonError(ValueError):
    """A body that Go refuses; the message is Go's."""


class EmptyBody(GoJsonError):
    """Nothing but blanks (`io.EOF`)."""


@dataclass(frozen=True, slots=True)
class _HugeNumber:
    """A number beyond a float; an error only where it is used."""

    text: str


def decode(body: bytes) -> object:
    """Returns the first JSON value of a body.

    Raises:
        GoJsonError: with Go's text.
    """
    text = body.decode("utf-8", "replace")
    stripped = text.lstrip(" \t\r\n")
    if not stripped:
        raise EmptyBody("EOF")
    try:
        value, _ = _DECODER.raw_decode(stripped)
    except json.JSONDecodeError as problem:
        raise GoJsonError(_explain(stripped, problem)) from None
    except RecursionError:
        raise GoJsonError("exceeded max depth") from None
    return value


def _parse_float(text: str) -> float | _HugeNumber:
    number = float(text)
    return _HugeNumber(text) if math.isinf(number) else number


def _parse_int(text: str) -> int | float | _HugeNumber:
    return int(text) if len(text) < 19 else _parse_float(text)


def _refuse_constant(text: str) -> NoReturn:
    raise GoJsonError(f"invalid character '{text.lstrip('-')[0]}' looking for beginning of value")


_DECODER: Final = json.JSONDecoder(
    parse_float=_parse_float, parse_int=_parse_int, parse_constant=_refuse_constant
)


def _explain(text: str, problem: json.JSONDecodeError) -> str:
    if problem.pos >= len(text) or problem.msg.startswith("Unterminated string"):
        return "unexpected EOF"
    place = next((go for python, go in _SYNTAX.items() if problem.msg.startswith(python)), "")
    if problem.msg.startswith("Expecting ',' delimiter"):
        inside = _innermost(text[: problem.pos])
        place = "after object key:value pair" if inside == "{" else "after array element"
    character = text[problem.pos]
    shown = "\\'" if character == "'" else character
    return f"invalid character '{shown}' {place or 'looking for beginning of value'}"


def _innermost(text: str) -> str:
    """Returns the bracket that is open at the end of a text."""
    opened: list[str] = []
    is_text = is_escaped = False
    for character in text:
        if is_text:
            is_text = character != '"' or is_escaped
            is_escaped = character == "\\" and not is_escaped
        elif character == '"':
            is_text = True
        elif character in "{[":
            opened.append(character)
        elif character in "}]" and opened:
            opened.pop()
    return opened[-1] if opened else "{"


class Fields:
    """The fields of a request, as Go fills a struct: names in any case, `null` means absent.

    Args:
        value: the decoded body; kept as `source`.
        struct: Go's name of the request type, for its error texts.

    Raises:
        GoJsonError: from every getter, for a value of the wrong type.
    """

    def __init__(self, value: object, struct: str) -> None:
        self.struct = struct
        self.source = value
        if not isinstance(value, dict):
            if value is not None:
                raise GoJsonError(
                    f"json: cannot unmarshal {_word(value)} into Go value of type "
                    f"{'openai' if struct in _OPENAI else 'api'}.{struct}"
                )
            value = {}
        self._values = {str(key).lower(): item for key, item in value.items()}

    def raw(self, name: str) -> object:
        """Returns a value as it was decoded; `None` when absent."""
        value = self._values.get(name)
        if isinstance(value, _HugeNumber):
            raise self._mismatch(name, value, "float64")
        return value

    def text(self, name: str) -> str:
        """Returns a string; empty when absent."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, str):
            raise self._mismatch(name, value, "string")
        return value or ""

    def flag(self, name: str) -> bool | None:
        """Returns a boolean; `None` when absent."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._mismatch(name, value, "bool")
        return value

    def integer(self, name: str) -> int | None:
        """Returns a whole number; `None` when absent."""
        value = self._values.get(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise self._mismatch(name, value, "int")

    def items(self, name: str, go_type: str) -> tuple[object, ...]:
        """Returns the items of a list; empty when absent."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, list):
            raise self._mismatch(name, value, go_type)
        return tuple(value or ())

    def mapping(self, name: str) -> Mapping[str, object]:
        """Returns an object; empty when absent."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, dict):
            raise self._mismatch(name, value, "map[string]interface {}")
        huge = next((v for v in (value or {}).values() if isinstance(v, _HugeNumber)), None)
        if huge is not None:
            raise self._mismatch(name, huge, "float64")
        return value or {}

    def keep_alive(self) -> float | None:
        """Returns the seconds that `keep_alive` means; `None` when absent."""
        value = self._values.get("keep_alive")
        if isinstance(value, _HugeNumber):
            raise GoJsonError(
                f"json: cannot unmarshal number {value.text} into Go value of type float64"
            )
        try:
            return parse_keep_alive(value)
        except DurationError as problem:
            raise GoJsonError(str(problem)) from None

    def _mismatch(self, name: str, value: object, go_type: str) -> GoJsonError:
        return GoJsonError(
            f"json: cannot unmarshal {_word(value)} into Go struct field "
            f"{self.struct}.{name} of type {go_type}"
        )


_OPENAI: Final = frozenset(("ChatCompletionRequest", "CompletionRequest", "EmbedRequest"))


def _word(value: object) -> str:
    if isinstance(value, _HugeNumber):
        return f"number {value.text}"
    if isinstance(value, float):
        return f"number {value!r}"
    return _GO_WORDS.get(type(value), "array")


def encode(value: object) -> bytes:
    """Returns compact JSON with Go's escapes of `<`, `>` and `&`."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace")


def instant(seconds: float) -> str:
    """Returns Unix seconds as Go writes an instant in UTC: up to 9 digits, no zeros at the end."""
    whole = math.floor(seconds)
    moment = _EPOCH + timedelta(seconds=whole)
    fraction = f"{round((seconds - whole) * 1e9):09d}"[:9].rstrip("0")
    point = f".{fraction}" if fraction else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{point}Z"


def nanoseconds(seconds: float) -> int:
    """Returns a duration as Go's JSON writes it."""
    return round(seconds * 1e9)
