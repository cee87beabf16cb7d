"""A pretended host whose loads follow no formula of ours, and how soon it is learnt.

Not an instance of the estimator's own form (host + ratios): a driver context by class of card,
kernels that an architecture brings along, a compute buffer with a floor, a few models whose rows
are padded, buffers in pages of 2 MiB, a pool that long prompts leave behind, and now and then a
reading of the wrong thing. Sizes: process overheads and the pool are public readings (8 GB laptop
cards 140 to 153, RTX 3090 248 to 270, A40 297, RTX 4090 451 to 456 MiB; about 20 MiB after a long
prompt); the rest is chosen wide.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from statistics import median

from warmset.core.catalogue import CATALOGUE
from warmset.core.footprint import Footprint, estimate_footprint
from warmset.core.footprint.calibrate import Calibration
from warmset.core.footprint.observed import LoadKey, load_key, observe_load
from warmset.core.units import MIB

EPOCH = "ollama 0.33.0, driver 570"
CONTEXTS_MIB = (145, 153, 255, 270, 297, 453, 520)
_PAGE = 2 * MIB
_CONTEXTS = (2048, 4096, 8192, 16384, 32768)


def estimate(name: str, context: int) -> tuple[Footprint, LoadKey]:
    """Returns the cold estimate of a well-known model, and the key of its load."""
    model = CATALOGUE[name]
    found = estimate_footprint(model.facts, num_ctx=context, file_bytes=model.file_bytes)
    key = load_key(found, model=model.key, architecture=model.arch, devices=("GPU-0",))
    return found, key


class PretendedHost:
    """What loads truly take on one host with one GPU.

    Args:
        seed: of everything by chance.
        wrong_share: how many readings are of the wrong thing.
    """

    def __init__(self, seed: int, *, wrong_share: float = 0.03) -> None:
        self.rng = random.Random(seed)
        self.context = self.rng.choice(CONTEXTS_MIB) * MIB * self.rng.uniform(0.98, 1.02)
        self.wrong_share = wrong_share
        self._kernels: dict[str, float] = {}
        self._graphs: dict[str, tuple[float, float]] = {}
        self._padding: dict[str, float] = {}

    def draw(self, count: int) -> list[tuple[str, int]]:
        """Returns loads by chance: models and contexts."""
        names = sorted(CATALOGUE)
        return [(self.rng.choice(names), self.rng.choice(_CONTEXTS)) for _ in range(count)]

    def load(self, found: Footprint, key: LoadKey) -> int:
        """Returns the bytes of one load of this shape."""
        rng, share = self.rng, found.devices[0]
        kernels = self._kernels.setdefault(key.architecture, rng.choice((0, 0, 24, 60)) * MIB)
        drawn = (rng.uniform(32, 200) * MIB, rng.uniform(0.85, 1.15))
        floor, slope = self._graphs.setdefault(key.architecture, drawn)
        padding = self._padding.setdefault(key.model, rng.choice((0, 0, 0.002, 0.006)))
        buffers = (
            (share.weights_bytes or 0) * (1 + padding),
            share.kv_bytes + share.recurrent_bytes,
            max(floor, slope * share.compute_bytes),
        )
        pool = rng.choice((0, 20)) * MIB
        paged = sum(-(-int(size) // _PAGE) * _PAGE for size in buffers)
        return int(paged + self.context + kernels + pool + rng.expovariate(1 / 3) * MIB)

    def read(self, found: Footprint, key: LoadKey) -> tuple[int, bool]:
        """Returns what a reading of one load says, and whether it is of the wrong thing."""
        truth = self.load(found, key)
        if self.rng.random() >= self.wrong_share:
            return truth, False
        if self.rng.random() < 0.5:
            return truth + int(self.rng.uniform(300, 900)) * MIB, True  # a neighbour's bytes too
        return int(truth * self.rng.uniform(0.6, 0.9)), True  # read before the load was done


@dataclass
class Learnt:
    """Scores of estimates after a few observed loads. Errors are ratios, distances bytes."""

    cold: list[float] = field(default_factory=list)
    unseen: list[float] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    misread: list[int] = field(default_factory=list)
    missed: int = 0
    dangerous: int = 0  # more than 5 % above the bound, misread shapes included
    excess_bytes: int = 0
    truth_bytes: int = 0

    def report(self) -> str:
        """Returns one paragraph."""
        near = sum(distance <= 50 * MIB for distance in self.seen)
        unseen = len(self.unseen)
        return (
            f"  never seen   n={unseen:4}  median {median(self.unseen):.2%}"
            f" (cold {median(self.cold):.2%})  above the bound {self.missed / unseen:.1%}"
            f"  excess {self.excess_bytes / self.truth_bytes:.1%}\n"
            f"  seen         n={len(self.seen):4}  within 50 MiB {near / len(self.seen):.1%}"
            f"  worst {max(self.seen) / MIB:.0f} MiB\n"
            f"  seen, but misread n={len(self.misread)};"
            f" loads more than 5 % above their bound: {self.dangerous}"
        )


def learn(hosts: int = 60, loads: int = 5) -> Learnt:
    """Returns how estimates do on pretended hosts after some observed loads each."""
    scores = Learnt()
    for seed in range(hosts):
        host = PretendedHost(seed)
        taught, wrong, observed = host.draw(loads), set(), []
        for at, shape in enumerate(taught):
            found, key = estimate(*shape)
            shown, is_wrong = host.read(found, key)
            if is_wrong:
                wrong.add(shape)
            load = observe_load(found, key, at=at, epoch=EPOCH, driver_bytes=(shown,))
            if load is not None:  # too little to be a complete load
                observed.append(load)
        calibration = Calibration(observed, EPOCH)
        for shape in (*taught, *(s for s in host.draw(15) if s not in taught)):
            cold, key = estimate(*shape)
            found, truth = calibration.apply(cold, key), host.load(cold, key)
            assert found.vram_bytes is not None
            assert cold.vram_bytes is not None
            assert found.vram_upper_bytes is not None
            scores.dangerous += truth > 1.05 * found.vram_upper_bytes
            if shape in taught:
                distance = abs(found.vram_bytes - truth)
                (scores.misread if shape in wrong else scores.seen).append(distance)
                continue
            scores.cold.append(abs(cold.vram_bytes / truth - 1))
            scores.unseen.append(abs(found.vram_bytes / truth - 1))
            scores.missed += found.vram_upper_bytes < truth
            scores.excess_bytes += found.vram_upper_bytes - truth
            scores.truth_bytes += truth
    return scores
