"""How lucky the first seeds are.

The baseline was chosen for its losses on these very seeds, on the first of them most of
all, and programs of another niche train models of another width. So what a program scores
on its first seed may be 0.02 below what it scores on all of them (measured), and then no
newcomer would ever seem better than a program that was trained on all. The difference is
much the same for the programs of a niche: its mean over those that were trained on every
seed is added to the score of those that were not. To know it, the first few programs of
a niche are trained on every seed, whatever they score.
"""

from __future__ import annotations

from collections import defaultdict

#: So many programs of a niche must have been trained on every seed.
ENOUGH = 4


class Luck:
    """For each niche and number of seeds the mean difference to all seeds.

    Arguments:
        every: the number of all seeds.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._sums: dict[tuple[int, int], float] = defaultdict(float)
        self._counts: dict[tuple[int, int], int] = defaultdict(int)

    def note(self, niche: int, scores: dict[int, float]) -> None:
        """A program was trained on every seed: its scores on the first so many."""
        for seeds, score in scores.items():
            self._sums[niche, seeds] += scores[self._every] - score
            self._counts[niche, seeds] += 1

    def is_known(self, niche: int) -> bool:
        """Whether enough programs were trained on every seed."""
        return self._counts.get((niche, self._every), 0) >= ENOUGH

    def expected(self, niche: int, seeds: int) -> float:
        """What training on the other seeds is expected to add to a score."""
        count = self._counts.get((niche, seeds), 0)
        return self._sums[niche, seeds] / count if count else 0.0
