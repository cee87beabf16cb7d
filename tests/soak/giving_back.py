"""The end of a process that gives its leases back, by the code of `serve --on-stop release`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from warmset.core.control.state import State
from warmset.core.model import Entry, ModelKey, Resident
from warmset.core.settings import Settings
from warmset.core.twin.host import Crash, Grant, News, TwinHost
from warmset.core.twin.sidecar_view import list_entries, list_residents
from warmset.shell.release import release

if TYPE_CHECKING:
    from soak.life import Life
    from soak.watched import Watched

LEAST_CONTEXT = 2048
"""Below it an embedding model gets no context with a ping."""


class Wire:
    """The two calls that a release makes of a twin, and its clock; all is answered at once.

    Args:
        host: the twin.
        clock_ahead: of its wall clock.
        hear: is told of each ping before it is sent: of which name and key.
    """

    def __init__(
        self, host: TwinHost, clock_ahead: float, hear: Callable[[str, ModelKey], None]
    ) -> None:
        self.host, self.clock_ahead, self.hear = host, clock_ahead, hear

    def monotonic(self) -> float:
        return self.host.timeline.now

    def now(self) -> float:
        return self.host.timeline.now + self.clock_ahead

    def residents(self, entries: tuple[Entry, ...]) -> tuple[Resident, ...]:
        del entries
        return list_residents(self.host, self.clock_ahead)

    def ping(self, entry: Entry, resident: Resident, *, keep_alive: float) -> None:
        """Asks for a model without a prompt, as the client does."""
        host, model = self.host, self.host.library.find(resident.name)
        assert model is not None
        self.hear(model.name, entry.key)
        number, context = 0, resident.context or 0

        def on_news(news: News) -> None:
            if isinstance(news, Grant | Crash):
                host.finish(number)

        embeds = "embedding" in model.capabilities
        options = {"num_ctx": context} if context >= (LEAST_CONTEXT if embeds else 1) else {}
        number = host.submit(model, on_news, keep_alive=keep_alive, options=options)


def give_back_on(wire: Wire, state: State, settings: Settings) -> None:
    """Gives the leases that a state knows of back."""
    release(
        wire,  # type: ignore[arg-type]
        list_entries(wire.host),
        state,
        settings=settings,
        clock=wire,  # type: ignore[arg-type]
        may_go_on=lambda: True,
    )


def give_back(life: Life, warmset: Watched) -> None:
    """Gives the leases of a process that has just stopped back."""
    if not life.host.is_up or not warmset.answers_ps or warmset.ps_seconds > 0:
        return

    def hear(name: str, key: ModelKey) -> None:
        counts = life.witness.counts
        counts["given_back"] = counts.get("given_back", 0) + 1
        life.witness.judge_giving_back(name, key)

    wire = Wire(life.host, life.clock_ahead, hear)
    give_back_on(wire, warmset.loop.state, life.said.settings)
