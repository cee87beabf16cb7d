"""Whether Ollama still does what warmset takes it to do, judged by the effect of each lever.

Ollama changes, and nobody promises that a ping goes on to renew a deadline. So every use of a lever
is a test of it: what a look shows afterwards is the result. A lever that failed several times in a
row, whatever the models, is broken: the operator is told, and it is not used for a long while.
Then one use tries it again. A new version of Ollama starts with a clean record.

What counts as failed:

- ping: it was answered, the deadline stayed, and the model left when that deadline ran out. A
  model that serves somebody keeps its deadline too, but it does not leave (ollama-behaviour 2.5).
  Or the deadline moved, and not to the lease.
- preload: the server said loaded, and the model is not resident.
- unload: the model is still there after two minutes, its deadline in the future and no use seen.
- order: a model was pushed out while an idle one with a shorter lease stayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.control.actions import Alarm, Finding, Renew, Severity
from warmset.core.control.durations import DOUBT_SECONDS
from warmset.core.control.idle import why_not_idle
from warmset.core.control.orders import Done
from warmset.core.control.state import LeverName, LeverRecord, State
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import ModelKey, Observation
from warmset.core.replacing import replace
from warmset.core.units import format_seconds

FAILURES: Final = 4
"""In a row, of one lever. Our choice: races and lost wires spoil one or two, and a try again is
cheap against a lever that is given up for nothing."""

EFFECTS: Final[dict[LeverName, str]] = {
    "ping": "pings do not renew keep-alives",
    "preload": "preloads load nothing",
    "unload": "unloads unload nothing",
    "order": "Ollama does not evict in the order of keep-alives",
}
INSTEAD: Final[dict[LeverName, str]] = {
    "ping": "nothing is pinged",
    "preload": "nothing is loaded",
    "unload": "nothing is unloaded",
    "order": "ranks are not written into keep-alives, only renewed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A look to judge levers by. `before`: the state that it was taken in with; `state`: after."""

    observation: Observation
    before: State
    state: State
    now: float


_GOOD: Final[dict[str, LeverName]] = {
    "preload_verified": "preload",
    "preload_spilled": "preload",
    "unloaded": "unload",
}


def judge_levers(
    look: Judged, found: Sequence[Finding], loop: LoopSettings
) -> tuple[State, tuple[Finding, ...]]:
    """Returns the state that knows how the levers fared by a look, and what is new of it.

    Args:
        look: the look, and what is remembered.
        found: what it showed.
        loop: how long a broken lever is left alone.
    """
    state = _forget_other_versions(look.observation, look.state)
    news: list[Finding] = []
    for finding in found:
        lever, why = _failure(finding, look, loop)
        if finding.kind in _GOOD:
            state, told = note_worked(state, _GOOD[finding.kind])
            news += told
        elif lever is not None:
            state, told = note_failed(state, lever, replace(finding, text=why), loop, look.now)
            news += told
    return state, tuple(news)


def judge_ping(
    state: State, order: Renew, event: Done, loop: LoopSettings, now: float
) -> tuple[State, tuple[Finding, ...]]:
    """Returns what the list read after a ping tells of pings.

    A deadline that stayed says nothing yet: the model may be serving somebody.
    """
    row = next((row for row in event.residents or () if row.key == order.key), None)
    if row is None or row.expires_at is None or event.wall_at is None:
        return state, ()
    if state.of(order.key).unmoved is not None:
        return state, ()
    left = row.expires_at - event.wall_at
    took = 0.0 if event.asked_at is None else now - event.asked_at
    if abs(left - order.keep_alive) <= DOUBT_SECONDS + took:
        return note_worked(state, "ping")
    why = f"asked for {format_seconds(order.keep_alive)}, and {format_seconds(left)} are left"
    failed = Finding(kind="lever_failed", key=order.key, name=order.name, text=why)
    return note_failed(state, "ping", failed, loop, now)


def note_worked(state: State, lever: LeverName) -> tuple[State, tuple[Finding, ...]]:
    """Returns the state in which a lever has a clean record."""
    record = state.levers.get(lever)
    if record is None:
        return state, ()
    levers = {name: kept for name, kept in state.levers.items() if name != lever}
    state = replace(state, levers=levers)
    if record.broken_since is None:
        return state, ()
    text = f"{lever} works again"
    return state, (Finding(kind="lever_works", key=None, name="", text=text),)


def note_failed(
    state: State, lever: LeverName, failed: Finding, loop: LoopSettings, now: float
) -> tuple[State, tuple[Finding, ...]]:
    """Returns the state after a use of a lever that had no effect; `failed` tells which and how."""
    record = state.levers.get(lever, LeverRecord())
    record = replace(record, failures=record.failures + 1, version=state.server_version)
    found = replace(
        failed,
        kind="lever_failed",
        text=f"{lever} had no effect: {failed.text}",
        severity=Severity.WARNING,
        basis={"lever": lever, "in_a_row": record.failures},
    )
    if record.failures >= FAILURES:
        pause = min(max(loop.back_off, 2 * record.pause), loop.back_off_limit)
        since = now if record.broken_since is None else record.broken_since
        record = replace(record, broken_since=since, pause=pause, quiet_until=now + pause)
    return replace(state, levers={**state.levers, lever: record}), (found,)


def note_tried(state: State, lever: LeverName, now: float) -> State:
    """Returns the state in which a broken lever that is tried again rests anew, whatever is seen.

    Between slow looks nobody can tell whether a use had no effect or was undone at once.
    """
    record = state.levers.get(lever)
    if record is None or record.broken_since is None:
        return state
    record = replace(record, quiet_until=now + record.pause)
    return replace(state, levers={**state.levers, lever: record})


def why_not_use(state: State, lever: LeverName, now: float) -> tuple[str, float | None]:
    """Returns why a lever is left alone and until when; empty if it may be used."""
    record = state.levers.get(lever)
    if record is None or record.quiet_until is None or now >= record.quiet_until:
        return "", None
    return f"{EFFECTS[lever]} on this server: {INSTEAD[lever]} for a while", record.quiet_until


def about_levers(state: State, now: float) -> Iterator[Alarm]:
    """Yields an alarm for each broken lever; it stands until the lever works again."""
    for lever, record in sorted(state.levers.items()):
        if record.broken_since is None:
            continue
        yield Alarm(
            code=f"lever_broken {lever}",
            severity=Severity.ERROR,
            text=describe(lever, record, now),
            basis={"failures": record.failures},
        )


def describe(lever: LeverName, record: LeverRecord, now: float) -> str:
    """Returns what is wrong with a broken lever, and what is done about it."""
    since = now - (now if record.broken_since is None else record.broken_since)
    version = f" {record.version}" if record.version else ""
    left = (record.quiet_until or now) - now
    again = f"; tried again in {format_seconds(left)}" if left > 0 else "; it may be tried again"
    return (
        f"{EFFECTS[lever]} (Ollama{version}): {record.failures} times in a row, broken for "
        f"{format_seconds(since)}; {INSTEAD[lever]}{again}"
    )


def _failure(finding: Finding, look: Judged, loop: LoopSettings) -> tuple[LeverName | None, str]:
    """Returns the lever that a finding speaks against, and why."""
    key, name, cause = finding.key, finding.name, finding.basis.get("cause")
    found: tuple[LeverName | None, str] = (None, "")
    if key is None:
        return found
    if finding.kind == "preload_without_effect":
        found = "preload", finding.text
    elif finding.kind == "unload_without_effect" and _was_idle(key, look):
        found = "unload", finding.text
    elif cause == "expired" and look.before.of(key).unmoved is not None:
        found = "ping", f"{name} left when the deadline ran out that it should have moved"
    elif cause == "displaced" and look.state.of(key).lost_to:
        spared = _spared(key, look, loop)
        text = f"{name} was pushed out, and {spared} with a shorter lease stayed"
        found = ("order", text) if spared else found
    return found


def _was_idle(key: ModelKey, look: Judged) -> bool:
    """Whether nothing but a broken lever explains that an unloaded model is still there."""
    rows = look.observation.residents or ()
    ends = next((row.expires_at for row in rows if row.key == key), None)
    since = next((leaving.since for leaving in look.before.leaving if leaving.key == key), look.now)
    used_at = look.before.of(key).used_at
    is_told = ends is not None and ends <= look.observation.at
    return not is_told and (used_at is None or used_at <= since)


def _spared(key: ModelKey, look: Judged, loop: LoopSettings) -> str:
    """Returns an idle resident whose lease was shorter than that of a model that had to go."""
    before = look.before
    known = before.of(key)
    if known.lease is None:
        return ""
    for row in look.observation.residents or ():
        if row.key is None:
            continue
        other = before.of(row.key)
        if other.lease is None or other.lease >= known.lease:
            continue
        if not why_not_idle(row.key, before, loop, look.now):
            return row.name
    return ""


def _forget_other_versions(observation: Observation, state: State) -> State:
    """A record speaks of one version of Ollama only."""
    version = observation.version
    if version is None:
        return state
    kept = {n: r for n, r in state.levers.items() if r.version in (None, version)}
    return state if len(kept) == len(state.levers) else replace(state, levers=kept)
