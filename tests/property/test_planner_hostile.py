"""`pack` against trying everything, on instances that are meant to break it."""

import os

import pytest
from planner_hostile import exact, make_hostile, places, try_everything

from warmset.core.planner import pack
from warmset.errors import Refused

INSTANCES = int(os.environ.get("PLANNER_HOSTILE_INSTANCES", "800"))
BLOCK = 200
WORKS = (None, None, 0, 200, 3000)


def reached(packing, devices, models, limit):
    """What a packing is worth, class by class, once its placement is found to be allowed."""
    free = {d["id"]: d["bytes"] for d in devices}
    inside = {m["id"]: m for m in models if m["id"] in packing.placement}
    for name, place in packing.placement.items():
        parts = dict(place) if hasattr(place, "items") else {place: inside[name]["bytes"]}
        assert parts in places(inside[name], devices)
        for device, count in parts.items():
            free[device] -= count
    assert min(free.values()) >= 0
    assert limit is None or len(inside) <= limit
    assert all(m["id"] in inside for m in models if m["pinned"])
    assert {*packing.left_out, *inside} == {m["id"] for m in models}
    return tuple(
        sum(exact(m["value"]) for m in inside.values() if m["priority"] == level)
        for level in packing.objective
    )


def check(seed):
    devices, models, limit = make_hostile(seed)
    best = try_everything(devices, models, limit)
    work = WORKS[seed % len(WORKS)]
    try:
        packing = pack(devices, models, limit, **({} if work is None else {"work": work}))
    except Refused as refusal:
        named = [m for m in models if m["id"] in refusal.context["models"]]
        assert best is None
        assert try_everything(devices, named, limit) is None
        for one in named:
            rest = [m for m in named if m is not one]
            assert try_everything(devices, rest, limit) is not None
        return
    assert best is not None
    worth = reached(packing, devices, models, limit)
    assert worth <= best
    assert work is not None or packing.proved
    if packing.proved:
        assert (worth, packing.gap) == (best, 0)
    elif worth[0] < best[0]:  # the gap is that of the first class
        assert float(worth[0]) >= float(best[0]) * (1 - packing.gap) - 1e-9 * float(best[0])


@pytest.mark.parametrize("start", range(0, INSTANCES, BLOCK))
def test_nothing_hostile_is_packed_wrong(start):
    """Optimal and proved, or cut short within its gap, or refused by a smallest conflict."""
    for seed in range(start, min(start + BLOCK, INSTANCES)):
        try:
            check(seed)
        except Exception as error:
            raise AssertionError(f"make_hostile({seed})") from error
