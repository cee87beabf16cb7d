"""Leases are renewed and lost models brought back, never at the cost of somebody's load."""

from warmset.core.control.keep import Held, Preload, Renew, keep
from warmset.core.control.leases import lease_seconds
from warmset.core.model import FOREVER, ModelKey

A, B, C = (ModelKey(f"sha256:{letter}") for letter in "abc")
SLOTS = {A: 8, B: 16, C: 24}


def held(key: ModelKey, remaining: float | None, *, is_busy: bool = False) -> Held:
    return Held(key=key, remaining=remaining, is_busy=is_busy)


def test_a_clients_shorter_value_is_overwritten_with_the_lease() -> None:
    """A managed model that a client left at 5 minutes gets its rank back."""
    (action,) = keep([], SLOTS, [held(A, 300.0)], is_load_pending=False, admits=lambda _: True)
    assert isinstance(action, Renew)
    assert action.key == A
    assert action.keep_alive == lease_seconds(8)


def test_fresh_leases_and_strangers_are_left_alone() -> None:
    """No ping for a lease that stands, for what is not managed, for ever, or unknown."""
    stranger = ModelKey("sha256:x")
    looks = [held(A, lease_seconds(8)), held(stranger, 10.0), held(B, FOREVER), held(C, None)]
    assert not keep([], SLOTS, looks, is_load_pending=False, admits=lambda _: True)


def test_nothing_is_sent_while_a_load_is_pending() -> None:
    """Any sign of a load stops pings and preloads alike."""
    assert not keep([B], SLOTS, [held(A, 1.0)], is_load_pending=True, admits=lambda _: True)


def test_a_busy_model_is_not_pinged() -> None:
    """A ping to a model in use could resurrect an eviction victim."""
    looks = [held(A, 1.0, is_busy=True)]
    assert not keep([], SLOTS, looks, is_load_pending=False, admits=lambda _: True)


def test_one_preload_at_a_time_and_only_what_is_admitted() -> None:
    """The first wanted model that fits without an eviction is loaded, alone."""
    actions = keep([A, B, C], SLOTS, [], is_load_pending=False, admits=lambda key: key != A)
    assert [(type(a), a.key) for a in actions] == [(Preload, B)]
