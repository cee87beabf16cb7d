"""What is known of a queue that stands still, and whom a rescue may cost.

`test_fault_scenes.py` has the alarm and the rescue themselves, `tests/e2e/test_watchdog.py` plays
them with real processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from loop_hosts import EMBED, GIANT, SMALL, START, World, config, world
from test_fault_scenes import freeze

from warmset.core.control.actions import Unload
from warmset.core.control.config import Config
from warmset.core.control.drift import FAILURES
from warmset.core.control.orders import SendPreload
from warmset.core.control.state import LeverRecord, State
from warmset.core.control.step import step
from warmset.core.loop_settings import LoopSettings
from warmset.core.settings import ModelPolicy
from warmset.core.twin.sidecar_view import observe_twin

Change = Callable[[World, Config, State], tuple[Config, State]]


def test_a_host_where_all_that_is_wanted_is_there_is_not_loaded_for_a_proof() -> None:
    """Users' loads stand still for half an hour. Whoever wants nothing has no evidence of it, and
    loads nothing to get any."""
    scene = world(config(CODER={"pin": True}, SMALL={"priority": 10})).run(50)
    asked = len(scene.preloads())

    def use_all(host, keep: float) -> None:
        for row in host.residents():
            host.use(row.model.name, 20.0, keep_alive=keep)

    scene.at(60, lambda host: (use_all(host, 600.0), host.use(GIANT, 5.0)))
    scene.at(70, lambda host: use_all(host, 86400.0)).run(1800)
    assert GIANT not in [name for _, _, name in scene.loads()]
    assert len(scene.preloads()) == asked
    assert not scene.unloads()


def test_without_sight_of_processes_a_slow_load_is_told_and_nobody_goes_for_it() -> None:
    """A load behind a queue that stands still looks like a slow one: the alarm says both, the
    preload is called off at `load_limit`, and no rescue is tried on a guess."""
    loop = LoopSettings(may_rescue=True, load_limit=900.0)
    said = config(loop, CODER={"pin": True}, SMALL={"priority": 10})
    scene = freeze(world(said, sees_processes=False)).run(1000)
    assert "load_slow" in scene.alarms()
    assert "or Ollama loads nothing any more" in scene.texts("load_slow")[0]
    assert not scene.findings("load_aborted")
    scene.run(1400)
    assert scene.findings("load_aborted") == [EMBED]
    assert "loads_stuck" not in scene.alarms()
    assert not scene.unloads()


def test_a_server_that_says_nothing_is_waited_for_no_longer_than_any_other() -> None:
    """Our load is open when `/api/ps` falls silent, and stays open: the limit holds too."""
    loop = LoopSettings(load_limit=300.0)
    said = config(loop, CODER={"pin": True}, SMALL={"priority": 10})
    scene = freeze(world(said, sees_processes=False))
    while EMBED not in scene.preloads():
        scene.run(scene.now + 5.0)
    asked_at = scene.now
    scene.sidecar.answers_ps = False
    scene.run(asked_at + 290.0)
    assert not scene.findings("load_aborted")
    scene.run(asked_at + 340.0)
    assert scene.findings("load_aborted") == [EMBED]
    assert scene.sidecar.loop.state.orders.running is None
    scene.run(asked_at + 900.0)
    assert scene.preloads().count(EMBED) == 1


def test_after_a_load_that_was_given_up_the_next_one_waits_a_while() -> None:
    """A giant waits for a busy model, and ours behind it until their limit: another pin would wait
    in the same queue."""
    loop = LoopSettings(load_limit=60.0)
    scene = world(config(loop, CODER={"pin": True}, CHAT={"pin": True}), starts=False)
    scene.host.use(SMALL, 400.0)
    scene.run(5)
    scene.host.use(GIANT, 1.0)
    scene.sidecar.start()
    scene.run(300)
    sent = [at - START for at, c in scene.sidecar.log.sent if isinstance(c, SendPreload)]
    assert len(sent) >= 2
    assert sent[1] - sent[0] >= loop.load_limit + loop.calm


def _pinned(scene: World, said: Config, state: State) -> tuple[Config, State]:
    models = {**said.settings.models}
    models[SMALL] = replace(models[SMALL], pin=True)
    return replace(said, settings=replace(said.settings, models=models)), state


def _nobodys(scene: World, said: Config, state: State) -> tuple[Config, State]:
    models = {name: policy for name, policy in said.settings.models.items() if name != SMALL}
    return replace(said, settings=replace(said.settings, models=models)), state


def _just_used(scene: World, said: Config, state: State) -> tuple[Config, State]:
    return said, state.note(scene.key(SMALL), used_at=scene.host.timeline.now - 1.0)


def _deaf(scene: World, said: Config, state: State) -> tuple[Config, State]:
    until = scene.host.timeline.now + 600.0
    broken = LeverRecord(failures=FAILURES, broken_since=until - 1200.0, quiet_until=until)
    return said, replace(state, levers={"unload": broken})


def _forbidden(scene: World, said: Config, state: State) -> tuple[Config, State]:
    loop = replace(said.loop, may_rescue=False)
    return replace(said, settings=replace(said.settings, loop=loop)), state


def _in_conflict(scene: World, said: Config, state: State) -> tuple[Config, State]:
    models = {**said.settings.models, GIANT: ModelPolicy(name=GIANT, pin=True)}
    return replace(said, settings=replace(said.settings, models=models)), state


@pytest.mark.parametrize("change", [_pinned, _nobodys, _just_used, _deaf, _forbidden, _in_conflict])
def test_a_rescue_spares(change: Change) -> None:
    """Pins, what nobody configured, who was used a moment ago; and none is tried that is not
    allowed, with unloads that are known to do nothing, or where pins never fit together."""
    scene = freeze(world(config(CODER={"pin": True}, SMALL={"priority": 10})))
    while scene.sidecar.loop.state.stuck_since is None:
        assert scene.now < 1200.0
        scene.run(scene.now + 5.0)
    scene.run(scene.now + 20.0)
    now, state = scene.host.timeline.now, scene.sidecar.loop.state
    said = scene.sidecar.loop.config
    loop = replace(said.loop, may_rescue=True)
    said = replace(said, settings=replace(said.settings, loop=loop))

    def rescued(said: Config, state: State) -> list[str]:
        decision = step(observe_twin(scene.host), said, state, now)[1]
        return [order.name for order in decision.sends if isinstance(order, Unload)]

    assert rescued(said, state) == [SMALL]
    assert rescued(*change(scene, said, state)) == []


def test_the_rescue_takes_the_lowest_rank_that_is_idle() -> None:
    """Not the first that comes: the higher ranks keep their place."""
    loop = LoopSettings(may_rescue=True)
    said = config(loop, CODER={"pin": True}, SMALL={"priority": 10}, MEDIUM={"priority": 60})
    scene = world(said)
    more = config(
        loop,
        CODER={"pin": True},
        SMALL={"priority": 10},
        MEDIUM={"priority": 60},
        EMBED={"pin": True},
    )
    freeze(scene)
    scene.at(200, lambda _: scene.sidecar.loop.configure(more)).run(1200)
    assert scene.unloads()[:1] == [SMALL]
    assert scene.findings("loads_resumed")
