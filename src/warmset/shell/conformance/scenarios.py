"""Whole scenarios of the real scheduler on pretended GPUs, replayed by the twin.

How much memory a load takes follows the recordings' own rule (`RecordedPhysics`), which says
nothing about llama.cpp; everything else is the twin as it always runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from warmset.core.model import FOREVER
from warmset.core.ollama.belief import RunnerView
from warmset.core.ollama.context import server_context, slots
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.options import load_shape
from warmset.core.ollama.predict import predict_vram
from warmset.core.ollama.types import Gpu, LoadShape, WeightsFile
from warmset.core.ollama.victim import is_out_of_memory
from warmset.core.twin.cards import Cards
from warmset.core.twin.clock import Timeline
from warmset.core.twin.discovery import Discovery, DriverDiscovery, RunnerDiscovery, newest_first
from warmset.core.twin.events import Event, Failed, Granted, LoadEnded, Unloaded
from warmset.core.twin.loading import SystemMemory
from warmset.core.twin.runner import LoadOrder, LoadResult, Request, TwinModel
from warmset.core.twin.scheduler import QUEUE_FULL, Scheduler
from warmset.core.units import MIB
from warmset.shell.conformance.tables import read_gpu

Row = Mapping[str, Any]
OOM_TEXT = "llama-server process has terminated: cudaMalloc failed: out of memory"
FAIL_TEXT = "llama-server process has terminated: exit status 1"
GO_FOREVER_SECONDS = 9223372036.854776
ASK_ORDERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """What differs between the two kinds of recordings. Units: seconds."""

    is_real: bool
    recovery_timeout: float
    patience: float  # without an answer for so long, a request counts as waiting


MODES = {
    "fake": Mode(is_real=False, recovery_timeout=0.010, patience=0.9),
    "real": Mode(is_real=True, recovery_timeout=1.2, patience=12.0),
}


class RecordedPhysics:
    """The memory rule of the recordings: equal shares, whole MiB, 1 GiB margin when spilling."""

    def __init__(self, rows: Mapping[str, Row], *, is_real: bool) -> None:
        self._rows = rows
        self._is_real = is_real
        self._starts: dict[str, int] = {}

    def load(self, order: LoadOrder) -> LoadResult:
        """Returns the result that the recordings' executable would give."""
        row = self._rows[order.model.name]
        started = self._starts.get(order.model.name, 0)
        self._starts[order.model.name] = started + 1
        if started < row.get("oom_first", 0):
            return LoadResult(seconds=0.001, error=OOM_TEXT)
        if started < row.get("fail_first", 0):
            return LoadResult(seconds=0.001, error=FAIL_TEXT)
        actual = row["actual_vram_mib"] * MIB
        shares = self._shares(order, row)
        spilled = [min(share, order.free_bytes[g.device]) != share for g, share in shares]
        if any(spilled) and (order.shape.options.num_gpu > 0 or row.get("no_fit")):
            return LoadResult(seconds=0.001, error=OOM_TEXT)
        taken = tuple(
            max(0, order.free_bytes[gpu.device] - 1024 * MIB) if spills else share
            for (gpu, share), spills in zip(shares, spilled, strict=True)
        )
        vram = sum(taken)
        total = actual
        if self._is_real:
            total -= min(actual - vram, max(actual - row["file_size"], 0))
        return LoadResult(seconds=0.001, by_position=taken, total_bytes=total)

    @staticmethod
    def _shares(order: LoadOrder, row: Row) -> list[tuple[Gpu, int]]:
        gpus, options = order.gpus, order.shape.options
        mib = row["actual_vram_mib"]
        layers = row["block_count"] + 1
        if 0 <= options.num_gpu < layers:
            mib = mib * options.num_gpu // layers
        if options.main_gpu is not None:
            return [(g, mib * MIB if i == options.main_gpu else 0) for i, g in enumerate(gpus)]
        if not gpus:
            return []
        each, rest = divmod(mib, len(gpus))
        return [(g, (each + (rest if i == 0 else 0)) * MIB) for i, g in enumerate(gpus)]


class ScenarioRun:
    """One scenario on a fresh twin, step by step."""

    def __init__(self, scenario: Row, ask_seed: int = 0) -> None:
        self._scenario = scenario
        self._mode = MODES[scenario["mode"]]
        self._timeline = Timeline()
        gpus = [read_gpu({"compute": "8.9", "driver_major": 12, **g}) for g in scenario["gpus"]]
        self._cards = Cards(self._timeline, gpus)
        for gpu, mib in zip(gpus, scenario["foreign_mib"], strict=True):
            self._cards.set_foreign(gpu.device, mib * MIB)
        self._rows = {row["name"]: row for row in scenario["models"]}
        self._models = {name: _model(row) for name, row in self._rows.items()}
        self._system_free = scenario["system_free"]
        self._events: list[Event] = []
        discovery: Discovery = (
            RunnerDiscovery(self._cards, _ask_order(ask_seed))
            if self._mode.is_real
            else DriverDiscovery(self._cards)
        )
        self._discovery = discovery
        self._env = ServerEnv.from_environ(scenario["env"])
        self._scheduler = Scheduler(
            self._timeline,
            self._cards,
            discovery,
            RecordedPhysics(self._rows, is_real=self._mode.is_real),
            self._env,
            system=lambda: SystemMemory(
                total_bytes=scenario["system_total"], free_bytes=self._system_free
            ),
            listener=self._events.append,
            recovery_timeout=self._mode.recovery_timeout,
        )
        self._ids: dict[str, int] = {}
        self._asked: dict[int, tuple[str, str]] = {}  # request -> its id in the file, model
        self._next_id = 0

    def misses(self) -> Iterator[str]:
        """Yields what differs from the recording; stops at the first step that does."""
        for number, recorded in enumerate(self._scenario["steps"]):
            computed = self._step(recorded)
            found = [
                f"{self._scenario['name']} step {number}: {key}: recorded {_short(recorded[key])},"
                f" computed {_short(value)}"
                for key, value in computed.items()
                if key in recorded and not _agrees(key, recorded[key], value)
            ]
            if found:
                yield from found
                return

    def _step(self, recorded: Row) -> dict[str, Any]:
        step = recorded["step"]
        self._events.clear()
        if step["op"] == "request":
            computed = self._request(step, recorded.get("auto_release", ()))
        else:
            self._do(step)
            self._settle()
            computed = {"events": _told(self._events)}
            if granted := self._granted():
                computed["granted"] = granted
        return computed | {"resident": self._resident(), "driver_free_mib": self._driver_free()}

    def _do(self, step: Row) -> None:
        match step["op"]:
            case "release":
                self._scheduler.finish(self._ids[step["id"]])
            case "cancel":
                self._scheduler.cancel(self._ids[step["id"]])
            case "foreign":
                gpu = self._cards.gpus[step.get("gpu", 0)]
                self._cards.set_foreign(gpu.device, step.get("mib", 0) * MIB)
            case "system_free":
                self._system_free = step.get("mib", 0) * MIB
            case "freeze" | "thaw" as op:
                if isinstance(self._discovery, DriverDiscovery):  # real mode has nothing to freeze
                    getattr(self._discovery, op)()
            case "unload":
                self._scheduler.unload(self._models[step["model"]].key)
            case "runtime_oom":
                self._scheduler.runtime_oom()
            case "sleep":
                self._timeline.advance(self._timeline.now + step["ms"] / 1000)
            case unknown:
                raise ValueError(f"no such step: {unknown}")

    def _request(self, step: Row, auto_release: Sequence[str]) -> dict[str, Any]:
        model = self._models[step["model"]]
        request_id, self._next_id = self._next_id, self._next_id + 1
        name = step.get("id", f"#{self._next_id}")
        self._ids[name] = request_id
        self._asked[request_id] = (name, model.name)
        request = Request(
            id=request_id,
            model=model,
            shape=self._shape(model, step.get("options", {})),
            keep_alive=_seconds(step.get("keep_alive_s")),
            submitted_at=self._timeline.now,
        )
        slot_count = slots(model.file, self._env.num_parallel, completes=model.completes)
        cells = server_context(request.shape.options.num_ctx, model.file, slot_count)
        computed: dict[str, Any] = {
            "effective_ctx": cells,
            "predicted": predict_vram(model.file, cells),
        }
        self._scheduler.submit(request)
        self._await_answer(request_id)
        answer = self._answer(request_id)
        computed["events"] = _told(self._events)
        computed["outcome"] = (
            "waiting" if answer is None else "ok" if isinstance(answer, Granted) else "error"
        )
        if isinstance(answer, Failed):
            computed["error"] = answer.error
        seen = len(self._events)
        if isinstance(answer, Granted) and not step.get("hold"):
            self._scheduler.finish(request_id)
        if answer is None:
            for held in auto_release:
                self._scheduler.finish(self._ids[held])
        self._settle()
        computed["after"] = _told(self._events[seen:])
        if answer is None and auto_release:
            computed["granted"] = self._granted()
        return computed

    def _shape(self, model: TwinModel, options: Row) -> LoadShape:
        return load_shape(
            model.file,
            request=options,
            modelfile={},
            default_num_ctx=self._scenario["default_num_ctx"],
            context_length_env=self._env.context_length,
            is_embedding=model.embeds,
        )

    def _answer(self, request_id: int) -> Granted | Failed | None:
        answers = (e for e in self._events if isinstance(e, Granted | Failed))
        return next((e for e in answers if e.request_id == request_id), None)

    def _await_answer(self, request_id: int) -> None:
        deadline = self._timeline.now + self._mode.patience
        while self._answer(request_id) is None and self._timeline.now < deadline:
            self._timeline.advance(min(self._timeline.next_at, deadline))

    def _settle(self) -> None:
        """Lets everything short end: loads, recoveries, retries; no keep-alive of 0.3 s."""
        self._finish_granted()
        horizon = self._timeline.now + 0.05
        while self._scheduler.is_working or self._timeline.next_at <= horizon:
            self._timeline.advance(self._timeline.next_at)
            self._finish_granted()

    def _finish_granted(self) -> None:
        """Requests that waited and are not held end as soon as they are granted."""
        held = {
            self._ids[recorded["step"]["id"]]
            for recorded in self._scenario["steps"]
            if recorded["step"].get("hold") and recorded["step"]["id"] in self._ids
        }
        for event in tuple(self._events):
            if isinstance(event, Granted) and event.request_id not in held:
                self._scheduler.finish(event.request_id)

    def _granted(self) -> list[dict[str, str]]:
        told = []
        for event in self._events:
            if not isinstance(event, Granted | Failed):
                continue
            name, model = self._asked[event.request_id]
            row = {"id": name, "model": model, "outcome": "ok"}
            if isinstance(event, Failed):
                row |= {"outcome": "error", "error": event.error}
            told.append(row)
        return told

    def _resident(self) -> list[dict[str, Any]]:
        rows = []
        for runner in sorted(self._scheduler.loaded.values(), key=lambda r: r.model.key):
            duration = runner.duration
            rows.append(
                {
                    "busy": runner.refs,
                    "devices": [gpu.device for gpu in runner.gpus],
                    "model": runner.model.name,
                    "num_batch": runner.shape.options.num_batch,
                    "num_ctx": runner.shape.options.num_ctx,
                    "session_s": GO_FOREVER_SECONDS if duration == FOREVER else duration,
                    "total": runner.total_bytes,
                    "vram": runner.vram_bytes,
                    "vram_by_gpu_seen": {k: v for k, v in runner.view.bytes_by_gpu.items() if v},
                }
            )
        return rows

    def _driver_free(self) -> list[int]:
        return [self._cards.free(gpu.device) // MIB for gpu in self._cards.gpus]


def check_scenarios(document: Row) -> Iterator[tuple[int, list[str]]]:
    """Yields (steps, misses) for every scenario of one document."""
    for scenario in document.get("scenarios", ()):
        try:
            found = _misses_in_any_order(scenario)
        except (KeyError, TypeError, ValueError) as problem:
            found = [f"{scenario.get('name')}: not of the known form: {problem!r}"]
        yield len(scenario["steps"]), found


def _misses_in_any_order(scenario: Row) -> list[str]:
    """Returns no misses if some order of asking runners gives the recording.

    The real order is that of a Go map, random per call, and shows only where several runners
    share a GPU.
    """
    first = list(ScenarioRun(scenario).misses())
    if not first or scenario["mode"] != "real":
        return first
    retries = (list(ScenarioRun(scenario, seed).misses()) for seed in range(1, ASK_ORDERS))
    return first if all(retries) else []


def _ask_order(seed: int) -> Callable[[Sequence[RunnerView]], Sequence[RunnerView]]:
    """Returns newest first for 0, oldest first for 1, else a seeded random order per call."""
    if seed == 0:
        return newest_first
    if seed == 1:
        return tuple
    chance = Random(seed)
    return lambda runners: chance.sample(list(runners), len(runners))


def _model(row: Row) -> TwinModel:
    file = WeightsFile(
        file_bytes=row["file_size"],
        block_count=row["block_count"],
        head_count_max=row["head_count"],
        head_count_kv_min=row["head_count_kv"],
        embedding_length=row["embedding_length"],
        trained_context=row["context_length"],
    )
    embeds = row.get("embedding", False)
    return TwinModel(
        key=f"{row['name']}.gguf",
        name=row["name"],
        file=file,
        completes=not embeds,
        embeds=embeds,
    )


def _seconds(value: float | None) -> float | None:
    return FOREVER if value is not None and value < 0 else value


def _told(events: list[Event]) -> list[dict[str, Any]]:
    """Returns events in the recordings' form; loads are told when they end, as recorded."""
    told: list[dict[str, Any]] = []
    for event in events:
        if isinstance(event, Unloaded):
            told.append({"event": "unload", "model": event.name})
        elif isinstance(event, LoadEnded):
            told.append(_load_row(event))
    return told


def _load_row(event: LoadEnded) -> dict[str, Any]:
    order, options = event.order, event.order.shape.options
    result = "ok"
    if event.error:
        result = "oom" if is_out_of_memory(event.error) else "error"
    return {
        "devices": [{"device": g.device, "free_seen": g.free_bytes} for g in order.gpus],
        "event": "load",
        "main_gpu": options.main_gpu,
        "model": order.model.name,
        "num_batch": options.num_batch,
        "num_ctx": options.num_ctx,
        "num_gpu": options.num_gpu,
        "parallel": order.parallel,
        "require_full": order.must_be_full,
        "result": result,
        "use_mmap": options.use_mmap,
    }


def _plain_results(recorded: object) -> object:
    """Returns recorded events with every failure that is not lack of memory called `error`."""
    if not isinstance(recorded, list):
        return recorded
    return [
        {**row, "result": "error"}
        if isinstance(row, Mapping) and row.get("result") not in (None, "ok", "oom")
        else row
        for row in recorded
    ]


def _agrees(key: str, recorded: object, computed: object) -> bool:
    if key == "error":
        return _same_error(recorded, computed)
    return _same(_plain_results(recorded), computed)


def _same(recorded: object, computed: object) -> bool:
    """Compares what both name; unloads marked `order: any` in any order."""
    if isinstance(recorded, list) and isinstance(computed, list):
        if len(recorded) != len(computed):
            return False
        recorded = [dict(r) if isinstance(r, Mapping) else r for r in recorded]
        if any(isinstance(r, dict) and r.pop("order", None) == "any" for r in list(recorded)):
            return _unordered(recorded) == _unordered(computed)
        return all(_same(r, c) for r, c in zip(recorded, computed, strict=True))
    if isinstance(recorded, Mapping) and isinstance(computed, Mapping):
        return recorded.keys() == computed.keys() and all(
            _same_error(recorded[key], computed[key])
            if key == "error"
            else _same(recorded[key], computed[key])
            for key in recorded
        )
    return bool(recorded == computed)


def _same_error(recorded: object, computed: object) -> bool:
    """Compares what the scheduler makes of an error: its own words, lack of memory, another."""
    texts = (str(recorded), str(computed))
    if QUEUE_FULL in texts:
        return texts[0] == texts[1]
    return is_out_of_memory(texts[0]) == is_out_of_memory(texts[1])


def _unordered(rows: list[Any]) -> list[str]:
    """Sorts runs of unloads, keeps everything else in place."""
    texts: list[str] = []
    run: list[str] = []
    for row in rows:
        if isinstance(row, Mapping) and row.get("event") == "unload":
            run.append(repr(row["model"]))
            continue
        texts += [*sorted(run), repr(sorted(row.items()))]
        run = []
    return texts + sorted(run)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 400 else text[:400] + "…"
