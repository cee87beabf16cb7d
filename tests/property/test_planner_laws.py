"""Laws of every plan, whatever the host and its models."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from planner_hosts import applied, gpu, host, model, names, resident

from warmset.core.model import ModelKey
from warmset.core.planner import ActionKind, Denied, Verdict, fit, plan, try_load

SIZES = st.integers(min_value=2, max_value=56).map(lambda n: n / 2)


@st.composite
def models(draw, *, most=6, gpus=2):
    count = draw(st.integers(min_value=1, max_value=most))
    made = []
    for number in range(count):
        size = draw(SIZES)
        made.append(
            model(
                f"m{number}",
                size,
                upper=size + draw(st.sampled_from((0, 0.5, 2))),
                forecast=max(1.0, size * draw(st.sampled_from((0.6, 1, 1.3)))),
                priority=draw(st.sampled_from((10, 50, 90))),
                value=draw(st.integers(min_value=0, max_value=20)),
                pin=draw(st.sampled_from((False, False, False, True))),
                ram=draw(st.sampled_from((0, 1))),
            )
        )
    return tuple(made)


@st.composite
def hosts(draw, *, least=1, most=3):
    sizes = draw(st.lists(st.integers(4, 32), min_size=least, max_size=most))
    gpus = tuple(
        gpu(n, size, usable=size - draw(st.sampled_from((0, 1, 3)))) for n, size in enumerate(sizes)
    )
    return host(gpus=gpus, ram=draw(st.sampled_from((3, 256))), maximum=draw(st.integers(0, 4)))


def objective(outcome):
    return tuple(outcome.objective.values()) if outcome.conflict is None else None


@given(models(), hosts())
def test_no_plan_exceeds_a_budget(candidates, machine):
    """Upper bounds stay within each GPU's budget, RAM and the maximum of loaded models."""
    outcome = plan(candidates, machine)
    for card in machine.gpus:
        assert sum(m.upper.get(card.id, 0) for m in outcome.members) <= card.usable_bytes
    assert sum(m.ram_bytes for m in outcome.members) <= machine.ram_bytes
    assert len(outcome.members) <= machine.max_count


@given(models(), hosts())
def test_ollama_loads_every_plan_in_its_order_without_an_eviction(candidates, machine):
    """Run through Ollama's rules step by step, the order ends with all members where planned."""
    outcome = plan(candidates, machine)
    by_key = {c.key: c for c in candidates}
    worlds = ((),)
    for key in outcome.order:
        after = []
        for world in worlds:
            step = try_load(machine, world, by_key[key])
            assert not isinstance(step, Denied)
            after += step
        worlds = tuple(after)
    planned = {m.key: dict(m.upper) for m in outcome.members}
    assert planned in [{m.candidate.key: dict(m.upper) for m in world} for world in worlds]


@given(models(), hosts())
def test_pins_are_all_in_or_the_plan_is_refused(candidates, machine):
    """A plan holds every pin; otherwise it is refused and names pins only."""
    outcome = plan(candidates, machine)
    pins = {c.name for c in candidates if c.pin}
    if outcome.conflict is None:
        assert pins <= names(outcome)
    else:
        assert set(outcome.conflict.names) <= pins
        assert outcome.verdict is Verdict.REFUSED


@given(models(), hosts(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(candidates, machine, chance):
    """Shuffled candidates give the same plan."""
    shuffled = list(candidates)
    chance.shuffle(shuffled)
    assert plan(tuple(shuffled), machine) == plan(candidates, machine)


@given(models(), hosts())
def test_every_model_is_a_member_or_left_out_with_a_reason(candidates, machine):
    """Nobody is forgotten, and nobody is left out without a word."""
    outcome = plan(candidates, machine)
    outside = {entry.name for entry in outcome.left_out}
    assert outside | names(outcome) == {c.name for c in candidates}
    assert not outside & names(outcome)
    assert all(entry.reason for entry in outcome.left_out)


@given(models(), hosts())
def test_applied_a_plan_has_nothing_left_to_do(candidates, machine):
    """From the planned state the same plan follows, without a change."""
    first = plan(candidates, machine)
    if first.conflict is not None:
        return
    again = plan(applied(candidates, first), machine)
    assert names(again) == names(first)
    assert again.changes == ()


@given(models(), hosts(least=1, most=1), st.data())
def test_actions_never_unload_a_pin_for_good(candidates, machine, data):
    """Whatever is resident, a pin that is unloaded is loaded again by the same plan."""
    there = tuple(
        resident(c, 0) if data.draw(st.booleans()) and c.on_one.upper_bytes < 2**33 else c
        for c in candidates
    )
    outcome = plan(there, machine)
    loaded = {a.name for a in outcome.actions if a.kind is ActionKind.PRELOAD}
    for action in outcome.actions:
        if action.kind is ActionKind.UNLOAD and any(c.pin for c in there if c.name == action.name):
            assert action.name in loaded


@given(models(gpus=1), hosts(least=1, most=1), st.integers(1, 16))
def test_on_one_gpu_more_memory_never_makes_a_plan_worse(candidates, machine, more):
    """At fixed context, batch and maximum the objective does not fall when the GPU grows."""
    old = machine.gpus[0]
    grown = gpu(0, old.gpu.total_bytes / 2**30 + more, usable=old.usable_bytes / 2**30 + more)
    before = plan(candidates, machine)
    after = plan(candidates, replace(machine, gpus=(grown,)))
    if before.conflict is None:
        assert after.conflict is None
        assert objective(after) >= objective(before)


@given(models(gpus=1), hosts(least=1, most=1), st.integers(1, 16))
def test_on_one_gpu_more_memory_never_makes_a_verdict_worse(candidates, machine, more):
    """At fixed context, batch and maximum a verdict only improves when the GPU grows."""
    order = list(Verdict)
    old = machine.gpus[0]
    grown = gpu(0, old.gpu.total_bytes / 2**30 + more, usable=old.usable_bytes / 2**30 + more)
    wanted = [ModelKey(c.key) for c in candidates[:2]]
    before = fit(wanted, candidates, machine).verdict
    after = fit(wanted, candidates, replace(machine, gpus=(grown,))).verdict
    assert order.index(after) <= order.index(before)


@settings(max_examples=50)
@given(models(most=5), hosts(least=1, most=1))
def test_on_one_gpu_no_better_set_exists(candidates, machine):
    """Against all subsets in all orders, the plan's objective is the best."""
    outcome = plan(candidates, machine)
    if outcome.conflict is not None:
        return
    priorities = sorted({c.priority for c in candidates}, reverse=True)
    best = None
    for mask in range(1 << len(candidates)):
        chosen = [c for n, c in enumerate(candidates) if mask >> n & 1]
        if not all(c in chosen for c in candidates if c.pin):
            continue
        value = tuple(sum(c.value for c in chosen if c.priority == p) for p in priorities)
        if (best is None or value > best) and loads_in_some_order(machine, (), chosen):
            best = value
    assert objective(outcome) == best


@settings(max_examples=40)
@given(models(most=4), hosts(least=2, most=3))
def test_on_several_gpus_what_is_called_proved_is_the_best(candidates, machine):
    """Against all subsets in all orders: proved is best, and no gap hides what is better."""
    outcome = plan(candidates, machine)
    if outcome.conflict is not None:
        return
    priorities = sorted({c.priority for c in candidates}, reverse=True)
    best = objective(outcome)
    for mask in range(1 << len(candidates)):
        chosen = [c for n, c in enumerate(candidates) if mask >> n & 1]
        if not all(c in chosen for c in candidates if c.pin):
            continue
        value = tuple(sum(c.value for c in chosen if c.priority == p) for p in priorities)
        if value > best and loads_in_some_order(machine, (), chosen):
            best = value
    if outcome.is_proved:
        assert objective(outcome) == best
    for ours, theirs in zip(objective(outcome), best, strict=True):
        if ours != theirs:
            assert (theirs - ours) / theirs <= outcome.gap + 1e-9
            break


def loads_in_some_order(machine, world, rest):
    if not rest:
        return True
    for c in rest:
        step = try_load(machine, world, c)
        if not isinstance(step, Denied) and all(
            loads_in_some_order(machine, after, [o for o in rest if o is not c]) for after in step
        ):
            return True
    return False
