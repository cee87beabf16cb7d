"""Traces that no constant was checked on: seeded, in the form of the harness of `bench_policy`."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Protocol

from policy_adapter import HarnessModel

MANY = 80  # models, where time per decision is told
DAY = 86400.0
PART = 0.6  # share of the models in `part`
SHAPES = ("drift", "cron", "bursts", "week", "many")


class Trace(Protocol):
    """A trace as the harness reads it."""

    name: str
    model: list[str]
    t: Sequence[float]
    duration: Sequence[float]
    models: Mapping[str, HarnessModel]
    budgets: dict[str, int]

    def servable(self, budget: int) -> Trace:
        """The part whose models fit into the budget."""
        ...


def arrivals(shape: str, rng: random.Random, days: float) -> list[tuple[float, str, float]]:
    """Requests of one shape: drift of popularity, cron, bursts, or a week with its nights."""
    out: list[tuple[float, str, float]] = []
    for i in range(MANY if shape == "many" else 30):
        t, rate = rng.random() * 3600, 12.0 / (1 + i) / 3600
        period = rng.choice([300, 600, 900, 1800, 3600]) * (1 + i // 10)
        while t < days * DAY:
            out.append((t, f"m{i}", rng.lognormvariate(1.2, 0.8)))
            if shape == "cron" and i % 3:
                t += period + rng.gauss(0, 3)
            elif shape in ("bursts", "many") and rng.random() < 0.8:
                t += rng.expovariate(1 / 20)
            else:
                now = rate
                if shape == "drift":  # every model has its day
                    now *= 0.1 + 3 * math.exp(-(((t / DAY - days * i / 30) / 0.5) ** 2))
                if shape == "week":
                    now *= 0.05 + 2 * (8 < t / 3600 % 24 < 18) * (t / DAY % 7 < 5)
                t += rng.expovariate(now)
    return sorted(out)


def made(evaluator: ModuleType, shape: str, seed: int = 11) -> Trace:
    """A trace of that shape, with sizes and load times drawn as `traces/README` describes."""
    import numpy as np

    rng = random.Random(f"{shape}{seed}")
    rows = arrivals(shape, rng, 10 if shape == "week" else 3)
    models = {}
    for i in range(MANY if shape == "many" else 30):
        size = int(rng.choice([0.5, 2, 4.7, 5.2, 9, 20, 42]) * rng.uniform(1.05, 1.2) * 1e9)
        load = rng.uniform(0.5, 2) + size / (math.exp(rng.uniform(-0.7, 1.8)) * 1e9)
        models[f"m{i}"] = evaluator.Model(f"m{i}", size, load)
    total = sum(m.size for m in models.values())
    budgets = {"f15": int(total * 0.15), "f35": int(total * 0.35)}
    times, names, lengths = zip(*rows, strict=True)
    return evaluator.Trace(
        f"made-{shape}", np.array(times), list(names), np.array(lengths), models, budgets
    )


def dealt(evaluator: ModuleType, trace: Trace, seed: int = 7) -> Trace:
    """The same requests, but each model gets the size and load time of another one."""
    names, costs = list(trace.models), list(trace.models.values())
    random.Random(f"{trace.name}{seed}").shuffle(costs)
    pairs = zip(names, costs, strict=True)
    models = {name: evaluator.Model(name, cost.size, cost.load_s) for name, cost in pairs}
    return evaluator.Trace(
        f"dealt-{trace.name}", trace.t, trace.model, trace.duration, models, trace.budgets
    )


def part(evaluator: ModuleType, trace: Trace, seed: int = 1) -> Trace:
    """The requests of three fifths of the models, with their sizes and load times dealt anew."""
    import numpy as np

    rng = random.Random(f"{trace.name}sub{seed}")
    names = sorted(trace.models)
    kept = rng.sample(names, int(len(names) * PART))
    costs = [trace.models[name] for name in kept]
    rng.shuffle(costs)
    models = {
        name: evaluator.Model(name, cost.size, cost.load_s)
        for name, cost in zip(kept, costs, strict=True)
    }
    rows = [i for i, name in enumerate(trace.model) if name in models]
    total = sum(model.size for model in models.values())
    return evaluator.Trace(
        f"part-{trace.name}",
        np.array([trace.t[i] for i in rows]),
        [trace.model[i] for i in rows],
        np.array([trace.duration[i] for i in rows]),
        models,
        {f"f{share}": total * share // 100 for share in (15, 25, 40)},
    )
