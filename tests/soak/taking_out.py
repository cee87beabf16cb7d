"""One guard taken out of the loop for a while, and the stories in which it is missed."""

from __future__ import annotations
import __future__

import importlib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import CodeType, FunctionType
from unittest import mock

from soak.staged import told
from soak.story import Story, tell

CONTROL = "warmset.core.control"


@dataclass(frozen=True)
class Mutant:
    """One guard taken out.

    Attributes:
        places: `module:name` of every place that uses the guard, from the room of the loop.
        instead: what stands there then.
        focus: the mishaps that the guard is against; empty: stories of all kinds.
        host: what else these stories have in common, as fields of `Story`.
        in_ci: whether one of the first three stories shows it.
        seeds: within so many stories a law must break.
        was: for a guard inside a function (the only place): its source, and `instead` is what is
            written there then.
    """

    name: str
    places: tuple[str, ...]
    instead: object
    focus: tuple[str, ...] = ()
    in_ci: bool = False
    seeds: int = 100
    was: str = ""
    host: Mapping[str, object] = field(default_factory=dict)

    def story(self, seed: int) -> Story:
        """Returns the story of a seed as the guard needs it, on one card unless it says so."""
        return replace(tell(seed, self.focus, cards=1), **dict(self.host))  # type: ignore[arg-type]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Takes the guard out for a while."""
        with ExitStack() as stack:
            for place in self.places:
                owner, name = _find(place)
                if not self.was:
                    stack.enter_context(mock.patch.object(owner, name, self.instead))
                    continue
                function = inspect.unwrap(getattr(owner, name))
                code = _rewritten(function, self.was, str(self.instead))
                stack.callback(setattr, function, "__code__", function.__code__)
                function.__code__ = code
            yield


def _find(place: str) -> tuple[object, str]:
    module, _, name = place.partition(":")
    owner: object = importlib.import_module(
        module if module.startswith("..") else f".{module}", CONTROL
    )
    *owners, name = name.split(".")
    for inner in owners:
        owner = getattr(owner, inner)
    return owner, name


def _rewritten(function: FunctionType, was: str, instead: str) -> CodeType:
    """Returns the code of a function with one expression of its source replaced."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(was) == 1, f"{function.__name__} has {source.count(was)} times: {was}"
    scope: dict[str, object] = {}
    flag = __future__.annotations.compiler_flag
    code = compile(source.replace(was, instead), f"<without {was}>", "exec", flag)
    exec(code, dict(function.__globals__), scope)
    made = scope[function.__name__]
    assert isinstance(made, FunctionType)
    return made.__code__


def inside(
    name: str,
    place: str,
    was: str,
    focus: tuple[str, ...] = (),
    *,
    instead: str = "False",
    in_ci: bool = False,
    **host: object,
) -> Mutant:
    """Returns a mutant of one expression inside a function."""
    return Mutant(name, (place,), instead, focus, in_ci, was=was, host=host)


def shown(
    name: str,
    place: str,
    was: str,
    *happenings: tuple,
    instead: str = "False",
    **host: object,
) -> Mutant:
    """Returns a mutant of one expression with the story that was made for it: `told` tells it."""
    story = told(*happenings, **host)
    return Mutant(name, (place,), instead, in_ci=True, was=was, host=story)
