"""A recorded history, decided again: by this version, and under other words if wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from warmset.adapters.journal import Orders
from warmset.core.control.config import Config
from warmset.core.control.redecide import Recorded, Sameness, Verdict, redecide
from warmset.core.settings import Settings
from warmset.shell.recorded import Span
from warmset.shell.said import Said


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a span.

    Attributes:
        verdicts: those that are not simply the same.
        unreadable: what could not be read, in sentences.
        recorded: all that was read, in order; kept only if wanted.
    """

    counts: Mapping[Sameness, int]
    verdicts: tuple[Verdict, ...]
    unreadable: tuple[str, ...]
    recorded: tuple[Recorded, ...] = field(default=(), repr=False)

    @property
    def is_same(self) -> bool:
        """Whether nothing was decided otherwise."""
        return not any(self.counts.get(s) for s in (Sameness.DIFFERENT, Sameness.FAILED))


def decide_again(
    span: Span,
    settings: Settings | None = None,
    *,
    keeps: bool = False,
    tell: Callable[[int], None] = lambda _: None,
) -> Report:
    """Returns what differs when each decision of a span is made again.

    Args:
        span: the history.
        settings: other words than those of then; holds of then still count.
        keeps: whether the report shall hold what was read, to be saved.
        tell: hears how many are done.
    """
    counts: Counter[Sameness] = Counter()
    verdicts, kept = [], []
    for done, recorded in enumerate(span, 1):
        config = None if settings is None else reword(recorded, settings)
        verdict = redecide(recorded, config)
        counts[verdict.sameness] += 1
        if verdict.sameness is not Sameness.SAME:
            verdicts.append(verdict)
        if keeps:
            kept.append(recorded)
        tell(done)
    return Report(
        counts=counts,
        verdicts=tuple(verdicts),
        unreadable=tuple(span.unreadable),
        recorded=tuple(kept),
    )


def reword(recorded: Recorded, settings: Settings) -> Config:
    """Returns the configuration of a recorded decision under other settings."""
    said = Said(settings=settings, orders=Orders(), yielding=recorded.config.yielding)
    config = said.config(wall=recorded.at, now=recorded.now)
    return replace(config, holds=recorded.config.holds)
