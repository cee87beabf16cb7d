"""How the picture reads to people: the same words on the page and in the terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from warmset.core.units import format_bytes, format_seconds
from warmset.shell.board.values import Board, Gpu, Model, Part

VERDICTS: Final = {
    "converged": "what is resident is what is wanted",
    "acting": "acting on the plan",
    "waiting": "waiting to act",
    "unreachable": "Ollama does not answer",
    "look": "nobody steers this host: this is a look",
}

OWNERS: Final = {
    "model": "model",
    "other-runner": "other runner",
    "foreign": "foreign",
    "reserved": "driver",
    "draining": "draining",
    "unattributed": "unattributed",
    "free": "free",
}

KINDS: Final = {"load": "loaded", "eviction": "left", "failure": "failed", "server": "server"}
SIGNS: Final = {"load": "+", "eviction": "-", "failure": "!", "server": "*"}


def printable(text: str) -> str:
    """Returns a text that came from elsewhere without characters that steer a terminal or page."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def verdict_text(board: Board) -> str:
    """Returns the state of the whole in one line."""
    said = VERDICTS.get(board.verdict, board.verdict)
    return f"{said}: {board.trouble}" if board.trouble else said


def part_text(part: Part) -> str:
    """Returns what one part of a bar is, whose, and how much."""
    word, size = OWNERS.get(part.owner, part.owner), format_bytes(part.bytes)
    if part.owner == "model":
        return f"{part.mark} {part.name} {size}".lstrip()
    if part.owner in ("foreign", "other-runner"):
        return f"{word} {part.name} {size}"
    if part.owner == "draining":
        return f"{word} {size} ({part.name})"
    return f"{word} {size}"


def gpu_text(gpu: Gpu) -> str:
    """Returns a GPU's title."""
    title = gpu.name if gpu.label == gpu.name else f"{gpu.label}: {gpu.name}"
    budget = (
        "" if gpu.budget_bytes is None else f", models may fill {format_bytes(gpu.budget_bytes)}"
    )
    state = f" ({gpu.state})" if gpu.state else ""
    return f"{title}, {format_bytes(gpu.total_bytes)}{budget}{state}"


def state_text(model: Model) -> str:
    """Returns whether a model is there, and whether it shall be."""
    words = [model.state]
    if model.is_pinned:
        words.append("pinned")
    elif model.is_wanted:
        words.append("wanted")
    return ", ".join(words)


def rank_text(model: Model) -> str:
    """Returns the rank with the priority behind it."""
    rank = "-" if model.rank is None else str(model.rank)
    return rank if model.priority is None else f"{rank} (priority {model.priority})"


def memory_text(model: Model) -> str:
    """Returns what it holds, `~` before an estimate, and where."""
    if model.held_bytes is None:
        return "-"
    size = format_bytes(model.held_bytes)
    size = size if model.is_observed else f"~{size}"
    return f"{size} on {model.where}" if model.where else size


def keep_alive_text(model: Model) -> str:
    """Returns how much of the keep-alive is left."""
    if model.is_forever:
        return "for ever"
    if model.left_seconds is None:
        return "-"
    left = format_seconds(model.left_seconds)
    whole = model.keep_alive_seconds
    return left if whole is None else f"{left} of {format_seconds(whole)}"


def use_text(model: Model) -> str:
    """Returns whether it works, or when it last did."""
    if model.is_busy:
        return "busy"
    ago = model.used_ago_seconds
    return "-" if ago is None else f"{format_seconds(ago)} ago"


def gaps_text(model: Model) -> str:
    """Returns the idle gaps in one sentence."""
    if not model.gaps:
        return f"{model.name}: {model.gap_count:.0f} gaps seen, too few for a curve"
    parts = [
        f"{share:.0%} of uses are followed by another within {format_seconds(point.seconds)}"
        for share in (0.5, 0.9)
        if (point := next((p for p in model.gaps if p.chance >= share), None)) is not None
    ]
    if not parts:
        last = model.gaps[-1]
        parts = [f"{last.chance:.0%} of uses are followed within {format_seconds(last.seconds)}"]
    return f"{model.name}: {', '.join(parts)} ({model.gap_count:.0f} gaps)"


def clock_text(at: float) -> str:
    """Returns Unix seconds as a time of day in UTC."""
    return f"{datetime.fromtimestamp(at, tz=UTC):%H:%M:%S}"


def moment_iso(at: float) -> str:
    """Returns Unix seconds as machines read them."""
    return f"{datetime.fromtimestamp(at, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"
