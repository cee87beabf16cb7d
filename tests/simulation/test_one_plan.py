"""One decision for `plan`, `apply`, `serve` and the twin; and after `apply` nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from loop_hosts import words

from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.control.preview import Preview, find_more, preview
from warmset.core.control.state import State
from warmset.core.control.step import step
from warmset.core.loop_settings import LoopSettings
from warmset.core.settings import Settings
from warmset.core.twin.clock import Timeline
from warmset.core.twin.demand import Arrival
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.twin.sidecar import Sidecar
from warmset.core.twin.sidecar_view import observe_twin
from warmset.shell.one_pass import Prepared, prepare
from warmset.shell.twin_files import find_demand

START = 1_760_000_000.0
HOSTS = ("laptop", "workstation", "2x24", "8x80", "cpu", "unified")


def said_of(host: str, loop: LoopSettings | None = None) -> Config:
    """The first model of a host is pinned, every second of the others has a priority."""
    names = [model.name for model in named_host(host).models]
    said: dict[str, dict] = {names[0]: {"pin": True, "priority": 90}}
    for place, name in enumerate(names[2::2]):
        said[name] = {"priority": 70 - place}
    return words(said, loop)


def lived(host: str, seed: int) -> TwinHost:
    """A host after an hour of an office's requests, the same each time."""
    spec = named_host(host)
    timeline = Timeline(START)
    twin = TwinHost(spec, physics_of(spec), timeline)

    def use(arrival: Arrival) -> None:
        twin.use(arrival.model, arrival.seconds, keep_alive=arrival.keep_alive)

    for arrival in find_demand("office", tuple(m.name for m in spec.models), hours=1.0, seed=seed):
        timeline.at(START + arrival.at, lambda arrival=arrival: use(arrival))
    timeline.advance(START + 3600.0)
    return twin


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_all_who_ask_get_the_same_plan(host: str, seed: int) -> None:
    """On one look `plan`'s preview, a loop of `serve` and the sidecar of the twin agree."""
    twin, said = lived(host, seed), said_of(host)
    look, now = observe_twin(twin), twin.timeline.now
    shown = preview(look, said, State(), now)
    serving = Loop(said)
    serving.look(look, now)
    beside = Sidecar(twin, Loop(said, is_read_only=True))
    beside.start()
    twin.timeline.advance(now)
    decided = step(look, said, State(), now)[1]
    assert shown.decision == decided == serving.decision == beside.loop.decision
    assert decided.members == shown.wish.plan.members


def settings_of(host: str, url: str) -> Settings:
    """The same words, for a host at an address."""
    said = said_of(host).settings.models
    return Settings(url=url, models=said)


def converge(prepared: Prepared) -> tuple[Preview, Preview]:
    """What is shown before and after a pass that makes it true."""
    before = prepared.work.preview()
    prepared.work.run(limit_seconds=3600.0, check=lambda _: None)
    return before, prepared.work.preview()


@pytest.mark.parametrize("host", HOSTS)
def test_after_apply_the_plan_shows_no_change(host: str, tmp_path: Path) -> None:
    """In process, beside an idle host: what was planned is resident, and nothing more to do."""
    url = f"twin://{host}?demand=idle"
    environ = {"WARMSET_STATE": str(tmp_path)}
    with prepare(settings_of(host, url), environ, may_write=True) as prepared:
        before, after = converge(prepared)
    assert before.decision.changes
    assert not after.decision.changes
    assert after.decision.is_converged
    resident = {row.key for row in after.observation.residents or ()}
    assert resident == {member.key for member in before.decision.members}


def test_what_nobody_configured_is_shown_and_not_planned() -> None:
    """It would fit beside the warm set, all together, and no step loads it; with `manage all` the
    same models are planned."""
    twin = lived("2x24", 1)
    look, now = observe_twin(twin), twin.timeline.now
    seen = preview(look, words({"llama3.1:8b": {"pin": True}}), State(), now)
    more = find_more(seen)
    assert more
    configured = seen.wish.managed
    assert not {c.key for c in seen.decision.changes} - configured
    assert not {m.key for m in more} & {m.key for m in seen.decision.members}
    taken_up = words({"llama3.1:8b": {"pin": True}, **{m.name: {"priority": 0} for m in more}})
    with_them = preview(look, taken_up, State(), now)
    assert {m.key for m in more} <= {m.key for m in with_them.decision.members}
    everything = words({"llama3.1:8b": {"pin": True}}, LoopSettings(manages_all=True))
    all_of_them = preview(look, everything, State(), now)
    assert all_of_them.wish.managed == {entry.key for entry in look.entries}
    assert not find_more(all_of_them)


def test_a_plan_is_shown_while_nothing_may_be_done() -> None:
    """During somebody's load `step` waits; the warm set is told all the same, without steps."""
    spec = named_host("workstation")
    twin = TwinHost(spec, physics_of(spec), Timeline(START))
    said = said_of("workstation")
    loop = Loop(said)
    loop.look(observe_twin(twin), START)
    twin.use(spec.models[3].name, 30.0)
    twin.timeline.advance(START + 1.0)
    shown = preview(observe_twin(twin), said, loop.state, START + 1.0)
    assert not shown.is_decided
    assert not shown.decision.changes
    assert shown.wish.plan.members
