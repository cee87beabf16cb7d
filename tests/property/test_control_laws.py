"""Laws of the loop beside a pretended Ollama, under any mix of demand and mishaps."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from loop_hosts import CARD, CHAT, CODER, EMBED, GIANT, MEDIUM, SMALL, START, gib, words, world

from warmset.core.control.orders import SendPing, SendPreload, SendUnload
from warmset.core.control.plain import from_plain, to_plain
from warmset.core.control.state import State, state_from_plain, state_to_plain
from warmset.core.control.step import step
from warmset.core.model import FOREVER
from warmset.core.twin.events import LoadStarted
from warmset.core.twin.sidecar_view import observe_twin

SAID = words(
    {
        CODER: {"pin": True, "priority": 90},
        CHAT: {"pin": True, "priority": 80},
        EMBED: {"priority": 60},
        SMALL: {"priority": 20, "preload": False},
    }
)
PINS = {CODER, CHAT}

uses = st.tuples(
    st.just("use"),
    st.sampled_from([CODER, CHAT, EMBED, SMALL, MEDIUM, GIANT]),
    st.sampled_from([0.5, 8.0, 40.0, 200.0]),
    st.sampled_from([None, 30.0, 300.0, 7200.0, FOREVER]),
)
mishaps = st.one_of(
    st.tuples(st.just("restart"), st.sampled_from([0.5, 20.0])),
    st.tuples(st.just("foreign"), st.sampled_from([0.3, 3.0, 8.0])),
    st.tuples(st.just("clock"), st.sampled_from([-4000.0, 4000.0])),
    st.tuples(st.just("deaf"), st.booleans()),
    st.tuples(st.just("oom")),
)
stories = st.lists(
    st.tuples(st.floats(0, 1800).map(lambda at: round(at, 1)), st.one_of(uses, uses, mishaps)),
    max_size=14,
)


def happen(scene, event) -> None:
    """Lets one event of a story happen to the host."""
    kind, *details = event
    host = scene.host
    if kind == "use" and host.is_up:
        host.use(details[0], details[1], keep_alive=details[2])
    elif kind == "restart" and host.is_up:
        host.restart(details[0])
    elif kind == "foreign":
        host.cards.set_foreign(CARD, min(gib(details[0]), host.cards.free(CARD)))
    elif kind == "clock":
        scene.sidecar.clock_ahead += details[0]
    elif kind == "deaf":
        scene.sidecar.answers_ps = not details[0]
    elif kind == "oom" and host.is_up:
        host.scheduler.runtime_oom()


def play(story, until=3600.0):
    """Returns a host with a loop that has lived through a story."""
    scene = world(SAID)
    for at, event in story:
        scene.at(at, lambda _, event=event: happen(scene, event))
    scene.at(1900.0, lambda _: setattr(scene.sidecar, "answers_ps", True))
    scene.run(until)
    return scene


def check_unloads(scene) -> None:
    """The only models that warmset lets go are managed and not pinned."""
    assert set(scene.unloads()) <= {EMBED, SMALL}


def check_silence(scene) -> None:
    """No write while a load is under way that a look has shown; one load of ours at most."""
    for begun, end, name in scene.loads():
        for at, command in scene.sidecar.log.sent:
            is_own = isinstance(command, SendPreload) and command.name == name
            inside = begun + SAID.loop.tick < at - START < end
            assert not inside or is_own, (begun, end, name, at - START, command)


def check_pings(scene, story) -> None:
    """Every load was asked for by a user or by a preload of ours, never by a ping.

    What nobody configured has no rank, and so gets no ping.
    """
    sent = scene.sidecar.log.sent
    assert {c.name for _, c in sent if isinstance(c, SendPing)} <= set(SAID.settings.models)
    pinged = {round(at, 6) for at, c in sent if isinstance(c, SendPing)}
    preloaded = {round(at, 6) for at, c in sent if isinstance(c, SendPreload)}
    started = {round(START + at, 6) for at, e in scene.events if isinstance(e, LoadStarted)}
    used = {round(START + at, 6) for at, event in story if event[0] == "use"}
    assert not (pinged & started) - used - preloaded


def check_reloads(scene) -> None:
    """In no ten minutes are there more preloads than models and the budget of reloads allow."""
    preloads = [at for at, c in scene.sidecar.log.sent if isinstance(c, SendPreload)]
    budget = SAID.loop.reloads_per_window + len(SAID.settings.models)
    for first in preloads:
        inside = [at for at in preloads if first <= at < first + SAID.loop.fight_window]
        assert len(inside) <= 2 * budget


@settings(max_examples=20)
@given(stories)
def test_the_promises_hold_whatever_happens(story) -> None:
    """Pins stay, loads are left in peace, pings load nothing, reloads are bounded."""
    scene = play(story, until=2700.0)
    check_unloads(scene)
    check_silence(scene)
    check_pings(scene, story)
    check_reloads(scene)


@settings(max_examples=8)
@given(stories)
def test_the_loop_settles_once_the_world_does(story) -> None:
    """After half an hour of peace there are no more loads or unloads for ten minutes."""
    scene = play(story, until=5400.0)
    late = [c for at, c in scene.sidecar.log.sent if at >= START + 4800.0]
    assert not [c for c in late if isinstance(c, SendPreload | SendUnload)]


@settings(max_examples=8)
@given(stories)
def test_a_state_survives_being_written_and_read(story) -> None:
    """Plain values carry everything but what is open, and the next decision is the same."""
    scene = play(story, until=1500.0)
    state = scene.sidecar.loop.state
    plain = json.loads(json.dumps(state_to_plain(state)))
    assert from_plain(State, plain) == state
    revived = state_from_plain(plain)
    assert revived.models == state.models
    now = scene.host.timeline.now + 1.0
    observation = observe_twin(scene.host, clock_ahead=scene.sidecar.clock_ahead)
    once = step(observation, SAID, revived, now)
    assert step(observation, SAID, revived, now) == once
    assert to_plain(once[1])
