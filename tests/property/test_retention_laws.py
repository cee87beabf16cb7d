"""Laws of windows and keep-alives beside a pretended Ollama, whatever happens to it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from loop_hosts import CHAT, CODER, EMBED, SMALL, START, words, world
from test_control_laws import happen, stories

from warmset.core.control.orders import SendPreload, SendUnload
from warmset.core.loop_settings import LoopSettings
from warmset.core.windows import Span, parse_window

OPENS, CLOSES = 600.0, 1500.0
LEAD = 60.0  # longer than any load here and two ticks
PLAIN = words(
    {
        CODER: {"pin": True},
        CHAT: {"keep_alive": 240.0, "priority": 80},
        EMBED: {"keep_alive": 0.0},
    },
    LoopSettings(tick=10.0),
)


def said():
    """The coder is wanted in its window, the chat while it is used, the embedding never."""
    models = dict(PLAIN.settings.models)
    models[CODER] = replace(models[CODER], windows=(parse_window("daily 10:00-11:00"),))
    span = Span(start=START + OPENS, end=START + CLOSES)
    return replace(
        PLAIN, settings=replace(PLAIN.settings, models=models), openings={CODER: (span,)}
    )


def sent(scene, kind, name: str) -> list[float]:
    """Returns when commands of a kind were sent for a model."""
    log = scene.sidecar.log.sent
    return [at - START for at, c in log if isinstance(c, kind) and c.name == name]


@settings(max_examples=15)
@given(stories)
def test_what_is_not_wanted_is_not_fetched_and_leaves_in_the_end(story) -> None:
    """Whatever users do: no preload outside a window, no unload of a pin inside it, and half an
    hour of peace later nothing is left of what nobody wants any more."""
    scene = world(said())
    for at, event in story:
        scene.at(at, lambda _, event=event: happen(scene, event))
    scene.at(1900.0, lambda _: setattr(scene.sidecar, "answers_ps", True))
    scene.run(5400.0)
    assert all(OPENS - LEAD <= at < CLOSES for at in sent(scene, SendPreload, CODER))
    assert not [at for at in sent(scene, SendUnload, CODER) if OPENS <= at < CLOSES]
    assert sent(scene, SendPreload, EMBED) == []
    endless = {event[1] for _, event in story if event[0] == "use" and event[3] == float("inf")}
    left = scene.resident() & {CODER, CHAT, EMBED}
    assert left <= endless or not left


@settings(max_examples=10)
@given(stories)
def test_whoever_makes_way_fetches_nothing(story) -> None:
    """While another program is given way to, no model is loaded by warmset, pinned or not."""
    scene = world(replace(said(), yielding="a game"))
    for at, event in story:
        scene.at(at, lambda _, event=event: happen(scene, event))
    scene.run(2400.0)
    assert scene.preloads() == []


@settings(max_examples=10)
@given(stories)
def test_a_price_sends_nobody_away_whom_the_operator_keeps(story) -> None:
    """However dear memory is: pins stay, strangers are let be, and who was let go is not fetched
    again before somebody asked for it."""
    loop = LoopSettings(tick=10.0, price_per_gib_hour=60.0)
    scene = world(words({CODER: {"pin": True}, EMBED: {}, SMALL: {}}, loop))
    for at, event in story:
        scene.at(at, lambda _, event=event: happen(scene, event))
    scene.run(3600.0)
    assert set(scene.unloads()) <= {EMBED, SMALL}
    for name in (EMBED, SMALL):
        uses = [at for at, event in story if event[0] == "use" and event[1] == name]
        for left in sent(scene, SendUnload, name):
            later = [at for at in sent(scene, SendPreload, name) if at > left]
            assert not later or any(left - 30 < at < later[0] for at in uses)
