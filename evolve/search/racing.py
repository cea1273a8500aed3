"""Which program is the best so far, and which is worth another seed.

A score on one seed is partly luck, and the best of many such scores is mostly so. So a
program is trained on one seed first, and on more only while it is ahead of the best programs
that are no longer than it: a race, as in Maron & Moore, "Hoeffding races" (1993). What was
trained on every seed and is still ahead joins the *front*: the best program of each length.

Each program begins with a seed of its own, so that no search climbs the landscape of one. But
seeds differ, in much the same way for all programs: the mean difference, measured on those
that were trained on every seed, is added to the scores of those that were not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from evolve.search.fitness import (
    Hurdles,
    Losses,
    Marks,
    final_losses,
    hurdles,
    limits,
    rotated,
    score,
)
from proxy_tasks.status import FINISHED, STOPPED

#: Programs further behind the best of their niche, or the start program, in fitness, are not
#: trained on more seeds.
NEAR = 0.015
#: How seeds differ is believed as if so many programs more had shown none.
DOUBT = 1
#: A niche has hurdles once so many of its members have finished.
_ENOUGH = 8

_NOTHING = float("-inf")


@dataclass(slots=True)
class Result:
    """What training a program came to; programs of equal behaviour share one.

    Attributes:
        number: of the program that was trained.
        niche, live: where it competes, and its live statements.
        structure: equal for programs that differ in constants alone.
        first: the first of its seeds; the others follow it.
        outcome: how its last training ended.
        marks: the losses on every seed so far.
        seeds: on how many seeds it was trained.
        fitness: the mean over them; None if it has none.
    """

    number: int
    niche: int
    live: int
    structure: str
    first: int
    outcome: str = ""
    marks: Marks | None = None
    seeds: int = 0
    fitness: float | None = None


class Race:
    """The results of all programs by number, and the best of them.

    Arguments:
        replicates: the numbers of seeds that programs are trained on, one after the other.
        untrained: the losses before training.
        niches: how many there are.
        cost: of a live statement, in fitness.
    """

    def __init__(
        self, replicates: tuple[int, ...], untrained: Losses, niches: int, cost: float = 0.0
    ) -> None:
        self._replicates = replicates
        self._cost = cost
        self._untrained = untrained
        self._all: list[Result] = []
        self._fronts: list[list[int]] = [[] for _ in range(niches)]
        self._before: list[int] = []  # the fronts of earlier rounds
        self._effects = SeedEffects(replicates[-1])
        self._bounds: dict[int, float] = {}  # by the number of a result, while they stand

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, number: int) -> Result:
        return self._all[number]

    def append(self, result: Result) -> None:
        """The next number's result: a new one, or that of an earlier program."""
        self._all.append(result)

    # -- training ----------------------------------------------------------

    def next_seeds(self, result: Result) -> list[int]:
        """The seeds that a program is to be trained on next; the start program on all."""
        done, every = result.seeds, self._replicates[-1]
        until = next(n for n in self._replicates if n > done) if self._all else every
        return [(result.first + i) % every for i in range(done, until)]

    def note(self, result: Result, outcome: str, marks: Marks) -> bool:
        """A program was trained, on more seeds maybe; whether it is worth still more."""
        before = result.marks or {}
        self._bounds.pop(result.number, None)
        result.outcome = outcome
        result.marks = {task: [*before.get(task, []), *seeds] for task, seeds in marks.items()}
        result.seeds = len(next(iter(result.marks.values()), []))
        result.fitness = self._fitness(result.marks, result.first) if _scored(outcome) else None
        on_all = result.seeds == self._replicates[-1]
        if on_all and outcome == FINISHED and result.number:  # the start is the scale: 0 everywhere
            self._effects.note(self._scores(result))
            self._bounds.clear()
        return outcome == FINISHED and not on_all and self._may_lead(result)

    def _may_lead(self, result: Result) -> bool:
        """Whether it is ahead by a standard error, so that more seeds may well show it again.

        Whatever is ahead at all would take half of all trainings: one program of two is, on one
        seed, that is as good as the best.
        """
        error = self._effects.noise / math.sqrt(result.seeds)
        return not self._effects.known or self._expected(result) >= self._bar(result) + error

    def joins_front(self, result: Result) -> bool:
        """Whether a program that was trained on every seed is ahead; then it joins the front."""
        if result.outcome != FINISHED or result.seeds < self._replicates[-1]:
            return False
        if not self.is_ahead(result):
            return False
        mine, front = self.expected(result.number), self._fronts[result.niche]
        front[:] = [
            number
            for number in front
            if self._all[number].live < result.live or self.expected(number) > mine
        ]
        front.append(result.number)
        return True

    def is_ahead(self, result: Result) -> bool:
        """Whether no program as short is as good, and none, nor the start, much better."""
        return self._expected(result) > self._bar(result)

    def _bar(self, result: Result) -> float:
        front = self._fronts[result.niche]
        bars = [self.expected(n) for n in front if self._all[n].live <= result.live]
        start = -self._cost * self._all[0].live if self._all else _NOTHING
        near = max(self.best_of(result.niche), start) - NEAR + self._cost * result.live
        return max(*bars, near, _NOTHING)

    # -- values ------------------------------------------------------------

    def expected(self, number: int) -> float:
        """The fitness to be expected on every seed; minus infinity if there is none."""
        return self._expected(self._all[number])

    def _expected(self, result: Result) -> float:
        if result.fitness is None:
            return _NOTHING
        return result.fitness + self._effects.mean(result.first, result.seeds)

    def penalized(self, number: int) -> float:
        """The fitness to be expected, less what the live statements cost."""
        return self._penalized(self._all[number])

    def lower_bound(self, number: int) -> float:
        """The worth less its standard error: the best of few seeds is mostly lucky."""
        result = self._all[number]
        if not result.seeds:
            return _NOTHING
        bound = self._bounds.get(result.number)
        if bound is None:  # asked for some 35 times for each program trained
            bound = self._penalized(result) - self._effects.noise / math.sqrt(result.seeds)
            self._bounds[result.number] = bound
        return bound

    def _penalized(self, result: Result) -> float:
        return self._expected(result) - self._cost * result.live

    def _fitness(self, marks: Marks, first: int) -> float | None:
        zero = (self._all[0].marks or {}) if self._all else marks
        return score(
            final_losses(marks),
            rotated(final_losses(zero), first),
            rotated(self._untrained, first),
        )

    def _scores(self, result: Result) -> list[float]:
        """The fitness on each seed, in the order of the seeds."""
        found = [0.0] * result.seeds
        for i in range(result.seeds):
            seed = (result.first + i) % result.seeds
            one = {task: [marks[i]] for task, marks in (result.marks or {}).items()}
            found[seed] = self._fitness(one, seed) or 0.0
        return found

    # -- the best ----------------------------------------------------------

    def best_of(self, niche: int) -> float:
        """The highest worth of a niche's front."""
        return max(map(self.penalized, self._fronts[niche]), default=_NOTHING)

    def fittest(self, niche: int) -> float:
        """The highest fitness that is to be expected of a niche's front."""
        return max(map(self.expected, self._fronts[niche]), default=_NOTHING)

    def leads(self, result: Result) -> bool:
        """Whether it is the best of its niche."""
        return self._penalized(result) >= self.best_of(result.niche)

    def leads_all(self, result: Result) -> bool:
        """Whether it is the best of all niches, too."""
        return all(self._penalized(result) >= self.best_of(n) for n in range(len(self._fronts)))

    def begin_round(self) -> None:
        """Everything that is trained from now on races without what was found before."""
        self._before += [number for front in self._fronts for number in front]
        self._fronts = [[] for _ in self._fronts]

    def elite(self, niche: int) -> list[int]:
        """The front of a niche, but for what is far behind its best."""
        least = self.best_of(niche) - NEAR
        return [number for number in self._fronts[niche] if self.penalized(number) >= least]

    def front(self) -> list[int]:
        """The fronts of all niches and rounds, of programs better than the start; best first."""
        fronts = [self._before, *self._fronts]
        found = [n for front in fronts for n in front if self.expected(n) > 0]
        return sorted(found, key=lambda n: (-self.penalized(n), self._all[n].live, n))

    def in_front(self, number: int) -> bool:
        """Whether it is in a front of this round."""
        return any(number in front for front in self._fronts)

    # -- hurdles -----------------------------------------------------------

    def hurdles(
        self, members: Sequence[int], capacity: int, slack: tuple[float, float]
    ) -> Hurdles | None:
        """Those of a niche with these members; None while too few have finished."""
        results = [self._all[member] for member in members]
        finished = [(r.marks, r.first) for r in results if r.outcome == FINISHED and r.marks]
        zero = self._all[0].marks
        if len(finished) < min(_ENOUGH, capacity) or not zero:
            return None
        return hurdles(finished, zero, self._untrained, slack)

    def limits(self, hurdles: Hurdles, seed: int) -> dict[str, list[float]]:
        """The losses that hurdles allow on a seed."""
        return limits(hurdles, self._all[0].marks or {}, self._untrained, seed)


def _scored(outcome: str) -> bool:
    return outcome in (FINISHED, STOPPED)


class SeedEffects:
    """By how much the seeds differ: each one's mean difference to all, over programs.

    Attributes:
        noise: the standard deviation of a fitness on one seed about that on all, the effect known.
            Nothing until there are two programs to compare.
    """

    def __init__(self, seeds: int) -> None:
        self._sums = [0.0] * seeds
        self._squares = 0.0
        self._count = 0
        self._means: dict[tuple[int, int], float] = {}
        self.noise = 0.0

    @property
    def known(self) -> bool:
        """Whether any program was trained on every seed."""
        return self._count > 0

    def note(self, scores: Sequence[float]) -> None:
        """A program was trained on every seed: its score on each of them."""
        middle = fmean(scores)
        self._squares += fmean((middle - one) ** 2 for one in scores)
        self._count += 1
        for seed, one in enumerate(scores):
            self._sums[seed] += middle - one
        self._means = {}
        if self._count > 1:  # read some 25 times for each program trained
            effects = fmean((total / self._count) ** 2 for total in self._sums)
            rest = max(self._squares / self._count - effects, 0.0)
            self.noise = math.sqrt(rest * self._count / (self._count - 1))

    def mean(self, first: int, count: int) -> float:
        """What training on all seeds is expected to add to the mean on so many from one on."""
        if not self._count or not count:
            return 0.0
        found = self._means.get((first, count))
        if found is None:
            every = len(self._sums)
            seeds = [(first + i) % every for i in range(count)]
            found = sum(self._sums[seed] for seed in seeds) / (count * (self._count + DOUBT))
            self._means[first, count] = found
        return found
