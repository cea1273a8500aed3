"""The tournament: structures against each other, each at its own best constants.

A structure is a program but for its constants. One run holds each structure with the constants
that it happened to come by, and one task cannot tell it from its nearest neighbours. So every
structure gets as many trials of its constants as any other, on each of several tasks, and then as
many trainings on fresh seeds, which nothing was chosen on:

- All are screened: trained on the first task with the constants that they came with; the better get
  a few other constants there; and the best of these on all tasks take part.
- In every round each structure that is left gets a number of trials on each task. The better half
  goes on to the next round, with twice as many (successive halving).
- Those left are trained on fresh seeds, the same for all. The seeds are doubled until the
  differences to the best are known well enough.

The score of a structure is by how much more it gains from training than the tuned start does, as a
share of that, the mean over tasks. The champion is not simply the best, but the simplest of those
that are within one standard error of it (Breiman et al., Classification and Regression Trees, 1984,
section 3.4.3): with the fewest slots, then the fewest statements, then the best score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from evolve.judge.constants import GENERATION, Constants
from evolve.judge.trials import CHECK, Trials, deciding
from evolve.search.fitting import rescaled
from evolve.search.probe import Stretch
from primitives.abstract import analyse
from primitives.program import Program, ProgramError

#: Generations of constants of a structure, on each task, in each round.
ROUNDS = (2, 4, 8)
#: Structures that the last round leaves, for the fresh seeds.
SURVIVORS = 4
#: Factors of the update that are in a structure's first generation, where a constant can be it.
SCALES = (0.25, 0.5, 2.0, 4.0)
#: Seeds of a generation, every one of its own; and other ones, of the result after a round, and
#: after the last; and those by which is chosen who takes part.
CHOOSING, CHECKING, SETTLING, SCREENING = 2, 8, 16, 4
#: In the screen so many get other constants for each that takes part, in so many generations: the
#: first are those that are known, at some scales.
WIDER, BRIEFLY = 3, 2
#: Fresh seeds at first, and at most.
SEEDS, MOST_SEEDS = 16, 128
#: The standard deviation, on a task, of a score from one tuning to another: Lion and the cube root
#: in the place of its sign had 0.001 to 0.002 on `text_transformer` and 0.004 on `digits_vit`.
TUNING = 0.003
#: The standard error that is wanted from the seeds; with that luck it is 0.004 on two tasks.
ERROR = math.sqrt(0.004**2 - TUNING**2)
#: Further behind the best than so many standard errors nothing is in question any more.
CLEAR = 3.0
#: In a round, what is so far behind the best is out at once.
HOPELESS = 0.08


class Judge(NamedTuple):
    """A task of the tournament.

    Attributes:
        trials: on this task alone.
        baseline: the tuned start there: its score is 0.
    """

    trials: Trials
    baseline: Program

    def gain(self) -> float:
        """By how much training lowers the baseline's mean loss."""
        return self.trials.untrained - self.trials.mean(self.baseline, SEEDS)


@dataclass
class Structure:
    """A structure in the tournament, and how it stands.

    Attributes:
        program: as it was found.
        starts: for each task constants to begin with.
        origin: where it comes from: a program's number, and what was done to it.
        generations: of its constants, on each task.
        tuned: for each task the program with the best constants.
        standing: about its score, as far as is known before there are fresh seeds.
        scores: for each task its score on each fresh seed.
        failed: whether a training on fresh seeds did.
    """

    program: Program
    starts: Mapping[str, Sequence[Program]]
    origin: Mapping[str, Any] = field(default_factory=dict)
    generations: int = 0
    constants: dict[str, Constants] = field(default_factory=dict)
    tuned: dict[str, Program] = field(default_factory=dict)
    standing: float = 0.0
    scores: dict[str, list[float]] = field(default_factory=dict)
    failed: bool = False

    def begun_with(self, program: Program) -> Structure:
        """As it came, but with these constants before the others."""
        starts = {task: [program, *others] for task, others in self.starts.items()}
        return Structure(program, starts, self.origin)

    @property
    def key(self) -> str:
        """Equal for programs that differ in constants alone."""
        return analyse(self.program).structure

    @property
    def size(self) -> tuple[int, int]:
        """Slots, and statements."""
        analysis = analyse(self.program)
        return analysis.trees, analysis.statements

    @property
    def fresh(self) -> np.ndarray:
        """The score on each fresh seed, the mean over tasks."""
        if self.failed or not self.scores:
            return np.empty(0)
        return np.mean(list(self.scores.values()), axis=0)

    @property
    def score(self) -> float:
        """The mean over fresh seeds; minus infinity if there are none."""
        return float(self.fresh.mean()) if self.fresh.size else -math.inf


class Tournament:
    """Structures against each other on some tasks.

    Arguments:
        judges: the tasks, by name.
    """

    def __init__(self, judges: Mapping[str, Judge]) -> None:
        self._judges = judges

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks; the constants of the first are those that are shown."""
        return tuple(self._judges)

    @property
    def trials(self) -> Trials:
        """The trainings on the first task."""
        return self._judges[self.tasks[0]].trials

    def stretches(self, task: str) -> list[Stretch]:
        """The recorded gradients of a task, if there are any."""
        known = self._judges[task].trials.tasks[task].get("stretch")
        return [Stretch(known)] if known else []

    def play(
        self, structures: Sequence[Structure], rounds: Sequence[int], survivors: int = SURVIVORS
    ) -> list[Structure]:
        """The structures that came through all rounds, with their constants tuned on each task.

        Arguments:
            structures: different ones; their order is of no importance.
            rounds: the generations of each round.
            survivors: no round leaves fewer, but for those that are hopeless.
        """
        left = sorted(structures, key=lambda s: s.key)
        for generations in rounds:
            self._tune(left, generations)
            left = self._better(left, max(survivors, -(-len(left) // 2)), CHECKING)
        return self._better(left, survivors, SETTLING) if rounds else left

    def _tune(
        self, structures: Sequence[Structure], generations: int, tasks: Sequence[str] = ()
    ) -> None:
        """So many generations more for each structure on each task, or on these."""
        for name in tasks or self.tasks:
            judge = self._judges[name]
            for structure in structures:
                if name not in structure.constants:
                    structure.constants[name] = self._begun(structure, name)
            first = structures[0].generations
            for generation in range(first, first + generations):
                asked = [s.constants[name].ask() for s in structures]
                programs = [p for group in asked for p in group]
                levels = iter(judge.trials.choose(programs, CHOOSING, CHOOSING * generation))
                for structure, group in zip(structures, asked, strict=True):
                    if group:
                        structure.constants[name].tell([next(levels) for _ in group])
        for structure in structures:
            structure.generations += generations

    def _begun(self, structure: Structure, name: str) -> Constants:
        """The first generation: the constants that are known, at some scales of the update."""
        starts = list(structure.starts[name])
        stretches = self.stretches(name)
        for factor in SCALES if stretches else ():
            try:
                other = rescaled(starts[0], factor, stretches)
            except ProgramError:
                continue
            if analyse(other).structure == structure.key:
                starts.append(other)
        return Constants(int(structure.key[:8], 16), starts)

    def screened(self, structures: Sequence[Structure], count: int) -> list[Structure]:
        """So many of the best, and the best of each memory, with the constants they came to.

        On seeds that nothing was chosen on: the best of a search are mostly lucky. And what it met
        late has hardly been tuned, so the better get a few other constants before the rest go.

        Arguments:
            structures: different ones; their order is of no importance.
            count: how many at most, but for the best of each number of slots.
        """
        if len(structures) <= count:
            return list(structures)
        first, every = self.tasks[0], sorted(structures, key=lambda s: s.key)
        asked = {s.key: {first: [s.starts[first][0]]} for s in every}
        better = _with_each_memory(self._ranked(every, asked, SCREENING, CHECK), WIDER * count)
        self._tune(better, BRIEFLY, [first])
        # The mean of a distribution may be worse than what it began with.
        tried = {s.key: [s.constants[first].best, s.constants[first].start] for s in better}
        asked = {key: dict.fromkeys(self.tasks, programs) for key, programs in tried.items()}
        kept = _with_each_memory(self._ranked(better, asked, SCREENING, CHECK + SCREENING), count)
        return [s.begun_with(s.tuned[first]) for s in kept]

    def _better(self, structures: Sequence[Structure], count: int, seeds: int) -> list[Structure]:
        """So many of the best, on seeds that no constants were chosen on, and none hopeless."""
        # The mean of a distribution may be worse than what it began with.
        asked = {s.key: {n: [c.best, c.start] for n, c in s.constants.items()} for s in structures}
        first = CHECK + SETTLING * structures[0].generations
        ranked = self._ranked(structures, asked, seeds, first)[:count]
        best = ranked[0].standing
        return [s for s in ranked if s.standing > best - HOPELESS] or ranked[:1]

    def _ranked(
        self,
        structures: Sequence[Structure],
        asked: Mapping[str, Mapping[str, Sequence[Program]]],
        seeds: int,
        first: int,
    ) -> list[Structure]:
        """Best first, each with the best of the programs asked for, on the tasks asked for."""
        for structure in structures:
            structure.standing = 0.0
        tasks = list(asked[structures[0].key])
        for name in tasks:
            judge = self._judges[name]
            programs = [p for s in structures for p in asked[s.key][name]]
            base, *levels = judge.trials.choose([judge.baseline, *programs], seeds, first)
            unit = judge.gain() / judge.trials.unit(name) * len(tasks)
            pairs = iter(zip(programs, levels, strict=True))
            for structure in structures:
                own = [next(pairs) for _ in asked[structure.key][name]]
                structure.tuned[name], level = min(own, key=lambda pair: pair[1])
                structure.standing += (base - level) / unit
        return sorted(structures, key=lambda s: (-s.standing, s.size, s.key))

    def score(self, structures: Sequence[Structure]) -> None:
        """Train structures on fresh seeds, until the differences to the best are known."""
        self._train(structures, SEEDS)
        while near := in_question(structures):
            self._train(near, 2 * min(len(s.fresh) for s in near))

    def _train(self, structures: Sequence[Structure], seeds: int) -> None:
        """Each of them on so many fresh seeds, if it was trained on fewer."""
        behind = [s for s in structures if not s.failed and len(s.fresh) < seeds]
        rows = {
            name: judge.trials.one_by_one(
                [judge.baseline, *(s.tuned[name] for s in behind)], deciding(seeds)
            )
            for name, judge in self._judges.items()
        }
        # A seed on which the start failed, by the machine's fault maybe, tells of no structure.
        starts = zip(*(base for base, *_ in rows.values()), strict=True)
        told = [i for i, losses in enumerate(starts) if all(losses)]
        for name, judge in self._judges.items():
            gain = judge.gain()
            base, *found = rows[name]
            for structure, losses in zip(behind, found, strict=True):
                pairs = [(base[i], losses[i]) for i in told]
                structure.failed |= any(own is None for _, own in pairs)
                structure.scores[name] = [(b[name] - x[name]) / gain for b, x in pairs if b and x]


def screening_cost(structures: int, count: int) -> tuple[int, int]:
    """About so many trainings it takes to choose so many: on the first task, and on every task."""
    if structures <= count:
        return 0, 0
    better = min(structures, WIDER * count)
    return (
        structures * SCREENING + better * BRIEFLY * GENERATION * CHOOSING,
        2 * better * SCREENING,
    )


def cost(structures: int, rounds: Sequence[int], survivors: int = SURVIVORS) -> int:
    """About so many trainings on every task a tournament takes."""
    total, left = 0, structures
    for generations in rounds:
        total += left * (generations * GENERATION * CHOOSING + 2 * CHECKING)
        left = min(left, max(survivors, -(-left // 2)))
    return total + 2 * left * SETTLING + (min(left, survivors) + 1) * 2 * SEEDS


def _with_each_memory(ranked: Sequence[Structure], count: int) -> list[Structure]:
    """So many of the best, and the best of each number of slots."""
    kept = {s.key: s for s in ranked[:count]}
    for structure in ranked:
        if all(structure.size[0] != other.size[0] for other in kept.values()):
            kept[structure.key] = structure
    return list(kept.values())


def difference(structure: Structure, best: Structure) -> tuple[float, float]:
    """By how much a structure is worse than the best, seed by seed, and the standard error.

    That has two sources: the seeds, and the luck of two tunings.
    """
    if structure is best:
        return 0.0, 0.0
    mean, error = seed_by_seed(structure, best)
    if mean == math.inf:
        return mean, 0.0
    return mean, math.sqrt(error**2 + 2 * TUNING**2 / len(best.scores))


def seed_by_seed(structure: Structure, best: Structure) -> tuple[float, float]:
    """The same, with the error of the seeds alone."""
    count = min(len(structure.fresh), len(best.fresh))
    if count < 2:
        return math.inf, 0.0
    behind = best.fresh[:count] - structure.fresh[:count]
    return float(behind.mean()), float(behind.std(ddof=1)) / math.sqrt(count)


def best_of(structures: Sequence[Structure]) -> Structure:
    """The one with the highest score; of equals the simpler."""
    return min(structures, key=lambda s: (-s.score, s.size, s.key))


def in_question(structures: Sequence[Structure]) -> list[Structure]:
    """The best, and those that more seeds may show to be level with it; none if all is clear."""
    best = best_of(structures)
    near = []
    for structure in structures:
        mean, error = difference(structure, best)
        known = seed_by_seed(structure, best)[1] <= ERROR
        known = known or min(len(structure.fresh), len(best.fresh)) >= MOST_SEEDS
        if structure is not best and mean <= CLEAR * error and not known:
            near.append(structure)
    return [best, *near] if near else []


def champion(structures: Sequence[Structure]) -> Structure:
    """The simplest structure within one standard error of the best."""
    best = best_of(structures)
    level = [s for s in structures if s is best or _is_level(s, best)]
    return min(level, key=lambda s: (s.size, -s.score, s.key))


def _is_level(structure: Structure, best: Structure) -> bool:
    mean, error = difference(structure, best)
    return mean <= error
