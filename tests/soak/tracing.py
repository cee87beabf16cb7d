"""One life told line by line, for whoever looks into a seed."""

from __future__ import annotations

from collections.abc import Callable

from soak.life import Life
from soak.watched import Watched
from warmset.core.control.actions import Decision
from warmset.core.twin.events import Event


def narrate(life: Life, say: Callable[[str], None] = print) -> None:
    """Makes a life tell what happens in it."""
    hears, sends, found, happen = (
        life._hear,
        life.witness.sends,
        life.races.found,
        life.happen,
    )

    def tell(text: str) -> None:
        say(f"{life.now:8.1f}  {text}")

    def on_event(event: Event) -> None:
        name = getattr(event, "name", "") or getattr(
            getattr(getattr(event, "order", None), "model", None), "name", ""
        )
        error = getattr(event, "error", "")
        tell(f"    ollama  {type(event).__name__} {name} {error}")
        hears(event)

    def on_send(command: object, loop: object) -> None:
        keep = getattr(command, "keep_alive", "")
        tell(f"  warmset  {type(command).__name__} {command.name} {keep}")  # type: ignore[attr-defined]
        sends(command, loop)  # type: ignore[arg-type]

    def on_found(findings: list) -> None:
        for finding in findings:
            tell(f"  warmset  found {finding.kind} {finding.name}: {finding.text}")
        found(findings)

    def on_happening(happening: object) -> None:
        tell(f"{happening.kind} {happening.details}")  # type: ignore[attr-defined]
        happen(happening)  # type: ignore[arg-type]

    story = life.story
    say(f"{story.cards} card(s), processes are {'seen' if story.sees_processes else 'hidden'}")
    life.witness.sends = on_send  # type: ignore[method-assign]
    life.races.found = on_found  # type: ignore[method-assign,assignment]
    life.happen = on_happening  # type: ignore[method-assign,assignment]
    life.host._on_event = on_event
    decide = Watched._decide
    told: list[tuple] = []

    def on_decision(self: Watched, observation: object) -> None:
        decide(self, observation)  # type: ignore[arg-type]
        decision: Decision | None = self.loop.decision
        assert decision is not None
        says = (
            [f"{type(a).__name__} {getattr(a, 'name', '')}: {a.reason}" for a in decision.actions],
            decision.standing,
        )
        short = (tuple(s.partition(":")[0] for s in says[0]), says[1])
        if short not in told[-1:]:
            told.append(short)
            rows = [f"{r.model.name}/{r.runner.refs}" for r in life.host.residents()]
            tell(f"  warmset  decides on {rows}: {says[0]} {says[1]}")

    Watched._decide = on_decision  # type: ignore[method-assign]
