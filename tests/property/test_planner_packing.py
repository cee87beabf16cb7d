"""Laws of `pack`, and equality with trying everything on small cases."""

from hypothesis import given
from hypothesis import strategies as st

from warmset.core.planner.candidates import split_in_proportion
from warmset.core.planner.packing import pack
from warmset.errors import Refused

DEVICES = st.lists(st.integers(1, 24), min_size=1, max_size=3).map(
    lambda sizes: [{"id": f"g{n}", "bytes": size} for n, size in enumerate(sizes)]
)
LIMITS = st.none() | st.integers(0, 5)


@st.composite
def instances(draw, *, most=6):
    devices = draw(DEVICES)
    models = [
        {
            "id": f"m{n}",
            "bytes": draw(st.integers(1, 30)),
            "value": draw(st.integers(0, 9)) / draw(st.sampled_from((1, 3, 10))),
            "priority": draw(st.sampled_from((1, 50))),
            "pinned": draw(st.sampled_from((False, False, False, True))),
            "device": draw(st.sampled_from((None, None, None, devices[0]["id"]))),
            "splittable": draw(st.booleans()),
        }
        for n in range(draw(st.integers(0, most)))
    ]
    return devices, models, draw(LIMITS)


def packed(instance):
    try:
        return pack(*instance)
    except Refused:
        return None


def loads(packing, models):
    taken = {}
    sizes = {m["id"]: m["bytes"] for m in models}
    for name, place in packing.placement.items():
        parts = {place: sizes[name]} if isinstance(place, str) else place
        assert sum(parts.values()) == sizes[name]
        for device, count in parts.items():
            taken[device] = taken.get(device, 0) + count
    return taken


def options(model, devices):
    sizes = [d["bytes"] for d in devices]
    if model["device"] is not None:
        return [{model["device"]: model["bytes"]}]
    if model["splittable"] and model["bytes"] > max(sizes):
        parts = split_in_proportion(model["bytes"], sizes)
        return [{d["id"]: part for d, part in zip(devices, parts, strict=True)}]
    return [{d["id"]: model["bytes"]} for d in devices]


def fits(models, devices):
    def place(rest, free):
        if not rest:
            return True
        for option in options(rest[0], devices):
            left = {d: n - option.get(d, 0) for d, n in free.items()}
            if min(left.values()) >= 0 and place(rest[1:], left):
                return True
        return False

    return place(models, {d["id"]: d["bytes"] for d in devices})


@given(instances())
def test_nothing_better_exists(instance):
    """Against every subset, the objective is the lexicographic best, and it is proved."""
    devices, models, limit = instance
    best = None
    for mask in range(1 << len(models)):
        chosen = [m for n, m in enumerate(models) if mask >> n & 1]
        if any(m["pinned"] and m not in chosen for m in models):
            continue
        if (limit is not None and len(chosen) > limit) or not fits(chosen, devices):
            continue
        value = tuple(
            round(sum(m["value"] for m in chosen if m["priority"] == p), 6) for p in (50, 1)
        )
        best = value if best is None else max(best, value)
    packing = packed(instance)
    if packing is None:
        assert best is None
        return
    assert packing.proved
    assert best == tuple(round(packing.objective.get(p, 0), 6) for p in (50, 1))


@given(instances())
def test_no_device_and_no_limit_is_exceeded(instance):
    """Bytes per device, the maximum, and each model's own binding hold."""
    devices, models, limit = instance
    packing = packed(instance)
    if packing is None:
        return
    sizes = {d["id"]: d["bytes"] for d in devices}
    assert all(count <= sizes[d] for d, count in loads(packing, models).items())
    assert limit is None or len(packing.placement) <= limit
    for m in models:
        if m["device"] is not None and m["id"] in packing.placement:
            assert packing.placement[m["id"]] == m["device"]
        assert (m["id"] in packing.placement) != (m["id"] in packing.left_out)


@given(instances(), st.randoms(use_true_random=False))
def test_the_order_of_the_models_does_not_matter(instance, chance):
    """Shuffled input has the same objective."""
    devices, models, limit = instance
    shuffled = list(models)
    chance.shuffle(shuffled)
    one, other = packed(instance), packed((devices, shuffled, limit))
    assert (one is None) == (other is None)
    if one is not None:
        assert dict(one.objective) == dict(other.objective)


@given(instances(), st.integers(1, 10))
def test_more_bytes_never_lower_the_objective(instance, more):
    """Where no model has to split, a larger device never makes the packing worse."""
    devices, models, limit = instance
    whole = [{**m, "splittable": False} for m in models]
    grown = [{**devices[0], "bytes": devices[0]["bytes"] + more}, *devices[1:]]
    before, after = packed((devices, whole, limit)), packed((grown, whole, limit))
    if before is not None:
        assert after is not None
        assert list(after.objective.values()) >= list(before.objective.values())


@given(instances())
def test_a_refusal_names_a_smallest_conflict(instance):
    """The named pins do not fit together, and all but any one of them do."""
    devices, models, limit = instance
    try:
        pack(*instance)
    except Refused as refusal:
        named = [m for m in models if m["id"] in refusal.context["models"]]
        assert all(m["pinned"] for m in named)
        assert (limit is not None and len(named) > limit) or not fits(named, devices)
        for m in named:
            rest = [o for o in named if o is not m]
            assert fits(rest, devices)
            assert limit is None or len(rest) <= limit
