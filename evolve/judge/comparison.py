"""Two programs compared on fresh seeds, pair by pair.

The search scores thousands of programs on the same seeds, so the best score is partly luck: what a
program is worth is measured on others (initial weights and batches). Champion and tuned start are
compared on seeds that nothing was chosen on, and on the held-out split of the data.
"""

from __future__ import annotations

from math import sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from evolve.search.fitness import Losses, progress, score

#: The first of the seeds on which the bests of a search are trained anew, and of those on which the
#: champion is compared. Seeds of the search are 0, 1, ...; these are far from them.
FIRST_FRESH, FIRST_COMPARED = 1_000_000, 2_000_000


class Comparison(NamedTuple):
    """A program against the baseline, in units of fitness.

    Attributes:
        mean: mean over tasks and seeds of `(B - L) / (U - B)`, seed by seed.
        error: standard error of that mean; None with fewer than two pairs.
        pairs: the number of paired trainings.
        wins: pairs in which the program's loss is the lower.
        t, p: Student's t of the mean, and the probability of one as far from zero if
            there were no difference (two-sided); None without an error.
    """

    mean: float
    error: float | None
    pairs: int
    wins: int
    t: float | None = None
    p: float | None = None


def seeds(first: int, count: int) -> list[int]:
    """So many seeds from the first on."""
    return list(range(first, first + count))


def compare(losses: Losses, baseline: Losses, untrained: Losses) -> Comparison | None:
    """The paired comparison; None if there is nothing to compare."""
    gains = [
        gain
        for task, values in losses.items()
        if task in baseline
        for gain in progress(values, baseline[task], _flat(untrained[task], len(values)))
    ]
    if not gains:
        return None
    mean, wins = fmean(gains), sum(gain > 0 for gain in gains)
    error = stdev(gains) / sqrt(len(gains)) if len(gains) > 1 else None
    if not error:  # the programs are the same, or there is one pair
        return Comparison(mean, error, len(gains), wins)
    t = mean / error
    return Comparison(mean, error, len(gains), wins, t, _two_sided(t, len(gains) - 1))


def _two_sided(t: float, freedom: int) -> float:
    from scipy.special import stdtr  # slow to import, and most who import this never ask

    return float(2 * stdtr(freedom, -abs(t)))


def fitness(losses: Losses, baseline: Losses, untrained: Losses) -> float | None:
    """The fitness on fresh seeds, on the scale of the search; None if a training failed."""
    complete = bool(baseline) and all(
        len(losses.get(task, [])) == len(baseline[task]) for task in baseline
    )
    flat = {task: _flat(untrained[task], len(baseline[task])) for task in baseline}
    return score(losses, baseline, flat) if complete else None


def _flat(values: list[float], count: int) -> list[float]:
    return [fmean(values)] * count
