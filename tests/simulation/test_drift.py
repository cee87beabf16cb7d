"""A server that no longer does what it is told is found out, told of, and left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from loop_hosts import CHAT, CODER, EMBED, MEDIUM, START, World, config, world

from warmset.core.control.actions import Finding
from warmset.core.control.drift import FAILURES, judge_levers, note_failed, why_not_use
from warmset.core.control.drift import Judged as Look
from warmset.core.control.loop import Loop
from warmset.core.control.orders import Command, Done, SendPing, SendPreload, SendUnload
from warmset.core.control.state import (
    LeverName,
    LeverRecord,
    State,
    state_from_plain,
    state_to_plain,
)
from warmset.core.loop_settings import LoopSettings
from warmset.core.twin.clock import Timeline
from warmset.core.twin.faults import Frail
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of


class Drifted(Frail):
    """A warmset beside an Ollama in which one kind of command has stopped working."""

    deaf_to: type[Command] | None = None

    def _is_spoilt(self, command: Command) -> bool:
        if self.deaf_to is None or not isinstance(command, self.deaf_to):
            return super()._is_spoilt(command)
        assert isinstance(command, SendPing | SendPreload | SendUnload)
        self._answer(command, Done(number=command.number, at=self.host.timeline.now))
        return True


def drifted(said, deaf_to: type[Command] | None) -> World:
    """A host at `START` whose server ignores one kind of command."""
    spec = named_host("workstation")
    events: list = []
    timeline = Timeline(START)
    twin = TwinHost(
        spec,
        physics_of(spec),
        timeline,
        on_event=lambda e: events.append((timeline.now - START, e)),
    )
    beside = Drifted(twin, Loop(said))
    beside.deaf_to = deaf_to
    beside.start()
    return World(twin, beside, events)


def lever(scene: World, name: LeverName) -> LeverRecord | None:
    """What the loop remembers of a lever."""
    return scene.sidecar.loop.state.levers.get(name)


def until(scene: World, fact: Callable[[], bool], limit: float, step: float = 30.0) -> float:
    """Runs until something is true; returns when."""
    now = scene.now
    while not fact():
        assert now < limit, scene.waits()
        now += step
        scene.run(now)
    return now


def test_preloads_without_effect_end_for_a_while() -> None:
    """After four that load nothing the lever is broken: an alarm stands, nothing is preloaded
    until the pause is over, then one is tried."""
    scene = drifted(config(CODER={"pin": True}, CHAT={"pin": True}), SendPreload)
    until(scene, lambda: "lever_broken" in scene.alarms(), 7200.0)
    assert len(scene.preloads()) == FAILURES
    record = lever(scene, "preload")
    assert record is not None
    assert record.quiet_until is not None
    assert "preloads load nothing" in scene.texts("lever_broken")[0]
    scene.run(record.quiet_until - START - 5.0)
    assert len(scene.preloads()) == FAILURES
    assert any("preloads load nothing" in reason for reason in scene.waits())
    scene.run(record.quiet_until - START + 600.0)
    assert len(scene.preloads()) > FAILURES
    after = lever(scene, "preload")
    assert after is not None
    assert after.pause > record.pause


def test_a_broken_lever_that_is_tried_between_slow_looks_rests_again() -> None:
    """Whether the model came and went in between nobody can tell: that is no reason to go on."""
    scene = drifted(config(CODER={"pin": True}, CHAT={"pin": True}), SendPreload)
    until(scene, lambda: "lever_broken" in scene.alarms(), 7200.0)
    record = lever(scene, "preload")
    assert record is not None
    assert record.quiet_until is not None
    scene.run(record.quiet_until - START - 30.0)
    scene.sidecar.faults.look_seconds = 15.0
    tried_at = until(scene, lambda: len(scene.preloads()) > FAILURES, 7200.0, 5.0)
    scene.run(tried_at + record.pause - 10.0)
    assert len(scene.preloads()) == FAILURES + 1


def test_a_lever_that_works_again_is_used_again() -> None:
    """The first preload that loads something ends the alarm, and the pins come."""
    scene = drifted(config(CODER={"pin": True}), SendPreload)
    until(scene, lambda: "lever_broken" in scene.alarms(), 7200.0)
    scene.sidecar.deaf_to = None
    until(scene, lambda: CODER in scene.resident(), scene.now + 7200.0)
    scene.run(scene.now + 60.0)
    assert lever(scene, "preload") is None
    assert scene.findings("lever_works") == [""]
    assert not any("lever" in code for code in scene.sidecar.loop.decision.standing)


def test_unloads_without_effect_end_for_a_while() -> None:
    """A model that should go and stays, idle, is not told to go for ever."""
    said = config(LoopSettings(min_residency=0.0, fight_window=60.0), CODER={"pin": True})
    scene = drifted(said, SendUnload)
    scene.run(60.0)
    policy = replace(said.settings.models[CODER], pin=False, keep_alive=30.0)
    settings = replace(said.settings, models={CODER: policy})
    scene.sidecar.loop.configure(replace(said, settings=settings))
    until(scene, lambda: "lever_broken" in scene.alarms(), 7200.0)
    assert len(scene.unloads()) == FAILURES
    assert CODER in scene.resident()
    scene.run(scene.now + 200.0)
    assert len(scene.unloads()) == FAILURES


def test_pings_that_move_no_deadline_end_for_a_while() -> None:
    """The models leave at the deadlines that the pings should have moved: that tells the lever
    from models in use. Then nothing is pinged."""
    models = {"pin": True}
    scene = drifted(config(CODER=models, CHAT=models, EMBED=models), SendPing)
    until(scene, lambda: "lever_broken" in scene.alarms(), 6 * 3600.0, step=60.0)
    record = lever(scene, "ping")
    assert record is not None
    count = len(scene.pings())
    assert record.quiet_until is not None
    scene.run(record.quiet_until - START - 10.0)
    assert len(scene.pings()) == count
    assert "pings do not renew keep-alives" in scene.texts("lever_broken")[0]


def test_a_busy_model_is_no_evidence_against_pings() -> None:
    """A ping of a model that serves somebody for long moves no deadline, and nothing is broken."""
    scene = world(config(CODER={"pin": True}, CHAT={"pin": True}))
    scene.run(60.0)
    for start in (100.0, 2000.0, 5000.0, 9000.0):
        scene.at(start, lambda host: host.use(CODER, 1200.0))
    scene.run(12000.0)
    assert not scene.sidecar.loop.state.levers
    assert "lever_failed" not in [f.kind for _, f in scene.sidecar.log.findings]


def test_evictions_out_of_order_are_noticed() -> None:
    """A model that is pushed out while an idle one with a shorter lease stays speaks against the
    order of keep-alives; four times in a row, and ranks are no longer written."""
    scene = world(config(CODER={"pin": True}, CHAT={"priority": 90}, SMALL={"priority": 10}))
    scene.run(400.0)
    loop = scene.sidecar.loop
    before = loop.state
    look = scene.sidecar.observe()
    left = next(row for row in look.residents if row.name == CODER)
    rest = replace(look, residents=tuple(r for r in look.residents if r.name != CODER))
    state = before.note(left.key, lost_to=MEDIUM)
    found = Finding(
        kind="model_left", key=left.key, name=CODER, text="", basis={"cause": "displaced"}
    )
    now = scene.host.timeline.now
    for count in range(1, FAILURES + 1):
        judged = Look(observation=rest, before=before, state=state, now=now)
        state, news = judge_levers(judged, (found,), loop.config.loop)
        assert [n.basis["in_a_row"] for n in news] == [count]
    assert why_not_use(state, "order", now)[0]
    loop.state = replace(before, levers=state.levers)
    pings = len(scene.pings())
    policies = dict(loop.config.settings.models)
    policies[CHAT] = replace(policies[CHAT], priority=1)
    settings = replace(loop.config.settings, models=policies)
    loop.configure(replace(loop.config, settings=settings))
    scene.run(scene.now + 120.0)
    assert len(scene.pings()) == pings, "only its rank changed"
    scene.run(scene.now + 3000.0)
    assert len(scene.pings()) > pings, "leases are still renewed"


def test_stock_order_is_no_drift() -> None:
    """Users push models out on a twin that keeps Ollama's rules: no lever ever fails."""
    scene = world(config(CODER={"pin": True}, CHAT={"priority": 90}, SMALL={"priority": 10}))
    for n in range(12):
        scene.at(200.0 + 300 * n, lambda host: host.use(MEDIUM, 5.0))
        scene.at(350.0 + 300 * n, lambda host: host.use(EMBED, 2.0))
    scene.run(5000.0)
    assert scene.evicted()
    assert "lever_failed" not in [f.kind for _, f in scene.sidecar.log.findings]


def test_one_success_clears_the_record_and_a_new_version_too() -> None:
    """Failures count in a row only; another Ollama starts afresh."""
    loop, now = LoopSettings(), 100.0
    bad = Finding(kind="preload_without_effect", key=None, name="a", text="")
    state = State(server_version="0.30.0")
    for _ in range(FAILURES):
        state, _ = note_failed(state, "preload", bad, loop, now)
    assert state.levers["preload"].quiet_until == now + loop.back_off
    look = world(config(), starts=False).sidecar.observe()
    judged = Look(observation=replace(look, version="0.30.0"), before=state, state=state, now=now)
    assert judge_levers(judged, (), loop)[0].levers
    judged = replace(judged, observation=replace(look, version="0.99.0"))
    assert not judge_levers(judged, (), loop)[0].levers
    assert state_from_plain(state_to_plain(state)).levers == state.levers


@pytest.mark.parametrize("times", [1, FAILURES - 1])
def test_a_few_failures_change_nothing(times: int) -> None:
    """Lost wires and races are no drift: the pin is there in the end, and nothing stands."""
    scene = drifted(config(CODER={"pin": True}), None)
    scene.sidecar.faults.without_effect = times
    scene.run(3600.0)
    assert CODER in scene.resident()
    assert not scene.sidecar.loop.state.levers
    assert "lever_broken" not in scene.alarms()


def test_what_a_client_said_stands_if_an_unload_has_no_effect() -> None:
    """It goes on being the client's: warmset leaves its keep-alive alone, as before."""
    said = config(LoopSettings(min_residency=0.0), EMBED={"priority": 50})
    scene = drifted(said, SendUnload)
    scene.run(60.0)
    scene.host.use(EMBED, 1.0, keep_alive=2000.0)
    scene.run(120.0)
    assert scene.findings("lease_overwritten") == [EMBED]
    scene.sidecar.loop.configure(
        config(LoopSettings(min_residency=0.0), EMBED={"keep_alive": 30.0})
    )
    until(scene, lambda: scene.unloads() == [EMBED], 600.0)
    scene.sidecar.loop.configure(said)
    scene.run(900.0)
    assert scene.findings("unload_without_effect") == [EMBED]
    assert EMBED in scene.resident()
    assert scene.pings() == []
