"""Who is not wanted now: outside its windows, idle for longer than it is kept or pays, making way.

A lease says rank and nothing else, so retention that ends is ended by an unload. Whoever asks for
a model that was let go gets it from Ollama as ever; it is not fetched again before that, or before
its next window. What was held and nobody configured goes as stock Ollama would let it go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.control.config import Config
from warmset.core.control.pricing import Prices
from warmset.core.control.question import Unwanted
from warmset.core.control.state import Remembered, State
from warmset.core.model import FOREVER, Entry, ModelKey, Observation, normalise_name
from warmset.core.planner.candidates import expected_saving
from warmset.core.settings import ModelPolicy, merge_server
from warmset.core.units import MINUTE, format_seconds
from warmset.core.windows import Span, find_open

SERVER_KEEP_ALIVE_SECONDS: Final = 5 * MINUTE
"""Source: ollama-behaviour 2.2, `envconfig/config.go: KeepAlive`."""

LEAD_TICKS: Final = 2
"""A preload ahead of a window begins so many ticks before the load time says. Our choice."""

OUTSIDE: Final = "outside its windows"
UNUSED: Final = "unused for as long as it is kept"
DEARER: Final = "unused for so long that its memory is worth more than a load"
HELD_NO_LONGER: Final = "held no longer, and nobody configured it"


def find_unwanted(
    observation: Observation, config: Config, state: State, now: float
) -> tuple[Unwanted, State]:
    """Returns who is not wanted, and the state that knows whose retention has ended.

    Args:
        observation: with residents that are known.
        config: windows, keep-alives, and for whom to make way. Who is held stays whatever is said
            here (`question`).
        state: who was used when.
        now: the step's time.
    """
    resident = {row.key for row in observation.residents or ()}
    closed: set[ModelKey] = set()
    dismissed: dict[ModelKey, str] = {}
    price = config.loop.price_per_gib_hour
    prices = Prices(observation, state, price) if price else None
    for entry in observation.entries:
        is_managed = config.is_managed(entry.names, now)
        if config.yielding and is_managed:
            closed.add(entry.key)
            dismissed[entry.key] = f"it makes way for {config.yielding}"
            continue
        policy = config.settings.policy_for(entry.names)
        is_left_over = not is_managed and state.of(entry.key).leased_at is not None
        pays = prices.worth_seconds(entry) if prices is not None and is_managed else None
        kept = policy.keep_alive
        if pays is not None:
            kept = pays if kept is None else min(kept, pays)
        if not policy.windows and kept is None and not is_left_over:
            continue
        known = state.of(entry.key, entry.name)
        stay = _Stay(
            policy=policy,
            kept=kept,
            known=known,
            is_resident=entry.key in resident,
            spans=config.openings.get(normalise_name(policy.name)),
            lead=_lead_seconds(entry, known, config),
            server_keep_alive=_server_keep_alive(observation, config),
            is_left_over=is_left_over,
            now=now,
        )
        if stay.is_closed:
            closed.add(entry.key)
        if reason := stay.why_dismissed():
            dismissed[entry.key] = reason
        retired_at = stay.retired_at()
        if retired_at != known.retired_at:
            state = state.note(entry.key, entry.name, retired_at=retired_at)
    return Unwanted(closed=frozenset(closed), dismissed=dismissed), state


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stay:
    """One model's claim to memory at one moment. Units: seconds."""

    policy: ModelPolicy
    kept: float | None  # the shorter of its keep-alive and of what pays; None: no end
    known: Remembered
    is_resident: bool
    spans: Sequence[Span] | None  # None: always wanted
    lead: float
    server_keep_alive: float
    is_left_over: bool  # nobody configured it, and it has the lease of a hold that ended
    now: float

    @property
    def opening(self) -> Span | None:
        """The window that is open, or opens within the time of a load."""
        spans = self.spans or ()
        return find_open(spans, self.now) or find_open(spans, self.now + self.lead)

    @property
    def is_closed(self) -> bool:
        return self.spans is not None and self.opening is None

    @property
    def idle_seconds(self) -> float:
        marks = (self.known.used_at, self.known.resident_since)
        return self.now - max((at for at in marks if at is not None), default=self.now)

    def why_dismissed(self) -> str:
        """Returns why it is to leave or not to come; empty: it may stay or come."""
        keep_alive = self.policy.keep_alive
        if self.is_left_over or self.is_closed:
            # Who uses it now is served as by stock Ollama, and not cut short.
            end = min(self.server_keep_alive, FOREVER if self.kept is None else self.kept)
            is_due = not self.is_resident or self.idle_seconds >= end
            reason = HELD_NO_LONGER if self.is_left_over else OUTSIDE
            return reason if is_due else ""
        if self.kept is None or self.policy.pin:
            return ""
        if self.is_resident:
            is_priced = self.kept != keep_alive
            reason = DEARER if is_priced else f"{UNUSED}, {format_seconds(self.kept)}"
            return reason if self.idle_seconds >= self.kept else ""
        if keep_alive == 0:
            return "never fetched: its keep-alive is 0"
        is_spent = self.retired_at() is not None
        return "let go while nobody used it, until somebody asks for it" if is_spent else ""

    def retired_at(self) -> float | None:
        """Returns when its retention ended last; `None`: it has a claim since."""
        if self.kept is None or self.policy.pin:
            return None
        if self.is_resident:
            return self.now if self.idle_seconds >= self.kept else None
        since = self.known.retired_at
        opening = self.opening
        is_new = since is not None and opening is not None and since < opening.start - self.lead
        return None if is_new else since


def _lead_seconds(entry: Entry, known: Remembered, config: Config) -> float:
    """Returns how long before a window its model is fetched: as long as the load takes."""
    size = entry.file_bytes or entry.size_bytes
    _, seconds = expected_saving(size, load_seconds=known.load_seconds, requests_per_day=None)
    return seconds + LEAD_TICKS * config.loop.tick


def _server_keep_alive(observation: Observation, config: Config) -> float:
    said = merge_server(config.settings.server, observation.settings).keep_alive_seconds
    return SERVER_KEEP_ALIVE_SECONDS if said is None else said
