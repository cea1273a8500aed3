"""Programs against each other, each at its best: what `evolve compare` shows.

Constants decide more than structure does (a badly scaled AdamW loses to anything),
so every program first gets the best scale of its update and as many trials of its
constants. Then all are trained on the same fresh seeds and judged on held-out data,
each on the model that the first program's memory allows it (or all on the same).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from evolve.judge.trials import HELDOUT, Interval, Trials
from evolve.search.fitness import Losses
from primitives.abstract import analyse
from primitives.program import Program


class Ranked(NamedTuple):
    """How a program does at its best.

    Attributes:
        name: as it was asked for.
        slots: its live slots.
        tuned: the program with the constants and scale it was judged with.
        loss: for each task the mean held-out loss, with its standard error.
        better: by how much it does better than the first program, in units of what that
            gains by training, paired seed by seed; None for the first itself, and where
            a training failed.
    """

    name: str
    slots: int
    tuned: Program
    loss: dict[str, tuple[float, float]] | None
    better: Interval | None


def rank(
    trials: Trials, programs: Sequence[tuple[str, Program]], tuning: int, pairs: int
) -> Iterator[Ranked]:
    """Each program in turn, the first of them being the reference.

    `tuning` is the number of constants tried for each, `pairs` that of the seeds compared.
    """
    reference = None
    for name, program in programs:
        ((best, _),) = trials.at_best_scale([program])
        tuned = trials.tune(best, tuning) if best.constants else best
        (losses,) = trials.deciding([tuned], pairs, HELDOUT)
        better = None
        if reference is not None:
            worse = trials.excess(tuned, reference, pairs, HELDOUT)
            better = worse and Interval(-worse.mean, -worse.high, -worse.low, worse.pairs)
        reference = reference or tuned
        yield Ranked(name, len(analyse(program).slots), tuned, _summary(losses), better)


def _summary(losses: Losses | None) -> dict[str, tuple[float, float]] | None:
    if losses is None:
        return None
    return {
        task: (fmean(values), stdev(values) / sqrt(len(values))) for task, values in losses.items()
    }
