"""What a calm look costs, counted in function calls: a clock would not say the same twice."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

from loop_hosts import words

from warmset.core.catalogue import CATALOGUE
from warmset.core.control.actions import Decision
from warmset.core.control.state import State
from warmset.core.control.step import step
from warmset.core.host.observed import observe_by_device, observe_model
from warmset.core.host.picture import draw_picture
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import installed, named_host, physics_of
from warmset.core.twin.sidecar_view import observe_twin
from warmset.shell.observe_twin import SERVER_PID, survey_twin

LINEAR = 2.4
"""Twice as many models may cost twice as much, and a little for what is sorted."""

NOW = 1.7e9


def calls_of(work: Callable[[], object]) -> int:
    """Returns how many functions are called, those of C included."""
    count = 0

    def hear(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(hear)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def host_of(count: int, resident: int) -> TwinHost:
    """Returns a host with eight cards, so many small models, and the first ones resident."""
    small = installed(CATALOGUE["llama3.2:1b"])
    models = tuple(
        replace(
            small,
            name=f"bench{n:03}:1b",
            weights=replace(small.weights, digest=f"sha256:{n:064x}"),
        )
        for n in range(count)
    )
    plain = named_host("8x80")
    spec = replace(plain, models=models, env=replace(plain.env, max_loaded_models=resident))
    host = TwinHost(spec, physics_of(spec), Timeline(NOW))
    for number in range(resident):
        host.use(models[number].name, 0.0, keep_alive=86400.0)
        host.timeline.advance(NOW + 60.0 * (number + 1))
    assert len(host.residents()) == resident
    return host


def unchanged(count: int) -> int:
    """Returns the calls of a decision on a host that stands as before, a fifth of it resident."""
    host = host_of(count, count // 5)
    look = observe_twin(host)
    names = [entry.name for entry in look.entries]
    said = words({name: {"preload": False} for name in names})
    now = host.timeline.now
    state, _, _ = step(look, said, State(), now)
    state, _, _ = step(look, said, state, now + 5.0)
    return calls_of(lambda: step(look, said, state, now + 10.0))


def test_an_unchanged_decision_grows_with_the_models_and_no_faster() -> None:
    """From 50 to 100 models, and a stated number of calls for each."""
    few, many = unchanged(50), unchanged(100)
    assert many / few < LINEAR
    assert many / 100 < 50


def test_a_decision_anew_on_a_full_host_is_bounded() -> None:
    """Thirty models of all sizes on eight cards, as many resident as fit: where one more would come
    in only if residents were loaded elsewhere, they stay, and that is found out soon."""
    known = [installed(model) for model in CATALOGUE.values()]
    models = tuple(
        replace(
            known[n % len(known)],
            name=f"bench{n:03}:8b",
            weights=replace(known[n % len(known)].weights, digest=f"sha256:{n:064x}"),
        )
        for n in range(30)
    )
    spec = replace(named_host("8x80"), models=models)
    host = TwinHost(spec, physics_of(spec), Timeline(NOW))
    said = words({m.name: {"priority": (90, 50, 20)[n % 3]} for n, m in enumerate(models)})
    state, first, _ = step(observe_twin(host), said, State(), NOW)
    for number, member in enumerate(first.members):
        host.use(member.name, 0.0, keep_alive=86400.0)
        host.timeline.advance(NOW + 120.0 * (number + 1))
    look, now = observe_twin(host), host.timeline.now
    resident = {row.key for row in look.residents or ()}
    made: list[Decision] = []
    count = calls_of(lambda: made.append(step(look, said, state, now)[1]))
    assert count < 6_000_000
    members = {member.key for member in made[0].members}
    assert resident <= members
    assert len(members) > len(resident)
    assert not {change.key for change in made[0].changes} & resident


def observed(resident: int) -> int:
    """Returns the calls that it takes to say of every resident what it holds."""
    host = host_of(resident, resident)
    survey, rows = survey_twin(host), observe_twin(host).residents

    def work() -> None:
        picture = draw_picture(
            survey.gpus, survey.processes, rows, at=host.timeline.now, server_pid=SERVER_PID
        )
        for row in rows or ():
            observe_model(picture, row)
            observe_by_device(picture, row)

    return calls_of(work)


def test_what_residents_hold_is_found_without_asking_every_other_one() -> None:
    """From 20 to 40 resident models."""
    assert observed(40) / observed(20) < LINEAR
