"""A footprint with what was learnt on the host in it.

The correction stands in the overhead of each GPU; where a GPU holds less than the exact parts and
the compute buffer, the compute buffer gives way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from warmset.core.footprint.epoch import COLD_DEVIATIONS, UPPER_QUANTILE
from warmset.core.footprint.overhead import (
    COMPUTE_UPPER_RATIO,
    CONTEXT_BYTES,
    CONTEXT_UPPER_BYTES,
)
from warmset.core.footprint.residuals import NOISE_BYTES
from warmset.core.footprint.result import Basis, DeviceShare, Footprint, Term
from warmset.core.units import format_bytes


def corrected(
    cold: Footprint, shares: Iterable[DeviceShare], *, basis: Basis, words: str
) -> Footprint:
    """Returns the footprint with these shares, and with terms that tell what was learnt.

    Args:
        cold: as it was estimated.
        shares: of each GPU, corrected.
        basis: what the bytes are known from now.
        words: the same for people.
    """
    devices = tuple(shares)
    vram = _sum([share.vram_bytes for share in devices])
    moved = vram - (cold.vram_bytes or 0)
    upper = _sum([share.vram_upper_bytes for share in devices])
    return replace(
        cold,
        devices=devices,
        compute_bytes=sum(share.compute_bytes for share in devices),
        overhead_bytes=sum(share.overhead_bytes for share in devices),
        vram_bytes=vram,
        vram_upper_bytes=upper,
        basis=basis,
        grounds=f"{cold.grounds}; {words}",
        explain=partial(_explain, cold, words, moved, upper - vram),
    )


def corrected_share(
    share: DeviceShare, point: float, deviation: float, *, deviations: float
) -> DeviceShare:
    """Returns what a GPU will hold.

    Args:
        share: as it was estimated.
        point: the bytes expected there.
        deviation: of what will be shown from `point`. Units: bytes.
        deviations: how many of them the upper bound lies above it.
    """
    margin = max(deviations * deviation, NOISE_BYTES)
    if deviations <= COLD_DEVIATIONS:
        margin = min(margin, _cold_margin(share))
    upper = round(point + margin + _structural(share))
    exact = exact_bytes(share)
    rest = max(round(point) - exact, 0)
    compute = min(share.compute_bytes, rest)
    return replace(
        share,
        compute_bytes=compute,
        compute_upper_bytes=max(share.compute_upper_bytes, compute),
        overhead_bytes=rest - compute,
        vram_bytes=round(point),
        vram_upper_bytes=max(upper, round(point)),
    )


def exact_bytes(share: DeviceShare) -> int:
    """Returns the parts that follow from the file and the context alone."""
    return (share.weights_bytes or 0) + share.kv_bytes + share.recurrent_bytes


def _structural(share: DeviceShare) -> int:
    """Returns what may yet come, whatever was measured: a projector's graph, a draft's scratch."""
    if share.vram_bytes is None or share.vram_upper_bytes is None:
        return 0
    return max(share.vram_upper_bytes - share.vram_bytes - _cold_margin(share), 0)


def _cold_margin(share: DeviceShare) -> int:
    """Returns what the cold bound allows for a driver context and a compute buffer."""
    compute = int(COMPUTE_UPPER_RATIO * share.compute_bytes) - share.compute_bytes
    return CONTEXT_UPPER_BYTES - CONTEXT_BYTES + compute


def _sum(values: Sequence[int | None]) -> int:
    return sum(value or 0 for value in values)


def _explain(cold: Footprint, words: str, moved: int, margin: int) -> tuple[Term, ...]:
    """Returns the terms of the cold estimate with what was learnt, and the new margin."""
    sign = "-" if moved < 0 else "+"
    source = "loads observed on this host"
    learnt = Term(
        name="learnt here",
        tier="gpu",
        size_bytes=moved,
        formula=f"{words}: {sign}{format_bytes(abs(moved))} against the cold estimate, in overhead",
        source=source,
        certainty="derived",
    )
    bound = Term(
        name="margin",
        tier="bound",
        size_bytes=margin,
        formula=f"{UPPER_QUANTILE:.0%} of past errors here, {COLD_DEVIATIONS:g} deviations before",
        source=source,
        certainty="derived",
    )
    return (*(term for term in cold.terms if term.tier != "bound"), learnt, bound)
