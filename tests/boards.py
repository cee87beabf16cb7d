"""One picture with everything in it, for whoever draws."""

from __future__ import annotations

from warmset.core.units import GIB, MIB
from warmset.shell.board.values import (
    Board,
    GapPoint,
    Gpu,
    Model,
    Moment,
    NextStep,
    Part,
    Pause,
    StandingAlarm,
)

AT = 1767614400.0  # noon, UTC


def part(owner: str, name: str, count: int | None, mark: str = "") -> Part:
    return Part(owner=owner, name=name, mark=mark, bytes=count)


def model(name: str, mark: str = "", **facts: object) -> Model:
    usual: dict[str, object] = {
        "state": "resident",
        "is_wanted": True,
        "is_pinned": False,
        "priority": 50,
        "rank": None,
        "where": "",
        "held_bytes": None,
        "is_observed": True,
        "keep_alive_seconds": None,
        "left_seconds": None,
        "is_forever": False,
        "is_busy": None,
        "used_ago_seconds": None,
        "next": "",
    }
    return Model(name=name, mark=mark, **{**usual, **facts})


LARGE = Gpu(
    label="GPU 0",
    name="NVIDIA RTX 6000 Ada",
    state="",
    total_bytes=48 * GIB,
    free_bytes=8 * GIB,
    budget_bytes=46 * GIB,
    parts=(
        part("model", "llama3.3:70b", 26 * GIB, "B"),
        part("model", "qwen2.5-coder:7b", 6 * GIB, "C"),
        part("foreign", "blender", 3 * GIB),
        part("foreign", "Xorg", 300 * MIB),
        part("reserved", "driver", 400 * MIB),
        part("draining", "phi4:14b", 4 * GIB + 324 * MIB),
        part("free", "free", 8 * GIB),
    ),
)
SMALL = Gpu(
    label="GPU 1",
    name="NVIDIA RTX 4070",
    state="",
    total_bytes=12 * GIB,
    free_bytes=6 * GIB,
    budget_bytes=11 * GIB,
    parts=(
        part("model", "nomic-embed-text:latest", GIB, "A"),
        part("other-runner", "another Ollama", 2 * GIB),
        part("unattributed", "PID 77, not visible here", 3 * GIB),
        part("free", "free", 6 * GIB),
    ),
)
SILENT = Gpu(
    label="GPU 2",
    name="Tesla P40",
    state="the driver does not answer",
    total_bytes=None,
    free_bytes=None,
    budget_bytes=None,
    parts=(),
)
CURVE = tuple(
    GapPoint(seconds=seconds, chance=chance)
    for seconds, chance in ((10.0, 0.1), (60.0, 0.3), (600.0, 0.55), (3600.0, 0.92), (86400.0, 1.0))
)
BOARD = Board(
    at=AT,
    warmset="0.1.0",
    server="http://127.0.0.1:11434",
    ollama="0.33.0",
    verdict="waiting",
    trouble="",
    tick_seconds=5.0,
    ram_total_bytes=64 * GIB,
    ram_available_bytes=40 * GIB,
    gpus=(LARGE, SMALL, SILENT),
    models=(
        model(
            "qwen2.5-coder:7b",
            "C",
            is_pinned=True,
            priority=100,
            rank=1,
            where="GPU 0",
            held_bytes=6 * GIB,
            keep_alive_seconds=2760.0,
            left_seconds=1800.0,
            is_busy=True,
            used_ago_seconds=0.0,
            next="lease: renewed before 30m have passed",
            gap_count=37.0,
            gaps=CURVE,
        ),
        model(
            "llama3.3:70b",
            "B",
            rank=2,
            where="GPU 0 + RAM",
            held_bytes=26 * GIB,
            is_observed=False,
            left_seconds=240.0,
            used_ago_seconds=61.0,
            next="unload: its window closed",
        ),
        model(
            "nomic-embed-text:latest",
            "A",
            priority=None,
            where="GPU 1",
            held_bytes=GIB,
            is_forever=True,
            next="stays: a client keeps it for ever",
        ),
        model("模型:1b", "D", state="loading", held_bytes=2 * GIB, is_observed=False),
        model("gone:1b", state="not installed", is_pinned=True, next="not installed"),
    ),
    moments=(
        Moment(at=AT - 5, kind="eviction", name="phi4:14b", text="by warmset: room for 模型:1b"),
        Moment(at=AT - 65, kind="load", name="llama3.3:70b", text="loaded by a client"),
        Moment(at=AT - 3600, kind="failure", name="phi4:14b", text="preload called off after 30m"),
        Moment(at=AT - 7200, kind="server", name="", text="a new server process"),
    ),
    steps=(
        NextStep(kind="unload", name="llama3.3:70b", reason="its window closed"),
        NextStep(kind="preload", name="gone:1b", reason="pinned, on GPU 1, up to 1.4 GiB"),
    ),
    pauses=(
        Pause(name="", reason="somebody loads: a load may be pending", left_seconds=12.0),
        Pause(name="llama3.3:70b", reason="it is busy", left_seconds=None),
    ),
    alarms=(
        StandingAlarm(
            code="pin_absent gone:1b",
            severity="error",
            text="gone:1b is pinned and not installed: nothing is fetched for it",
            age_seconds=300.0,
        ),
    ),
)
