"""`warmset simulate`: one demand under several policies, and over several sizes of memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Final, Literal

from warmset.core.demand.trace import Trace
from warmset.core.policy import POLICIES
from warmset.core.policy.ollama import DEFAULT_LIMIT_PER_GPU
from warmset.core.twin.beside import Rule, Server
from warmset.core.twin.bound import state_bound
from warmset.core.twin.memory import PoolSpec
from warmset.core.twin.pool import Pool
from warmset.core.twin.score import Score
from warmset.errors import ConfigError

Mode = Literal["sidecar", "admission"]

STOCK: Final = {
    "ollama": Rule(),
    "ollama-max3": Rule(),
    "ollama-forever": Rule(default_keep_alive=inf),
}
"""Ollama that nobody steers: it picks the victims whatever the mode."""

DEFAULT_POLICIES: Final = ("ollama", "lru", "gdsf", "worth-demand", "worth")

LONG_WORK: Final = 100_000
"""Replayed requests from which further processes are worth their start. Our choice."""

ROUNDING_SECONDS: Final = 1e-3
"""Sums of load seconds differ by less, in whatever order they are added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One policy's cost."""

    policy: str
    mode: Mode | Literal["stock"]
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Cold seconds of each policy at one size of memory."""

    budget_bytes: int
    cold_seconds: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What a demand costs on a host.

    Attributes:
        left_out: requests for models that never fit.
        bound_seconds: no schedule has fewer load seconds; `None`, `bound_note` says why.
        curve: the same demand with less and more memory.
    """

    spec: PoolSpec
    trace: Trace
    left_out: int
    rows: tuple[Row, ...]
    bound_seconds: float | None
    bound_note: str
    curve: tuple[Point, ...]

    def enough_bytes(self, policy: str) -> int | None:
        """Returns the least memory of the curve from which on only first requests wait for loads.

        Returns:
            `None` if that is not reached in the curve.
        """
        models = self.spec.models
        first = sum(models[name].load_seconds for name in set(self.trace.models))
        enough = None
        for point in reversed(self.curve):
            if point.cold_seconds[policy] > first + ROUNDING_SECONDS:
                break
            enough = point.budget_bytes
        return enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One replay."""

    trace: Trace
    spec: PoolSpec
    policy: str
    mode: Mode
    gpus: int


def simulate(
    trace: Trace,
    spec: PoolSpec,
    policies: Sequence[str],
    *,
    mode: Mode,
    gpus: int = 1,
    points: int = 0,
) -> Simulation:
    """Returns what the demand costs under each policy.

    Args:
        trace: the demand.
        spec: the host.
        policies: names of the registry.
        mode: who picks the victims: Ollama by ranked keep-alives, or the policy itself.
        gpus: how many, for Ollama's default limit.
        points: sizes of memory of the curve; 0: none.

    Raises:
        ConfigError: there is no such policy, or no room for the pins.
    """
    check(policies)
    if not STOCK.keys() >= set(policies):  # stock Ollama knows no pins
        spec.check_pins()
    sizes = curve_sizes(trace, spec, points)
    jobs = [
        Job(trace=trace, spec=replace(spec, budget_bytes=size), policy=name, mode=mode, gpus=gpus)
        for size in (spec.budget_bytes, *sizes)
        for name in policies
    ]
    scores = _run_all(jobs)
    first = len(policies)
    rows = tuple(
        Row(policy=name, mode="stock" if name in STOCK else mode, score=score)
        for name, score in zip(policies, scores[:first], strict=True)
    )
    curve = []
    for number, size in enumerate(sizes, start=1):
        part = scores[number * first : (number + 1) * first]
        seconds = {n: s.cold_seconds for n, s in zip(policies, part, strict=True)}
        curve.append(Point(budget_bytes=size, cold_seconds=seconds))
    bound, note = offline_bound(trace, spec)
    served = trace.only(spec.servable())
    return Simulation(
        spec=spec,
        trace=trace,
        left_out=len(trace) - len(served),
        rows=rows,
        bound_seconds=bound,
        bound_note=note,
        curve=tuple(curve),
    )


def check(policies: Sequence[str]) -> None:
    """Raises ConfigError for a name that no policy has."""
    for name in policies:
        if name not in POLICIES:
            raise ConfigError(
                f'there is no policy "{name}"', hint=f"Known: {', '.join(sorted(POLICIES))}."
            )


def run(job: Job) -> Score:
    """Replays once."""
    spec = job.spec
    if job.policy == "ollama-max3":
        limit = DEFAULT_LIMIT_PER_GPU * max(1, job.gpus)
        spec = replace(spec, max_loaded=limit)
    if job.policy in STOCK:
        return Server(job.trace, spec, rule=STOCK[job.policy]).run()
    policy = POLICIES[job.policy]()
    replayed = Pool if job.mode == "admission" else Server
    return replayed(job.trace, spec, policy).run()


def _run_all(jobs: Sequence[Job]) -> list[Score]:
    work = sum(len(job.trace) for job in jobs)
    workers = min(os.cpu_count() or 1, len(jobs))
    if work < LONG_WORK or workers < 2:
        return [run(job) for job in jobs]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(run, jobs, chunksize=1))


def curve_sizes(trace: Trace, spec: PoolSpec, points: int) -> tuple[int, ...]:
    """Returns sizes of memory in equal steps: from the largest model or the pins to all asked."""
    if points < 1:
        return ()
    asked = frozenset(trace.models)
    sizes = [m.bytes for name, m in spec.models.items() if name in asked or m.pinned]
    if not sizes:
        return ()
    # The last load finds what the others leave, and may take a share of it.
    least = max(*sizes, spec.least_for_pins())
    most = max(least, sum(sizes) - max(sizes) + ceil(max(sizes) / spec.fit_share))
    steps = max(1, points - 1)
    return tuple(least + (most - least) * step // steps for step in range(points))


def offline_bound(trace: Trace, spec: PoolSpec) -> tuple[float | None, str]:
    """Returns load seconds that no schedule undercuts, or why they are not to be had."""
    from warmset.adapters.linear import can_solve, minimise

    if not can_solve():
        return None, "no offline bound without scipy: pip install 'warmset[bound]'"
    models = spec.servable()
    programme = state_bound(trace.only(models), models, spec.budget_bytes)
    entries = (programme.rows, programme.columns, programme.values)
    least = minimise(programme.cost, programme.upper, entries, programme.row_count)
    if least is None:
        return None, "the solver found no offline bound"
    return programme.constant + least, ""
