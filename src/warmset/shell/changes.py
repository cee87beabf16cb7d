"""The smallest change after which models would fit together that do not fit now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from warmset.core.model import DeviceId, Entry, ModelKey, Observation, normalise_name
from warmset.core.ollama.context import effective_context
from warmset.core.planner.build import build_candidates
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.holding import Holding
from warmset.core.planner.host_room import build_host
from warmset.core.planner.subsets import fits_together
from warmset.core.settings import Settings
from warmset.shell.newcomer import with_policy

LEAST_CONTEXT: Final = 2048
"""Smaller contexts are of little use, and Ollama gives vision models no less."""

MOST_STEPS: Final = 2
"""Values of one thing that a report shows."""

KV_TYPES: Final = ("q8_0", "q4_0")

BITS_PER_WEIGHT: Final = {
    "F16": 16.0,
    "Q8_0": 8.5,
    "Q6_K": 6.56,
    "Q5_K_M": 5.7,
    "Q4_K_M": 4.89,
    "Q3_K_M": 4.0,
    "Q2_K": 3.16,
}
"""Average bits of a weight. Source: llama.cpp `tools/quantize/README.md`, Llama 3.1 8B."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing to do differently.

    Attributes:
        kind: `context`, `kv-type`, `slots`, `quantisation` or `without`.
        models: whom it concerns; empty: the whole server.
        before, after: the value that changes.
        need_bytes: what all wanted and pinned models then need at most.
        saved_bytes: how much less that is.
    """

    kind: str
    models: tuple[str, ...]
    before: str
    after: str
    need_bytes: int
    saved_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A host with the operator's words and the models that shall fit, to be varied."""

    observation: Observation
    settings: Settings
    located: Mapping[ModelKey, Mapping[DeviceId, int]]
    wanted: frozenset[ModelKey]

    def fits(self) -> Holding:
        """Returns whether all of them can be resident together."""
        host, models = self.build()
        return fits_together(host, models)

    def need_bytes(self) -> int:
        """What they need at most, as far as that is known."""
        return sum(
            c.on_one.upper_bytes if c.on_one is not None else c.on_cpu_bytes or 0
            for c in self.build()[1]
        )

    def build(self) -> tuple[HostCapacity, tuple[Candidate, ...]]:
        """Returns the host, and the wanted models and pins as the planner would weigh them."""
        host, where = build_host(self.observation, self.settings, located=self.located)
        few = tuple(
            e
            for e in self.observation.entries
            if e.key in self.wanted or self.settings.policy_for(e.names).pin
        )
        seen = replace(self.observation, entries=few)
        return host, build_candidates(seen, self.settings, host, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Values of one thing, each a greater change than the one before."""

    kind: str
    models: tuple[str, ...]
    before: str
    steps: tuple[tuple[str, Scene], ...]


def find_changes(scene: Scene) -> tuple[tuple[Change, ...], str]:
    """Returns the changes that are each enough by themselves, the smallest first.

    Small is what saves few bytes: it takes the least away from those who use the models.

    Returns:
        The changes that are known to be enough, and why that is not known of smaller or other
        ones; empty: of all it is known.
    """
    before = scene.need_bytes()
    found, unknown = [], ""
    for ladder in ladders_of(scene):
        for step, (_, varied) in enumerate(ladder.steps):
            answer = varied.fits()
            unknown = unknown or answer.unknown
            if answer.is_possible:
                found.append(change_at(ladder, step, before))
                break
    return tuple(sorted(found, key=lambda change: change.saved_bytes)), unknown


def change_at(ladder: Ladder, step: int, before_bytes: int) -> Change:
    """Returns one step of a ladder as a change from what needed so many bytes."""
    value, varied = ladder.steps[step]
    need = varied.need_bytes()
    return Change(
        kind=ladder.kind,
        models=ladder.models,
        before=ladder.before,
        after=value,
        need_bytes=need,
        saved_bytes=before_bytes - need,
    )


def variations(scene: Scene, entry: Entry) -> Iterator[tuple[str, str, Scene]]:
    """Yields (kind, value, scene) of other ways to have one model: each step of each ladder."""
    for ladder in ladders_of(scene):
        if ladder.kind != "without" and (entry.name in ladder.models or not ladder.models):
            for value, varied in ladder.steps[:MOST_STEPS]:
                yield ladder.kind, value, varied


def ladders_of(scene: Scene) -> Iterator[Ladder]:
    """Yields what can be varied in a scene, each with its steps."""
    host, candidates = scene.build()
    wanted = [c for c in candidates if c.key in scene.wanted]
    contexts = {c.name: _context(c) for c in wanted}
    for name, context in contexts.items():
        yield _contexts(scene, (name,), context)
    if len(wanted) > 1:
        yield _contexts(scene, tuple(contexts), max(contexts.values(), default=0))
    present = host.env.kv_cache_type or "f16"
    types = KV_TYPES[KV_TYPES.index(present) + 1 :] if present in KV_TYPES else KV_TYPES
    yield Ladder(
        kind="kv-type",
        models=(),
        before=present,
        steps=tuple((kv, _with_server(scene, kv_cache_type=kv)) for kv in types),
    )
    slots = max((c.parallel for c in wanted), default=1)
    if slots > 1:
        few = scene.settings
        for c in wanted:
            few = with_policy(few, c.name, parallel=1)
        steps = (("1", replace(_with_server(scene, num_parallel=1), settings=few)),)
        yield Ladder(kind="slots", models=tuple(contexts), before=str(slots), steps=steps)
    for entry in scene.observation.entries:
        if entry.key in scene.wanted:
            yield _quantisations(scene, entry)
    for c in candidates:
        if c.pin and c.key not in scene.wanted:
            freed = with_policy(scene.settings, _word_for(scene.settings, c), pin=False)
            steps = (("not pinned", replace(scene, settings=freed)),)
            yield Ladder(kind="without", models=(c.name,), before="pinned", steps=steps)


def _context(candidate: Candidate) -> int:
    if candidate.shape is None:
        return 0
    return effective_context(candidate.shape.options.num_ctx, candidate.shape.trained_context)


def _contexts(scene: Scene, names: Sequence[str], present: int) -> Ladder:
    """Halves the context of some models, as long as it is of use."""
    steps = []
    context = present // 2
    while context >= LEAST_CONTEXT:
        settings = scene.settings
        for name in names:
            settings = with_policy(settings, name, context=context)
        steps.append((str(context), replace(scene, settings=settings)))
        context //= 2
    return Ladder(kind="context", models=tuple(names), before=str(present), steps=tuple(steps))


def _with_server(scene: Scene, **said: object) -> Scene:
    """Returns the scene with other settings of the server."""
    settings = replace(scene.observation.settings, **said)  # type: ignore[arg-type]  # its fields
    return replace(scene, observation=replace(scene.observation, settings=settings))


def _quantisations(scene: Scene, entry: Entry) -> Ladder:
    """Tries the same weights in fewer bits, from the file's size alone."""
    present = entry.quantization.upper()
    bits = BITS_PER_WEIGHT.get(present)
    smaller = [(q, b) for q, b in BITS_PER_WEIGHT.items() if bits is not None and b < bits]
    file_bytes = entry.file_bytes or entry.size_bytes
    steps = []
    for name, fewer in smaller if file_bytes and bits else ():
        size = int((file_bytes or 0) * fewer / (bits or 1.0))
        smaller_entry = replace(
            entry, file_bytes=size, size_bytes=size, tensors=None, quantization=name
        )
        others = tuple(e for e in scene.observation.entries if e.key != entry.key)
        seen = replace(scene.observation, entries=(*others, smaller_entry))
        steps.append((name, replace(scene, observation=seen)))
    return Ladder(
        kind="quantisation", models=(entry.name,), before=present or "unknown", steps=tuple(steps)
    )


def _word_for(settings: Settings, candidate: Candidate) -> str:
    """Returns the name under which the operator speaks of a model."""
    said = (n for n in candidate.names if normalise_name(n) in settings.models)
    return next(said, candidate.name)
