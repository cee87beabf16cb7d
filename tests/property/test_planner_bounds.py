"""What bounds the planner's search: fillings, linear programs, and knapsacks of any prices."""

from dataclasses import replace
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from warmset.core.planner.columns import Column, Columns
from warmset.core.planner.descent import Descent
from warmset.core.planner.filling import Shelf, by_density, fill_best
from warmset.core.planner.gather import Room
from warmset.core.planner.ground import Ground
from warmset.core.planner.prices import Pricing
from warmset.core.planner.problem import Effort, Item, Problem
from warmset.core.planner.program import Aim, Prices, Program
from warmset.core.planner.refill import Refill
from warmset.core.planner.search import solve
from warmset.core.planner.shake import Shake

ROWS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 20)), max_size=9)


def best_by_trying(rows, room):
    best = 0
    for mask in range(1 << len(rows)):
        chosen = [row for n, row in enumerate(rows) if mask >> n & 1]
        if sum(w for w, _ in chosen) <= room:
            best = max(best, sum(p for _, p in chosen))
    return best


@given(ROWS, st.integers(0, 80))
def test_a_filling_is_the_best_of_all(rows, room):
    """Its profit is that of the best subset that fits, and it is a subset that fits."""
    listed = sorted([(w, p, n) for n, (w, p) in enumerate(rows)], key=by_density)
    filled = fill_best(listed, room, 10_000)
    assert filled.profit == filled.bound == best_by_trying(rows, room)
    assert sum(rows[n][0] for n in filled.items) <= room
    assert sum(rows[n][1] for n in filled.items) == filled.profit


@given(ROWS, st.integers(0, 80), st.integers(0, 6))
def test_a_filling_cut_short_still_bounds(rows, room, steps):
    """However few steps it had, no subset exceeds its bound; many units are not tabulated."""
    many = 1_000_000
    listed = sorted([(w * many, p, n) for n, (w, p) in enumerate(rows)], key=by_density)
    filled = fill_best(listed, room * many, steps)
    assert filled.profit <= best_by_trying(rows, room) <= filled.bound


@st.composite
def problems(draw):
    capacities = draw(st.lists(st.integers(1, 30), min_size=1, max_size=3))
    places = range(len(capacities))
    items = []
    for _ in range(draw(st.integers(0, 5))):
        size = draw(st.integers(1, 25))
        whole = tuple(((r, size),) for r in places if draw(st.booleans()))
        split = (tuple((r, size // len(capacities) + 1) for r in places),)
        items.append(Item(level=0, value=1, options=draw(st.sampled_from((whole, split)))))
    limit = draw(st.none() | st.integers(0, 4))
    return Problem(
        capacities=tuple(capacities), items=tuple(items), packed=len(capacities), max_count=limit
    )


def choices(problem):
    """Every feasible set of items."""

    def extend(number, free, chosen):
        if number == len(problem.items):
            yield chosen
            return
        yield from extend(number + 1, free, chosen)
        for use in problem.items[number].options:
            left = list(free)
            for r, amount in use:
                left[r] -= amount
            if min(left) >= 0:
                yield from extend(number + 1, left, (*chosen, number))

    for chosen in extend(0, problem.capacities, ()):
        if problem.max_count is None or len(chosen) <= problem.max_count:
            yield chosen


@given(problems(), st.data())
def test_the_knapsack_of_any_prices_holds_every_choice(problem, data):
    """Whatever the prices are, what is feasible weighs no more than the limit."""
    price = st.floats(0, 1000) | st.sampled_from((0.0, 1.0, 1e-12))
    of = [data.draw(price) for _ in problem.items]
    place = 0.0 if problem.max_count is None else data.draw(st.floats(0, 100))
    surrogate = Pricing(problem).surrogate(Prices(of, [], place), Effort(1000))
    for chosen in choices(problem):
        assert sum(surrogate.weights[n] for n in chosen) <= surrogate.limit


def test_a_linear_program_ends_at_its_optimum():
    """Two columns that share a row: the duals say what each row is worth."""
    program = Columns([4.0, 6.0], [0.0, 0.0], [inf, inf])
    columns = [Column(3.0, {0: 1.0}), Column(5.0, {0: 1.0, 1: 2.0})]
    while any(program.enter(column, n) for n, column in enumerate(columns)):
        pass
    assert not program.settle()
    assert [round(dual, 3) for dual in program.duals] == [3.0, 1.0]
    assert [(round(n), tag) for n, tag in program.used()] == [(3, 1), (1, 0)]


def test_a_row_that_asks_for_something_is_met():
    """The shortfall of a row with a least amount leaves the basis once a column can meet it."""
    program = Columns([1.0, 2.0], [0.0, -100.0], [inf, 0.0])
    assert program.enter(Column(-1.0, {0: 0.5, 1: 2.0}), 0)
    assert [(round(n), tag) for n, tag in program.used()] == [(1, 0)]


def test_duals_stay_in_their_box_and_move_with_it():
    """A row's rest is sold at 1 and more of it bought at 2, until the box is moved."""
    program = Columns([1.0, 5.0], [1.0, 0.0], [2.0, inf])
    both = Column(3.0, {0: 1.0, 1: 1.0})
    assert program.duals == [1.0, 0.0]
    while program.enter(both, 0) or program.settle():
        pass
    assert [round(dual, 3) for dual in program.duals] == [2.0, 1.0]
    program.move([0.0, 0.0], [9.0, inf])
    while program.enter(both, 0) or program.settle():
        pass
    assert [round(dual, 3) for dual in program.duals] == [3.0, 0.0]


@given(ROWS, st.integers(0, 80), st.integers(0, 6), st.integers(1, 9))
def test_a_filling_cut_short_is_tabulated_where_units_are_few(rows, room, steps, unit):
    """However few steps it had, weights in whole units give the best subset."""
    listed = sorted([(w * unit, p, n) for n, (w, p) in enumerate(rows)], key=by_density)
    filled = fill_best(listed, room * unit + unit // 2, steps, unit=unit)
    assert filled.profit == filled.bound == best_by_trying(rows, room)
    assert sum(rows[n][0] for n in filled.items) <= room
    assert sum(rows[n][1] for n in filled.items) == filled.profit


@given(ROWS, st.integers(0, 80), st.integers(0, 6), st.integers(2, 9))
def test_a_table_in_units_never_understates_what_fits(rows, room, steps, unit):
    """Parts of models that are split are no whole units: they are rounded in their favour."""
    listed = sorted([(w, p, n) for n, (w, p) in enumerate(rows)], key=by_density)
    assert fill_best(listed, room, steps, unit=unit).bound >= best_by_trying(rows, room)


@st.composite
def pinned_problems(draw):
    """Problems with pins, some with a single option, and conflicts."""
    problem = draw(problems())
    items = tuple(
        item._replace(
            level=draw(st.integers(0, 1)),
            value=draw(st.integers(0, 5)),
            is_mandatory=bool(item.options) and draw(st.booleans()),
            options=item.options[: draw(st.sampled_from((1, 3)))],
        )
        for item in problem.items
    )
    if not items:
        return problem
    some = st.frozensets(st.sampled_from(range(len(items))), min_size=1, max_size=3)
    return replace(problem, items=items, conflicts=tuple(draw(st.lists(some, max_size=2))))


@given(pinned_problems())
def test_what_is_settled_beforehand_changes_no_answer(problem):
    """Pins with one place are taken off first; the best value per level is that of all sets."""
    items = problem.items
    pins = {n for n, item in enumerate(items) if item.is_mandatory}
    values = [
        [sum(items[n].value for n in chosen if items[n].level == level) for level in (0, 1)]
        for chosen in choices(problem)
        if pins.issubset(chosen) and not any(c.issubset(chosen) for c in problem.conflicts)
    ]
    found = solve(problem)
    if not values:
        assert found is None
        return
    assert found.is_proved
    assert [*found.objective, 0, 0][:2] == max(values)
    assert pins <= found.chosen.keys()


def test_items_that_are_alike_share_a_row_and_take_turns():
    """Two fillings of the same kind of items, in use together, name different items."""
    shelf = Shelf(gpus=(0, 1), capacity=2, rows=tuple((n, 1, 1.0) for n in range(4)), unit=1)
    aim = Aim(
        values=[1.0] * 4,
        earlier=(),
        open_items=(0, 1, 2, 3),
        forced=(),
        whole=0.0,
        enough=0.0,
        places=None,
    )
    program = Program([shelf], aim, Prices([0.5] * 4, []), alike=[0] * 4)
    program.take([program.column(0, (0, 1))], Effort(100))
    assert sorted(n for _, items in program.used() for n in items) == [0, 1, 2, 3]


@given(problems())
def test_a_shaken_set_is_allowed_and_worth_no_less(problem):
    """Whatever chance does, limits hold and no value is lost."""
    ground = Ground(problem)
    before = ground.mandatory()
    after = Shake(ground, Refill(ground).places).improve(before, 0, 9, Effort(500))
    assert after.values >= before.values
    assert frozenset(after.chosen) in {frozenset(found) for found in choices(problem)}
    assert min(after.free) >= 0


def test_looking_for_room_where_there_is_none_costs_steps():
    """GPUs without free room raise no question, but looking at all groups of them takes time."""
    effort = Effort(100)
    state = Room([[n] for n in range(16)], [0] * 16, dict.fromkeys(range(16), 10), effort)
    assert not state.make_room({0: 5})
    assert effort.is_spent


@st.composite
def levelled_problems(draw):
    """Two levels; some items go anywhere, others are bound to one GPU."""
    packed = draw(st.integers(1, 3))
    items = []
    for _ in range(draw(st.integers(1, 7))):
        size, place = draw(st.integers(1, 6)), draw(st.none() | st.integers(0, packed - 1))
        where = range(packed) if place is None else (place,)
        items.append(
            Item(
                level=draw(st.integers(0, 1)),
                value=draw(st.integers(0, 4)),
                options=tuple(((r, size),) for r in where),
            )
        )
    capacities = tuple(draw(st.lists(st.integers(1, 10), min_size=packed, max_size=packed)))
    limit = draw(st.none() | st.integers(0, 4))
    return Problem(capacities=capacities, items=tuple(items), packed=packed, max_count=limit)


@given(levelled_problems())
def test_narrowing_down_leaves_a_best_set(problem):
    """Whatever is ruled out or in, for a bound or for a rival, some best set is still there."""
    ground = Ground(problem)

    def values(chosen):
        return [
            sum(problem.items[n].value for n in chosen if problem.items[n].level == level)
            for level in range(ground.levels)
        ]

    sets = [frozenset(found) for found in choices(problem)]
    best = max(map(values, sets))
    for level in range(ground.levels):
        kept = [some for some in sets if values(some)[:level] == best[:level]]
        worst = min(kept, key=lambda some: values(some)[level])
        tree = Descent(ground, ground.mandatory(), ground.hold(worst))
        view = tree.narrow(level, Effort(1000))
        if values(worst)[level] == best[level]:
            continue
        there = {n for n in range(len(problem.items)) if problem.items[n].level <= level}
        assert any(
            values(some)[level] == best[level]
            and view.root.chosen.keys() <= some & there <= {*view.root.chosen, *view.order}
            for some in kept
        )


def test_a_rival_of_a_bound_model_is_no_larger():
    """What could go where a model is bound, and would not fit there, rules it out of no set."""
    sizes = [(4, 8, (0, 1)), (2, 4, (0,)), (3, 6, (1,))]
    items = [
        Item(level=0, value=value, options=tuple(((r, size),) for r in where))
        for size, value, where in sizes
    ]
    ground = Ground(Problem(capacities=(3, 4), items=tuple(items), packed=2))
    assert ground.rivals.of(1) == 0
