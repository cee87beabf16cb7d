"""How long a model has a claim to memory that nobody gave it in so many words.

What its memory costs sets a term, and so does the end of a hold of what nobody configured.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from warmset.core.control.orders import Cancel, Command, Done, Event, SendPing, SendPreload, Started
from warmset.core.model import ModelKey
from warmset.core.planner.candidates import expected_saving
from warmset.core.twin.runner import Runner
from warmset.core.units import GIB, HOUR

if TYPE_CHECKING:
    from soak.life import Life

SURE_SHARE = 0.9
"""Of the time that memory pays: uses and amounts are known as of some look."""


def pays_seconds(life: Life, runner: Runner, *, beside_others: bool = True) -> float:
    """Returns for how long it pays to hold an idle model; infinite: not known, or memory is free.

    Until its rent equals a load, where nothing is known of the gaps between its uses. What others
    hold makes what they leave dearer, as far as anybody can tell whose it is.
    """
    price = life.said.loop.price_per_gib_hour
    if not price or life.gaps or life.warmset is None:
        return math.inf
    cards, gpus = life.host.cards, life.host.spec.gpus
    held = cards.held_by(runner.pid)
    own = [gpu for gpu in gpus if held.get(gpu.device)]
    total = sum(gpu.total_bytes for gpu in own)
    if total and life.story.sees_processes and beside_others:
        price *= total / max(1, total - sum(cards.foreign(gpu.device) for gpu in own))
    known = life.warmset.loop.state.of(ModelKey(runner.model.key)).load_seconds
    _, seconds = expected_saving(
        runner.model.file.file_bytes, load_seconds=known, requests_per_day=None
    )
    return seconds / (price * (runner.vram_bytes or runner.total_bytes) / GIB / HOUR)


class Given:
    """The keep-alives that warmset has given and knows to stand, by model."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self.opened: SendPing | SendPreload | None = None
        self._seconds: dict[str, float] = {}

    def forget(self) -> None:
        """Nothing of what was given is known any more."""
        self._seconds.clear()

    def carries_out(self, command: Command) -> None:
        """A command begins."""
        if not isinstance(command, Cancel):
            self.opened = command if isinstance(command, SendPing | SendPreload) else None

    def ends(self, event: Event) -> None:
        """A command has ended; after a failure nobody knows what stands."""
        opened = self.opened
        if opened is None or isinstance(event, Started) or event.number != opened.number:
            return
        self.opened = None
        if isinstance(event, Done):
            self._seconds[opened.key] = opened.keep_alive
        else:
            self.forget()

    def stands(self, key: str) -> bool:
        """Whether a runner has the keep-alive that it was given."""
        runner = self._life.host.scheduler.loaded.get(key)
        given = self._seconds.get(key, math.inf)
        return runner is not None and abs(runner.duration - given) < 1.0
