"""Idle ages cut into bins that widen with age.

Uses of a model come seconds apart in a session and hours apart between sessions, so bins grow in
proportion to age. Beyond the split they are finer: there a timer shows as one or two bins.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from math import exp, inf, log2
from typing import Final

SPLIT_SECONDS: Final = 64.0
"""Where the fine bins begin: about the shortest gap that a timer (cron: one minute) leaves."""

COARSE_PER_OCTAVE: Final = 1
"""Below the split: each bin as wide as all before. Nobody reloads a model for gaps that short."""

LAST_SECONDS: Final = 3.0e6
"""Five weeks: four weekly cycles and a margin. Longer gaps fall into one open bin."""

KERNEL_OCTAVES: Final = 0.72
"""How far one bin tells about its neighbours: half its weight reaches half an octave.

Source: 0.5 = exp(-0.5 / 0.72); the score on the traces moves by less than 1 % from a quarter of
an octave to two.
"""


class Grid:
    """The bins; `edges[j] <= age < edges[j + 1]`, the last one open.

    Args:
        fine_per_octave: bins in a doubling of age beyond the split.

    Attributes:
        bin_of: returns the bin that an age falls into; no method, since nothing is asked so often.
    """

    __slots__ = ("bin_of", "count", "edges", "fades", "fine_per_octave", "split")

    def __init__(self, fine_per_octave: int) -> None:
        coarse = range(int(log2(SPLIT_SECONDS) * COARSE_PER_OCTAVE))
        fine = range(int(log2(LAST_SECONDS / SPLIT_SECONDS) * fine_per_octave) + 1)
        edges = [0.0, *(2 ** (k / COARSE_PER_OCTAVE) for k in coarse)]
        self.split = len(edges)
        edges += [SPLIT_SECONDS * 2 ** (k / fine_per_octave) for k in fine]
        self.count = len(edges)
        self.edges = (*edges, inf)
        self.bin_of = partial(bisect_right, edges[1:])
        self.fine_per_octave = fine_per_octave
        fade_coarse = exp(-1 / (KERNEL_OCTAVES * COARSE_PER_OCTAVE))
        fade_fine = exp(-1 / (KERNEL_OCTAVES * fine_per_octave))
        self.fades = (fade_coarse,) * self.split + (fade_fine,) * (self.count - self.split)

    def widths(self) -> list[float]:
        """Returns the seconds in each bin; the open one counts as long as all before it."""
        edges = self.edges
        closed = [edges[j + 1] - edges[j] for j in range(self.count - 1)]
        return [*closed, edges[self.count - 1]]
