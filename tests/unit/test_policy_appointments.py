"""Models on timers: the order of their loads, and what they are worth until they are due."""

import pytest

from warmset.core.policy import Held, ModelCost
from warmset.core.policy.appointments import Appointments

GB = 1_000_000_000
BEATS = 20


def cost(name, load_seconds=10.0, **facts):
    return ModelCost(id=name, bytes=4 * GB, load_seconds=load_seconds, **facts)


def taught(*models, period=600.0):
    """Appointments of models that all run on the same beat."""
    appointments = Appointments({m.id: m for m in models})
    for k in range(BEATS):
        for m in models:
            appointments.requested(k * period, m.id)
    return appointments


def held(model):
    return Held(
        id=model.id, bytes=model.bytes, load_seconds=model.load_seconds, loaded_at=0, last_used=0
    )


def test_loads_of_one_beat_follow_one_another_and_all_end_in_time():
    """With one loader the first load begins early enough for all of them."""
    rows = [cost(f"m{i}", 10.0 + i) for i in range(4)]
    found = taught(*rows).schedule(BEATS * 600.0 - 300.0, ())
    at = found[0].start
    for appointment in found:
        assert at <= appointment.start + 1e-6
        at += appointment.model.load_seconds
    assert at < BEATS * 600.0


def test_what_is_there_or_may_not_be_fetched_has_no_appointment():
    """Residents and models with `preload = false` are left out."""
    rows = [cost("a"), cost("b", may_preload=False), cost("c")]
    found = taught(*rows).schedule(BEATS * 600.0 - 300.0, {"a"})
    assert [a.model.id for a in found] == ["c"]


def test_a_period_with_no_time_for_a_reload_is_no_appointment():
    """A model that takes half its period to load is better kept."""
    slow = cost("slow", load_seconds=400.0)
    appointments = taught(slow)
    assert appointments.timer("slow") is None
    assert appointments.schedule(BEATS * 600.0, ()) == []


def test_between_its_beats_a_model_is_worth_no_more_than_its_reload():
    """Far from its beat it goes cheaply; shortly before it, it is worth nearly a load."""
    model = cost("m")
    appointments = taught(model)
    last = (BEATS - 1) * 600.0
    far = appointments.loss(last + 60, held(model), 0.9, 0.0, 0.0)
    near = appointments.loss(last + 580, held(model), 0.2, 0.0, 0.0)
    assert far == pytest.approx(0.1)
    assert near > 0.9


def test_without_a_timer_the_law_decides():
    """A model with no timer keeps the value its gap law gives it."""
    model = cost("m")
    appointments = Appointments({"m": model})
    appointments.requested(0.0, "m")
    assert appointments.loss(10.0, held(model), 0.37, 0.2, 0.0) == 0.37
    assert appointments.wait(10.0, "m") == 0.0
