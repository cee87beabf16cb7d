"""Signs that a model is in use, each with its strength.

Ollama tells no request counts. What it and the host do show is indirect, so a sign says what it
proves: that the model was used since the last look, or that it is busy now.

Source: ollama-behaviour.md 2.4-2.6: `expires_at` is written when a runner becomes idle, does not
move while it is busy, and slides with the clock until a runner's first request has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from warmset.core.host.runners import Phase, Runner
from warmset.core.model import FOREVER, ModelKey, Resident

MOVED_SECONDS: Final = 0.5
"""A smaller move of `expires_at` is rounding (our measure of doubt: rows are read apart)."""

SLIDING_SECONDS: Final = 0.05
PASSED_SECONDS: Final = 1.0
BUSY_CPU_RATIO: Final = 0.2
BUSY_GPU_RATIO: Final = 0.1
"""Shares of one core, and of the GPU's engines, above an idle runner's noise. Our choice."""


class Strength(StrEnum):
    """How much a sign proves."""

    STRONG = "strong"  # cannot well be anything else
    MODERATE = "moderate"  # usually so
    WEAK = "weak"  # a hint; never decides alone


class Sign(StrEnum):
    """What was seen."""

    EXPIRY_MOVED = "expiry-moved"
    EXPIRY_SLIDES = "expiry-slides"
    EXPIRY_PASSED = "expiry-passed"
    LOADING = "loading"
    CPU_TIME = "cpu-time"
    GPU_TIME = "gpu-time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One sign of use of one model."""

    key: ModelKey
    sign: Sign
    strength: Strength
    is_busy: bool  # now; else: used since the last look
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at the host tells about use.

    Units:
        `at` is Unix seconds, as `expires_at` is.
    """

    at: float
    residents: tuple[Resident, ...] | None
    runners: tuple[Runner, ...] = ()
    gpu_seconds: Mapping[int, float] = field(default_factory=dict)  # PID -> engine time


def find_use(
    before: Look | None, now: Look, *, renewed: frozenset[ModelKey] = frozenset()
) -> tuple[Use, ...]:
    """Returns the signs of use, by model then kind; none proves that a model is idle.

    Args:
        before: The look before this one, if any: most signs are differences.
        now: This look.
        renewed: Models that warmset itself touched in between; their moved expiry proves nothing.
    """
    signs = [*_expiry(before, now, renewed), *_running(before, now)]
    return tuple(sorted(signs, key=lambda use: (use.key, use.sign)))


def _expiry(before: Look | None, now: Look, renewed: frozenset[ModelKey]) -> Iterator[Use]:
    earlier = {r.key: r for r in (before.residents or () if before else ())}
    for resident in now.residents or ():
        key, expires = resident.key, resident.expires_at
        if key is None or expires is None:
            continue
        if expires < now.at - PASSED_SECONDS:
            yield Use(
                key=key,
                sign=Sign.EXPIRY_PASSED,
                strength=Strength.STRONG,
                is_busy=True,
                reason=f"its deadline passed {now.at - expires:.0f} s ago and it is still listed",
            )
        last = earlier.get(key)
        if before is None or last is None or last.expires_at is None or key in renewed:
            continue
        if expires == last.expires_at or abs(expires - last.expires_at) <= MOVED_SECONDS:
            continue
        if FOREVER in (expires, last.expires_at) or expires < last.expires_at:
            if expires <= now.at:
                continue  # it was told to go
            yield Use(
                key=key,
                sign=Sign.EXPIRY_MOVED,
                strength=Strength.STRONG,
                is_busy=False,
                reason="its deadline was set anew: a request with another keep-alive",
            )
            continue
        moved = expires - last.expires_at
        slides = abs(moved - (now.at - before.at)) < SLIDING_SECONDS
        yield Use(
            key=key,
            sign=Sign.EXPIRY_SLIDES if slides else Sign.EXPIRY_MOVED,
            strength=Strength.STRONG,
            is_busy=slides,
            reason="its deadline moves with the clock: its first request has not ended"
            if slides
            else f"its deadline moved by {moved:.0f} s: a request ended",
        )


def _running(before: Look | None, now: Look) -> Iterator[Use]:
    earlier = {r.process.identity: r for r in (before.runners if before else ())}
    seconds = now.at - before.at if before else 0.0
    for runner in now.runners:
        key = runner.key
        if key is None or not runner.is_ours:
            continue
        if runner.phase is Phase.LOADING:
            yield Use(
                key=key,
                sign=Sign.LOADING,
                strength=Strength.STRONG,
                is_busy=True,
                reason=f"PID {runner.process.pid} runs and is not listed: someone asked for it",
            )
        last = earlier.get(runner.process.identity)
        if before is None or last is None or seconds <= 0:
            continue
        cpu = _ratio(last.process.cpu_seconds, runner.process.cpu_seconds, seconds)
        if cpu > BUSY_CPU_RATIO:
            yield _moderate(key, Sign.CPU_TIME, f"its runner used {cpu:.1f} cores")
        pid = runner.process.pid
        gpu = _ratio(before.gpu_seconds.get(pid), now.gpu_seconds.get(pid), seconds)
        if gpu > BUSY_GPU_RATIO:
            yield _moderate(key, Sign.GPU_TIME, f"its runner kept a GPU busy {gpu:.0%} of the time")


def _moderate(key: ModelKey, sign: Sign, reason: str) -> Use:
    return Use(key=key, sign=sign, strength=Strength.MODERATE, is_busy=True, reason=reason)


def _ratio(last: float | None, present: float | None, seconds: float) -> float:
    """Returns time used per time passed; 0 where either end is unknown: no sign, not a denial."""
    if last is None or present is None:
        return 0.0
    return max(0.0, present - last) / seconds
