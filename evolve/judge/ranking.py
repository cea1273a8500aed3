"""Programs against each other, each at its best: what `evolve compare` shows.

Constants decide more than structure does (a badly scaled AdamW loses to anything), so on every
task each program first gets the best scale of its update and as many trials of its constants; at
a larger rung moreover the best of a few scales. Then all are trained on the same fresh seeds and
judged on held-out data, each on the model that the first program's memory allows it (or all on
the same).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from evolve.judge.heldout import SCALES
from evolve.judge.trials import AGAIN, CLOSE, COARSE, FINE, HELDOUT, REFINED, Interval, Trials
from evolve.search.fitness import Losses
from primitives.abstract import analyse
from primitives.program import Program
from proxy_tasks.task import mean_sizes

#: The trials of a task at a rung.
Make = Callable[[str, int], Trials]


class Result(NamedTuple):
    """How a program does on one task at one rung.

    Attributes:
        task, rung: where.
        tuned: the program with the constants and scale it was judged with.
        loss: the mean held-out loss, with its standard error; None if a training failed.
        better: by how much it does better than the first program, in units of what that
            gains by training, paired seed by seed; None for the first itself, and where
            a training failed.
    """

    task: str
    rung: int
    tuned: Program
    loss: tuple[float, float] | None
    better: Interval | None


class Ranked(NamedTuple):
    """How a program does at its best.

    Attributes:
        name: of the program.
        slots: the live ones that are shaped as the weights.
        memory: what all live slots hold, in numbers for each weight.
        results: one for each place.
    """

    name: str
    slots: int
    memory: float
    results: tuple[Result, ...]

    @property
    def better(self) -> float | None:
        """The mean over the places; None for the reference, and where a training failed."""
        found = [result.better.mean for result in self.results if result.better]
        return fmean(found) if len(found) == len(self.results) else None


def rank(
    make: Make,
    programs: Sequence[tuple[str, Program]],
    tasks: Sequence[str],
    rungs: Sequence[int],
    tuning: int,
    pairs: int,
) -> Iterator[Ranked]:
    """Each program in turn, the first of them being the reference.

    Arguments:
        make: gives the trials of a task at a rung.
        programs: pairs of a name and a program.
        tasks, rungs: every task is a place at every rung.
        tuning: the number of constants tried for each program on each task.
        pairs: the number of seeds compared.
    """
    places = {(task, rung): make(task, rung) for task in tasks for rung in rungs}
    first = {task: places.get((task, 1)) or make(task, 1) for task in tasks}
    references: dict[tuple[str, int], Program] = {}
    for name, program in programs:
        results = []
        for task in tasks:
            best = at_best(first[task], program, tuning)
            for rung in rungs:
                trials, tuned = places[task, rung], best
                if rung > 1:
                    ((tuned, _),) = trials.at_best_of([best], SCALES)
                reference = references.setdefault((task, rung), tuned)
                results.append(_result(trials, task, rung, tuned, reference, pairs))
        known = analyse(program)
        memory = fmean(known.memory(mean_sizes(first[task].tasks)) for task in tasks)
        yield Ranked(name, known.trees, memory, tuple(results))


def cost(tuning: int, choosing: int) -> int:
    """About how many trainings `at_best` takes, with so many seeds for each choice."""
    scales = len(COARSE) + 1 + len(FINE)
    return round(choosing * (scales + tuning * (1 + REFINED) + 2 * AGAIN))


def cost_of_place(rung: int, pairs: int, choosing: int) -> int:
    """About how many more it takes to compare a program at a rung."""
    scales = choosing * (1 + len(SCALES) + CLOSE * AGAIN) if rung > 1 else 0
    return scales + pairs


def at_best(trials: Trials, program: Program, tuning: int) -> Program:
    """A program at the best scale of its update, and with its constants tuned from there."""
    ((best, _),) = trials.at_best_scale([program])
    return trials.tune(best, tuning) if best.constants else best


def _result(
    trials: Trials, task: str, rung: int, tuned: Program, reference: Program, pairs: int
) -> Result:
    (losses,) = trials.deciding([tuned], pairs, HELDOUT)
    better = None
    if tuned is not reference:
        worse = trials.excess(tuned, reference, pairs, HELDOUT)
        better = worse and Interval(-worse.mean, -worse.high, -worse.low, worse.pairs)
    return Result(task, rung, tuned, _summary(losses, task), better)


def _summary(losses: Losses | None, task: str) -> tuple[float, float] | None:
    if losses is None:
        return None
    return fmean(losses[task]), stdev(losses[task]) / sqrt(len(losses[task]))
