"""Recorded races of an unload with a preload of the same model: only their outcomes are kept.

The recorder ran many rounds: (a) the preload after the unload's answer, (b) both at once. The
twin runs one round per order that the mode allows; each outcome must be a recorded one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from warmset.core.twin.api import Api, Exchange
from warmset.core.twin.api.gojson import encode
from warmset.core.twin.library import InstalledModel
from warmset.shell.conformance.recording import Recording

MODE: Final = re.compile(r"^mode \((\w)\): (\d+) of (\d+) rounds: (.*)")
_LOAD_LIMIT_SECONDS: Final = 60.0
_FAST_SECONDS: Final = 0.1
_AFTER_SECONDS: Final = 0.4


def check_race(api: Api, recording: Recording, mode: str) -> Iterator[str]:
    """Yields the orders of a mode whose outcome in the twin was never recorded."""
    model = _smallest(api)
    if model is None:
        return
    said = [match for h in recording.happenings if (match := MODE.match(h.text))]
    recorded = {_outcome_of(match.group(4)) for match in said if match.group(1) == mode}
    orders = ("unload first",) if mode == "a" else ("unload first", "preload first")
    for order in orders:
        outcome = _run_round(api, model, order)
        if outcome not in recorded:
            yield f"{order}: the twin's preload was {' and '.join(outcome)} afterwards"


def _smallest(api: Api) -> InstalledModel | None:
    models = [model for model in api.host.library.models() if model.completes]
    return min(models, key=lambda model: model.size_bytes, default=None)


def _outcome_of(text: str) -> tuple[str, str]:
    speed = "fast" if "(fast" in text else "slow"
    return speed, "not resident" if "NOT resident" in text else "resident"


def _run_round(api: Api, model: InstalledModel, order: str) -> tuple[str, str]:
    """Preloads, then sends an unload and a preload in an order; returns how that ended."""
    timeline = api.host.timeline
    _post(api, model, keep_alive="10m")
    timeline.advance(timeline.now + _LOAD_LIMIT_SECONDS)
    sent_at = timeline.now
    if order == "unload first":
        _post(api, model, keep_alive=0)
        preload = _post(api, model, keep_alive="10m")
    else:
        preload = _post(api, model, keep_alive="10m")
        _post(api, model, keep_alive=0)
    while not preload.is_done and timeline.now < sent_at + _LOAD_LIMIT_SECONDS:
        timeline.advance(timeline.next_at)
    speed = "fast" if timeline.now - sent_at < _FAST_SECONDS else "slow"
    timeline.advance(timeline.now + _AFTER_SECONDS)
    is_resident = model.key in api.host.scheduler.loaded
    api.host.unload(model)
    return speed, "resident" if is_resident else "not resident"


def _post(api: Api, model: InstalledModel, *, keep_alive: object) -> Exchange:
    body = {"model": model.name, "keep_alive": keep_alive, "stream": False}
    return api.handle("POST", "/api/generate", encode(body))
