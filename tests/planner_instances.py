"""Packing instances by seed: the ordinary, and those that are hard on purpose. Sizes are in MiB."""

import random

GIB = 1 << 10
KINDS = ("mixed", "uneven", "tight", "alike", "subset-sum", "bound", "places")


def make_instance(kind, seed, models, devices):
    """One instance with whole values. `kind` is one of `KINDS`."""
    chance = random.Random(f"{kind} {seed} {models} {devices}")
    sizes = [chance.choice((12, 24, 48, 80)) * GIB for _ in range(devices)]
    if kind in {"tight", "alike"}:
        sizes = [24 * GIB] * devices
    places = [{"id": f"gpu{n}", "bytes": size} for n, size in enumerate(sizes)]
    rows = [_model(kind, n, chance, places) for n in range(models)]
    limit = chance.choice((None, None, max(1, models // 3)))
    if kind == "places":  # fewer than fit by bytes
        limit = max(1, models * 3 // 10)
    return {"devices": places, "models": rows, "max_loaded": limit}


def _model(kind, number, chance, places):
    size = round(chance.uniform(0.5, 40) * 2) * GIB // 2
    value = chance.randint(1, 100)
    if kind == "uneven":
        size = chance.randrange(1, 40 * GIB)
    if kind == "tight":  # two or one to a device
        size = chance.randrange(8 * GIB, 16 * GIB)
    if kind == "alike":
        size, value = chance.choice((5, 7, 11)) * GIB, chance.choice((3, 4, 6))
    if kind == "subset-sum":
        value = max(1, size * 4 // GIB)
    if kind == "places":
        size, value = chance.randrange(256, 40 * GIB), chance.randint(1, 1000)
    row = {
        "id": f"m{number}",
        "bytes": size,
        "value": value,
        "priority": 50 if kind == "places" else chance.choice((90, 50, 10)),
        "pinned": chance.random() < 0.04 and size < 8 * GIB,
        "splittable": chance.random() < 0.3,
    }
    if kind == "bound" and chance.random() < 0.4:
        row["device"] = chance.choice(places)["id"]
    if kind == "mixed" and chance.random() < 0.05:
        row["bytes"] = chance.randint(60, 200) * GIB
    return row
