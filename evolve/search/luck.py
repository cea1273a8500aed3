"""How lucky a seed is.

Each program is trained on a seed of its own first, so that no search climbs the landscape of
one of them; but seeds differ. The baseline was chosen for its losses on these very seeds, on
the first of them most of all, and programs of another niche train models of another width: on
that seed programs score 0.03 less than on all (measured). The difference is much the same
for the programs of a niche: its mean over those that were trained on every seed is added to
the scores of those that were not. To know it, the first few programs of a niche are trained
on every seed, whatever they score.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

#: So many programs of a niche must have been trained on every seed.
ENOUGH = 4


class Luck:
    """For each niche and seed the mean difference to all seeds."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, int], float] = defaultdict(float)
        self._counts: dict[int, int] = defaultdict(int)

    def note(self, niche: int, scores: Sequence[float]) -> None:
        """A program was trained on every seed: its score on each of them."""
        self._counts[niche] += 1
        for seed, score in enumerate(scores):
            self._sums[niche, seed] += fmean(scores) - score

    def is_known(self, niche: int) -> bool:
        """Whether enough programs were trained on every seed."""
        return self._counts.get(niche, 0) >= ENOUGH

    def expected(self, niche: int, seeds: Sequence[int]) -> float:
        """What training on the other seeds is expected to add to the mean score on these."""
        count = self._counts.get(niche, 0)
        return fmean(self._sums[niche, seed] for seed in seeds) / count if count else 0.0
