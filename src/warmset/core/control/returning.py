"""Who makes room for others, and would be fetched again after them.

Their place is not given to a lower rank in the meantime: it would have to go again for them.
"""

from __future__ import annotations

from collections.abc import Collection

from warmset.core.control.scene import Scene
from warmset.core.model import ModelKey
from warmset.core.planner import Candidate, build_candidates
from warmset.core.planner.locate import locate_residents
from warmset.core.replacing import replace


def who_returns(
    candidate: Candidate, goers: Collection[ModelKey], scene: Scene
) -> tuple[Candidate, ...]:
    """Returns residents of higher rank that are to leave and are fetched again, as absent models.

    Args:
        candidate: who would come now.
        goers: residents that go for somebody, beside those that the plan takes out.
        scene: for the plan, and for what a load of warmset would take: a client may have loaded
            them with another context.
    """
    wish, observation = scene.wish, scene.observation
    leaving = {*goers, *(change.key for change in wish.plan.changes)}
    back = {
        c.key: c
        for c in wish.candidates
        if c.is_resident
        and c.key in leaving
        and c.rank > candidate.rank
        and c.is_preloadable
        and not c.dismissed
    }
    if not back:
        return ()
    entries = tuple(entry for entry in observation.entries if entry.key in back)
    gone = replace(observation, entries=entries, residents=())
    fresh = build_candidates(gone, scene.config.settings, wish.host, locate_residents(gone, {}))
    return tuple(
        replace(
            back[f.key].afresh(),
            on_one=f.on_one,
            spread=f.spread,
            on_cpu_bytes=f.on_cpu_bytes,
            shape=f.shape,
        )
        for f in fresh
    )
