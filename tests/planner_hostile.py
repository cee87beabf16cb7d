"""Small instances that are meant to break `pack`, by seed, and what trying everything says of them.

Sizes from single bytes to a pebibyte, equal values and none, sizes that add up or miss by one,
doubles, models for one device, pins that conflict, priorities below zero, fractions of values.
"""

import random
from fractions import Fraction

SCALES = (1, 1, 1, 1 << 20, 1 << 30, (1 << 40) + 12345, 1 << 44)
PRIORITIES = ([50], [1, 50], [-5, 0, 7], [90, 50, 10, -10], [1.5, 1.25], [-1, -2])
SHAPES = ("any", "equal", "value is size", "tight", "thirds", "alike", "large", "nothing", "near")


def make_hostile(seed, most_models=7, most_devices=3):
    """(devices, models, max_loaded) of one seed."""
    chance = random.Random(f"hostile {seed}")
    shape = chance.choice(SHAPES)
    devices = _devices(chance, shape, chance.randint(1, most_devices))
    priorities = chance.choice(PRIORITIES)
    doubles = chance.choice((0, 0, 0.6))
    models = []
    for number in range(chance.randint(0, most_models)):
        if models and chance.random() < doubles:
            models.append({**chance.choice(models), "id": f"m{number}"})
        else:
            models.append(_model(chance, shape, number, devices, priorities))
    return devices, models, chance.choice((None, None, chance.randint(0, most_models)))


def _devices(chance, shape, count):
    scale = chance.choice(SCALES)
    top = chance.choice((4, 10, 24, 60))
    sizes = [max(1, chance.randint(1, top) * scale - chance.randrange(scale)) for _ in range(count)]
    if shape == "near":
        sizes = [max(1, sizes[0] + chance.randint(-2, 2)) for _ in sizes]
    elif chance.random() < 0.5:
        sizes = sizes[:1] * count
    names = chance.choice(("gpu{}", "{}", None))
    return [
        {"id": n if names is None else names.format(n), "bytes": size}
        for n, size in enumerate(sizes)
    ]


def _model(chance, shape, number, devices, priorities):
    largest = max(d["bytes"] for d in devices)
    size = largest * chance.choice((chance.uniform(0.02, 0.6), chance.uniform(0.3, 1.4)))
    if shape == "equal":
        size = largest // 3 + chance.choice((0, 0, 0, 1))
    elif shape == "tight":
        size = largest * chance.uniform(0.3, 0.7)
    elif shape == "thirds":
        size = largest // 3 + chance.randint(-1, 1)
    elif shape == "near":
        size = largest // chance.choice((1, 2, 2, 3)) + chance.randint(-2, 2)
    elif shape == "large":
        size = largest * chance.uniform(0.8, len(devices) + 0.5)
    size = max(1, int(size))
    value = chance.choice((chance.randint(0, 9), chance.randint(0, 99) / 10, chance.random()))
    if shape == "value is size":
        value = size
    elif shape == "alike":
        value = chance.choice((3, 3, 4))
    elif shape == "nothing":
        value = chance.choice((0, 0.0, 1))
    return {
        "id": f"m{number}",
        "bytes": size,
        "value": value,
        "priority": chance.choice(priorities),
        "pinned": chance.random() < 0.12,
        "device": chance.choice(devices)["id"] if chance.random() < 0.2 else None,
        "splittable": chance.random() < 0.5,
    }


def places(model, devices):
    """Where a model may lie, as device -> bytes."""
    total, largest = sum(d["bytes"] for d in devices), max(d["bytes"] for d in devices)
    if model["device"] is not None:
        return [{model["device"]: model["bytes"]}]
    if not model["splittable"] or model["bytes"] <= largest:
        return [{d["id"]: model["bytes"]} for d in devices]
    parts, passed, given = {}, 0, 0
    for d in devices:
        passed += d["bytes"]
        until = model["bytes"] * passed // total
        parts[d["id"]] = until - given
        given = until
    return [parts]


def exact(value):
    """A value as the decimal number that it is written as."""
    return Fraction(repr(value)) if isinstance(value, float) else Fraction(value)


def try_everything(devices, models, limit):
    """The best objective, class by class; `None` where the pins do not fit together."""
    levels = sorted({m["priority"] for m in models}, reverse=True)
    reached = {(tuple(d["bytes"] for d in devices), 0): (Fraction(0),) * len(levels)}
    for m in models:
        level, value = levels.index(m["priority"]), exact(m["value"])
        after = {} if m["pinned"] else dict(reached)
        for (free, count), worth in reached.items():
            if limit is not None and count >= limit:
                continue
            grown = (*worth[:level], worth[level] + value, *worth[level + 1 :])
            for place in places(m, devices):
                left = tuple(n - place.get(d["id"], 0) for n, d in zip(free, devices, strict=True))
                if min(left) >= 0:
                    key = (left, count + 1)
                    after[key] = max(after.get(key, grown), grown)
        reached = after
    return max(reached.values(), default=None)
