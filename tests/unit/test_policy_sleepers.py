"""Who sleeps is not looked at; who is asked for or whose time has come is."""

from hypothesis import given
from hypothesis import strategies as st

from warmset.core.policy.sleepers import Sleepers

STEPS = st.lists(
    st.tuples(st.sampled_from("wsa"), st.sampled_from("abc"), st.integers(1, 9)), max_size=40
)


@given(STEPS)
def test_exactly_those_whose_time_has_come_are_awake(steps):
    """After any story of waking and sleeping, the answer is that of a plain table of times."""
    sleepers, until, now = Sleepers(), {}, 0
    for what, model, seconds in steps:
        if what == "w":
            sleepers.wake(model)
            until[model] = now
        elif what == "s":
            sleepers.sleep(model, now + seconds)
            until[model] = now + seconds
        now += what == "a"
        assert set(sleepers.awake(now)) == {m for m, at in until.items() if at <= now}
        still = [at for at in until.values() if at > now]
        assert sleepers.first_wakes_at == min(still, default=float("inf"))
