"""The document of `warmset advise -o json`."""

from __future__ import annotations

from warmset.core.demand.sessions import find_sessions, single_share
from warmset.core.policy.advice import Advice
from warmset.core.units import GIB, HOUR
from warmset.core.windows import format_window
from warmset.shell.advise import Counsel, wire_text
from warmset.shell.replay_source import Source


def describe(made: Counsel, source: Source) -> dict[str, object]:
    """Returns the document of `-o json`. Units: bytes, seconds, GiB hours; `null`: for ever."""
    environment: dict[str, object] = {"OLLAMA_KEEP_ALIVE": wire_text(made.keep_alive)}
    if made.max_loaded is not None:
        environment["OLLAMA_MAX_LOADED_MODELS"] = str(made.max_loaded)
    return {
        "host": source.host,
        "demand": source.label,
        "span_seconds": source.trace.span_seconds,
        "budget_bytes": source.spec.budget_bytes,
        "models": [_document(advice) for advice in made.models],
        "unknown": list(made.unknown),
        "environment": environment,
        "clients": [
            {
                "model": client.model,
                "keep_alive_seconds": client.keep_alive,
                "overwrites": client.overwrites,
                "text": client.text,
            }
            for client in made.clients
        ],
        "hours": {
            model: {"window": format_window(hours.window), "share": hours.share}
            for model, hours in made.hours.items()
        },
        "follows": [
            {
                "first": f.first,
                "then": f.then,
                "times": f.seen,
                "of": f.uses,
                "by_chance": f.expected,
            }
            for f in made.follows
        ],
        "notes": list(source.notes),
    }


def _document(advice: Advice) -> dict[str, object]:
    keeping, cost = advice.keeping, advice.cost
    sessions = find_sessions(keeping.times)
    return {
        "model": keeping.model,
        "requests": keeping.requests,
        "sessions": len(sessions),
        "single_request_share": single_share(sessions),
        "median_gap_seconds": keeping.median_gap,
        "period_seconds": advice.period_seconds,
        "bytes": cost.bytes,
        "load_seconds": cost.load_seconds,
        "curve": [
            {
                "keep_alive_seconds": point.keep_alive,
                "warm_share": point.warm / keeping.requests,
                "gib_hours": cost.bytes * point.held_seconds / GIB / HOUR,
                "cold_seconds": (keeping.requests - point.warm) * cost.load_seconds,
            }
            for point in keeping.points
        ],
        "advice": {
            "action": {"pin": "pin", "none": "do not keep"}.get(advice.word, "keep"),
            "word": advice.word,
            "keep_alive": wire_text(advice.keep_alive),
            "keep_alive_seconds": advice.keep_alive,
            "warm_share": advice.chosen.warm / keeping.requests,
            "mean_bytes": round(advice.mean_bytes),
            "is_little": advice.is_little,
        },
    }
