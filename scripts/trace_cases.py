"""Cases of the benches that replay traces: a folder's files, and seeded traces made here."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from warmset.core.demand.trace import Request, Trace
from warmset.core.policy import ModelCost
from warmset.shell.trace_files import models_path, read_models, read_trace

OVERWRITING = 0.3
SENT = (60.0, 300.0, 1800.0, 3600.0, 86400.0, math.inf)
SEED = 20_260_105
DAY = 86400.0


@dataclass(frozen=True)
class Case:
    """One trace at one budget."""

    trace: str
    budget: str
    tick: float
    overwriting: float
    folder: str = ""  # empty: made here


def made_trace(number: int) -> tuple[Trace, dict[str, ModelCost], dict[str, int]]:
    """Zipf-popular models in sessions, and timers; sizes and load times as of common models."""
    rng = random.Random(f"{SEED} {number}")
    models: dict[str, ModelCost] = {}
    rows: list[Request] = []
    for i in range(24):
        size = int(rng.choice([0.5, 2, 4.7, 5.2, 9, 20, 42]) * rng.uniform(1.05, 1.2) * 1e9)
        speed = math.exp(rng.uniform(math.log(0.5), math.log(6))) * 1e9
        load = rng.uniform(0.5, 2) + size / speed
        models[f"m{i}"] = ModelCost(id=f"m{i}", bytes=size, load_seconds=load)
        at, rate, timer = rng.random() * 3600, 4.0 / (1 + i) / 3600, i % 5 == number % 5
        while at < 2 * DAY:
            count = 1 if timer else 1 + int(rng.expovariate(0.25))
            for _ in range(count):
                rows.append(Request(at, f"m{i}", rng.lognormvariate(1.2, 0.8)))
                at += rng.expovariate(1 / 40)
            at += 900.0 * (1 + i // 6) + rng.gauss(0, 5) if timer else rng.expovariate(rate)
    total = sum(model.bytes for model in models.values())
    return Trace.of(rows), models, {f"f{p}": total * p // 100 for p in (15, 30, 50)}


def load_trace(case: Case) -> tuple[Trace, dict[str, ModelCost], dict[str, int]]:
    """The demand, what its models cost, and the budgets by name."""
    if not case.folder:
        return made_trace(int(case.trace.removeprefix("made-")))
    path = Path(case.folder) / f"{case.trace}.csv.gz"
    models = read_models(path)
    if models is None:
        raise SystemExit(f"{models_path(path)} is missing")
    budgets = json.loads(models_path(path).read_text("utf-8"))["budgets"]
    return read_trace(path), models, budgets


def overwritten(trace: Trace, share: float) -> Trace:
    """The same demand with the keep-alives that clients send."""
    rng = random.Random(SEED)
    sent = tuple(rng.choice(SENT) if rng.random() < share else None for _ in trace.times)
    return Trace(trace.times, trace.models, trace.seconds, sent)


def list_cases(
    folder: Path | None, made: int, tick: float, overwriting: float, only: Collection[str]
) -> tuple[list[Case], int]:
    """All cases, and how many of them are of files: `only` of some budgets, if it names any."""
    cases: list[Case] = []
    for path in sorted(folder.glob("*.csv.gz")) if folder else ():
        name = path.name.removesuffix(".csv.gz")
        budgets = json.loads(models_path(path).read_text("utf-8"))["budgets"]
        cases += [Case(name, b, tick, overwriting, str(folder)) for b in budgets]
    files = [case for case in cases if not only or case.budget in only]
    budgets = [b for b in ("f15", "f30", "f50") if not only or b in only]
    rest = [Case(f"made-{n}", b, tick, overwriting) for n in range(made) for b in budgets]
    return files + rest, len(files)


def mean(values: Iterable[float]) -> float:
    """Geometric; nan of nothing."""
    logs = [math.log(v) for v in values if v > 0]
    return math.exp(statistics.fmean(logs)) if logs else math.nan
