"""Guards of the step and the executor, each with what warmset is without it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest import mock

CONTROL = "warmset.core.control."


@dataclass(frozen=True)
class Mutant:
    """One guard taken out.

    Attributes:
        places: `module:name` of every place that uses the guard.
        instead: what stands there then.
        seeds: within so many stories a law must break.
    """

    name: str
    places: tuple[str, ...]
    instead: Callable[..., object]
    seeds: int = 100

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Takes the guard out for a while."""
        with ExitStack() as stack:
            for place in self.places:
                module, _, name = place.partition(":")
                target = importlib.import_module(CONTROL + module)
                stack.enter_context(mock.patch.object(target, name, self.instead))
            yield


MUTANTS: tuple[Mutant, ...] = ()
