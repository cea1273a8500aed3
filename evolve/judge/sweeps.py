"""Programs over a grid of learning rates and weight decays, or over batch sizes.

The two pictures of the paper (arXiv 2302.06675, section 4) that tell whether an optimizer is easy
to tune, and whether it lives on large batches. Nothing is chosen on the seeds and the split of
the data that a sweep shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from evolve.judge import ranking
from evolve.judge.ranking import at_best
from evolve.judge.trials import AGAIN, CLOSE, HELDOUT, Trials, scaled
from evolve.search.fitness import Losses
from primitives.program import RATE, UPDATE, WEIGHTS, Program, Statement
from primitives.text import to_text

LR_DECAY, BATCH = "lr,decay", "batch"
#: Factors of the tuned learning rate; what a step at the peak takes from every weight.
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
DECAYS = (0.0, 1e-4, 3e-4, 1e-3, 3e-3)
#: Factors of a task's batch, and those of the update that are tried at each.
BATCHES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SCALES = (0.25, 0.5, 2.0, 4.0)
#: Seeds of every place.
SEEDS = 4
_DECAY = "decay_of_the_sweep"

Named = Sequence[tuple[str, Program]]


def cost(sweep: str, programs: int, tuning: int, choosing: int) -> int:
    """About how many trainings a sweep takes."""
    if sweep == LR_DECAY:
        places = len(RATES) * len(DECAYS) * SEEDS
    else:
        places = len(BATCHES) * ((1 + len(SCALES) + CLOSE * AGAIN) * choosing + SEEDS)
    return programs * (ranking.cost(tuning, choosing) + places)


def over_rates(trials: Trials, programs: Named, tuning: int) -> list[dict[str, Any]]:
    """The held-out loss for each decay (rows) and learning rate, of each program tuned.

    The decay is added to the program's own, decoupled from its update and from the factor of
    the learning rate, and follows the schedule.
    """
    found = []
    for name, program in programs:
        best = at_best(trials, program, tuning)
        grid = [decayed(scaled(best, rate), decay) for decay in DECAYS for rate in RATES]
        cells = [_cell(losses) for losses in trials.deciding(grid, SEEDS, HELDOUT)]
        size = len(RATES)
        rows = [cells[i : i + size] for i in range(0, len(cells), size)]
        found.append({"program": name, "text": to_text(best), "cells": rows})
    return found


def over_batches(
    make: Callable[[float], Trials], programs: Named, tuning: int
) -> list[dict[str, Any]]:
    """The held-out loss for each batch size, of each program at the best scale there.

    Every batch size sees as many examples. The constants are tuned at the task's own.

    Arguments:
        make: gives the trials with so many times the batch.
    """
    places = {factor: make(factor) for factor in BATCHES}
    found = []
    for name, program in programs:
        best = at_best(places[1.0], program, tuning)
        cells = []
        for trials in places.values():
            ((there, _),) = trials.at_best_of([best], SCALES)
            (losses,) = trials.deciding([there], SEEDS, HELDOUT)
            cells.append(_cell(losses))
        found.append({"program": name, "text": to_text(best), "cells": cells})
    return found


def decayed(program: Program, decay: float) -> Program:
    """The program with a decoupled weight decay added: `update + decay * lr * w`."""
    if not decay:
        return program
    first = [
        Statement(_DECAY, "multiply", (WEIGHTS, RATE)),
        Statement(_DECAY, "multiply", (_DECAY, decay)),
    ]
    last = Statement(UPDATE, "add", (UPDATE, _DECAY))
    return program.with_statements([*first, *program.statements, last])


def _cell(losses: Losses | None) -> dict[str, float] | None:
    """Mean and standard error of the held-out loss; None if a training failed."""
    if losses is None:
        return None
    (values,) = losses.values()
    return {"mean": fmean(values), "error": stdev(values) / sqrt(len(values))}
