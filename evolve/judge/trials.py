"""Trainings on the proxy tasks that decide about a program: scales, pairs, intervals.

Losses are compared seed by seed. Quality is in units of what the reference gains by
training: `(L - L_ref) / (U - L_ref)`, the mean over tasks, where U is the untrained
loss and L_ref the reference's mean; below zero is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from evolve.errors import BadInput
from evolve.judge.constants import GENERATION, Constants
from evolve.search.fitness import Losses
from evolve.search.mutation import child_rng, mutate_constants
from evolve.workers import Pool, time_limit
from evolve.workers.base import START_LIMIT
from primitives.abstract import analyse
from primitives.program import UPDATE, Program, Statement
from primitives.text import to_text
from proxy_tasks.status import FINISHED
from proxy_tasks.task import mean_sizes, memory_share

#: The first of the seeds for scales and tuning, and for decisions; far from those of the search,
#: and of its judge.
FIRST_CHOOSING, FIRST_DECIDING = 3_000_000, 4_000_000
#: The first of the seeds that say whether tuned constants are better.
CHECK = 900_000
#: The splits of a task's data that losses are taken on.
VALIDATION, HELDOUT = "validation", "heldout"
#: The scales tried first, and the finer ones around the best.
COARSE = tuple(10.0 ** (k / 2) for k in range(-6, 7))
FINE = tuple(10.0 ** (k / 8) for k in (-3, -2, -1, 1, 2, 3))
#: CMA-ES has so many times the trials of the evolution before it.
REFINED = 1 / 3
#: So many of the best scales are tried once more, on so many times the seeds for choosing.
CLOSE, AGAIN = 2, 4


class Interval(NamedTuple):
    """A paired difference of quality with its 95 % interval; above zero is worse."""

    mean: float
    low: float
    high: float
    pairs: int


class Training(NamedTuple):
    """What is asked for: one program, trained on one seed of some tasks.

    Attributes:
        program: its text.
        tasks: their names.
        rung: their size.
        seed: of the initial weights and the batches.
        split: of the data, on which the final loss is taken.
        share: how many times the task's weights the model may have.
        batch: how many times the task's batch, in as many steps fewer.
    """

    program: str
    tasks: tuple[str, ...]
    rung: int
    seed: int
    split: str
    share: float
    batch: float = 1.0


class Trained(NamedTuple):
    """What it came to: the final loss for each task, None if it failed, and its steps."""

    losses: dict[str, float] | None
    steps: int


class Trainings:
    """What was trained so far, so that nothing is trained twice."""

    def __init__(self) -> None:
        self._known: dict[Training, Trained] = {}

    def get(self, training: Training) -> Trained | None:
        """What it came to; None if it was not done yet."""
        return self._known.get(training)

    def add(self, found: dict[Training, Trained]) -> None:
        """Remember some more."""
        self._known.update(found)


class Trials:
    """Trains programs on a pool's tasks.

    Arguments:
        pool: started.
        choosing: how many seeds scales and constants are chosen on.
        memory: a program whose memory every program may use, or what it remembers, in numbers
            for each weight: one that remembers less trains a larger model; None: all train the
            same.
        tasks: their names; None: those of the pool.
        rung: the size of the tasks, 1, 10 or 100.
        batch: how many times the tasks' batch, in as many steps fewer.
        trainings: known from before; those that are done are added.
        limit: seconds that a training of one seed may take at the first rung, if its task does not
            say more.
        watch: called often while trainings are waited for; it may raise.

    Attributes:
        tasks: what the tasks are at this rung, as `prepare` tells it, a stretch of gradients
            among it.
        count, steps: trainings that were asked for, and their training steps; known ones are
            counted as if they were done now.
        answered: requests that are done.
        failure: how the last training failed that raised something, in words; or nothing.

    Raises:
        BadInput: if a task cannot be used, or has no such rung.
    """

    def __init__(
        self,
        pool: Pool,
        choosing: int = 2,
        memory: float | Program | None = None,
        *,
        tasks: Sequence[str] | None = None,
        rung: int = 1,
        batch: float = 1.0,
        trainings: Trainings | None = None,
        limit: float = 60.0,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self._rung = rung
        self._batch = batch
        self._limit = limit
        self._watch = watch
        self.answered = 0
        self.failure = ""
        self._tasks = tuple(pool.tasks if tasks is None else tasks)
        self.tasks = self._described()
        self._sizes = mean_sizes(self.tasks)
        if isinstance(memory, Program):
            memory = analyse(memory).memory(self._sizes)
        self._memory = memory
        self._choosing = choosing
        self._untrained = {t: fmean(f["untrained"]) for t, f in self.tasks.items()}
        self._trainings = trainings or Trainings()
        self._asked: set[Training] = set()
        self.count = self.steps = 0

    def _described(self) -> dict[str, Any]:
        known = self._pool.tasks
        if self._rung == 1 and all(name in known for name in self._tasks):
            return {name: known[name] for name in self._tasks}
        asked = {"action": "prepare", "rung": self._rung, "shares": []}
        asked["tasks"] = list(self._tasks)
        self._pool.submit(0, {**self._pool.setup.request, **asked}, START_LIMIT)
        (answer,) = self._answers(1)
        if "tasks" not in answer:
            raise BadInput(answer.get("error") or answer["detail"])
        tasks: dict[str, Any] = answer["tasks"]
        return tasks

    def _answers(self, count: int) -> Iterator[dict[str, Any]]:
        """The answers to so many requests in the order of their keys, as soon as they are there."""
        found: dict[int, dict[str, Any]] = {}
        for key in range(count):
            while key not in found:
                self._watch()
                finished = self._pool.next(0.5)
                if finished is not None:
                    self.answered += 1
                    found[finished.key] = finished.answer
                    if "detail" in finished.answer:
                        self.failure = f"{finished.answer['outcome']}: {finished.answer['detail']}"
            yield found.pop(key)

    def losses(
        self, programs: Sequence[Program], seeds: Sequence[int], split: str = VALIDATION
    ) -> list[Losses | None]:
        """The final losses of each program for each task and seed; None if a training failed."""
        return [self._gathered(rows) for rows in self.one_by_one(programs, seeds, split)]

    def one_by_one(
        self, programs: Sequence[Program], seeds: Sequence[int], split: str = VALIDATION
    ) -> list[list[dict[str, float] | None]]:
        """The same seed by seed: for each task the loss; None where the training failed."""
        wanted = [[self._training(program, seed, split) for seed in seeds] for program in programs]
        found = self._trained(dict.fromkeys(each for group in wanted for each in group))
        return [[found[each].losses for each in group] for group in wanted]

    def _training(self, program: Program, seed: int, split: str) -> Training:
        share = 1.0
        if self._memory is not None:
            share = memory_share(analyse(program).memory(self._sizes), self._memory)
        return Training(to_text(program), self._tasks, self._rung, seed, split, share, self._batch)

    def _trained(self, wanted: Iterable[Training]) -> dict[Training, Trained]:
        """What trainings come to, those from before included."""
        found = {each: self._trainings.get(each) for each in wanted}
        missing = [each for each, known in found.items() if known is None]
        least = self._limit * self._rung * len(self._tasks) * max(1.0, 1 / self._batch)
        limit = time_limit(self.tasks, self._tasks, 1, least)
        for key, each in enumerate(missing):
            self._pool.submit(key, _request(each), limit)
        done = {}
        for each, answer in zip(missing, self._answers(len(missing)), strict=True):
            done[each] = _trained(answer)
            self._trainings.add({each: done[each]})
        whole = {each: done[each] if known is None else known for each, known in found.items()}
        for each in whole.keys() - self._asked:
            self.count += 1
            self.steps += whole[each].steps
        self._asked |= whole.keys()
        return whole

    def _gathered(self, rows: Sequence[dict[str, float] | None]) -> Losses | None:
        if any(row is None for row in rows):
            return None
        return {task: [row[task] for row in rows if row] for task in self._tasks}

    @property
    def longest(self) -> int:
        """Training steps of a program that nothing stops, for one seed."""
        return sum(facts["steps"] for facts in self.tasks.values())

    def choose(
        self, programs: Sequence[Program], seeds: int | None = None, first: int = 0
    ) -> list[float]:
        """The levels of programs on the seeds for choosing: so many of them, from the first on."""
        chosen = range(FIRST_CHOOSING + first, FIRST_CHOOSING + first + (seeds or self._choosing))
        return [self.level(x) for x in self.losses(programs, chosen)]

    @property
    def untrained(self) -> float:
        """The loss before training, the mean over seeds and tasks."""
        return fmean(self._untrained.values())

    def mean(self, program: Program, seeds: int) -> float:
        """The mean loss of a program on seeds for deciding; infinite if every training failed."""
        (rows,) = self.one_by_one([program], deciding(seeds))
        known = [row for row in rows if row]
        return fmean(fmean(row[t] for row in known) for t in self._tasks) if known else math.inf

    def level(self, losses: Losses | None) -> float:
        """One number to choose by: the mean over tasks of L / |U|; infinite if one failed."""
        if losses is None:
            return math.inf
        return fmean(fmean(losses[task]) / self.unit(task) for task in self._tasks)

    def unit(self, task: str) -> float:
        """What a level of 1 is, as a loss."""
        return abs(self._untrained[task]) or 1.0

    def at_best_scale(self, programs: Sequence[Program]) -> list[tuple[Program, float]]:
        """Each program with its update multiplied by the best of some factors, and its level."""
        best = self._best([[(1.0, p), *_scaled(p, 1.0, COARSE)] for p in programs])
        finer = [
            [(s, scaled(p, s)), *_scaled(p, s, FINE)]
            for p, (s, _, _) in zip(programs, best, strict=True)
        ]
        return [(program, level) for _, program, level in self._best(finer)]

    def at_best_of(
        self, programs: Sequence[Program], factors: Sequence[float]
    ) -> list[tuple[Program, float]]:
        """As `at_best_scale`, with these factors and 1; the best few on more seeds once more."""
        groups = self._ranked([[(1.0, p), *_scaled(p, 1.0, factors)] for p in programs])
        few = [[(s, p) for s, p, _ in group[:CLOSE]] for group in groups]
        again = self._ranked(few, AGAIN * self._choosing, CHECK)
        return [(program, level) for (_, program, level), *_ in again]

    def _best(
        self, groups: Sequence[Sequence[tuple[float, Program]]]
    ) -> list[tuple[float, Program, float]]:
        return [group[0] for group in self._ranked(groups)]

    def _ranked(
        self,
        groups: Sequence[Sequence[tuple[float, Program]]],
        seeds: int | None = None,
        first: int = 0,
    ) -> list[list[tuple[float, Program, float]]]:
        """Each group with its levels, the best first."""
        flat = [program for group in groups for _, program in group]
        levels = iter(self.choose(flat, seeds, first))
        leveled = [[(s, p, next(levels)) for s, p in group] for group in groups]
        return [sorted(group, key=lambda entry: entry[2]) for group in leveled]

    def tune(self, program: Program, trials: int, seed: int = 0) -> Program:
        """The program with its constants tuned, from wherever they are.

        Constants-only evolution comes first, since good constants may be far away. Then CMA-ES,
        with a third as many trials, averages out what was luck.
        """
        found = self._evolved(program, trials, seed)
        constants = Constants(seed, [found])
        while constants.trials <= trials * REFINED and (asked := constants.ask()):
            constants.tell(self.choose(asked, first=self._choosing * constants.trials))
        best = [constants.best, found]
        levels = self.choose(best, AGAIN * self._choosing, CHECK)
        return best[0] if levels[0] <= levels[1] else found

    def _evolved(self, program: Program, trials: int, seed: int) -> Program:
        population = [(program, self.choose([program])[0])]
        for start in range(0, trials, GENERATION):
            children = []
            for number in range(start, start + GENERATION):
                rng = child_rng(seed, number)
                drawn = [population[rng.randrange(len(population))] for _ in range(5)]
                parent = min(drawn, key=lambda entry: entry[1])[0]
                children.append(mutate_constants(parent, rng).program)
            levels = self.choose(children)
            population = [*population, *zip(children, levels, strict=True)]
            population = sorted(population, key=lambda entry: entry[1])[:20]
        return population[0][0]

    def deciding(
        self, programs: Sequence[Program], pairs: int, split: str = VALIDATION
    ) -> list[Losses | None]:
        """The losses of programs on seeds that nothing was chosen on."""
        return self.losses(programs, deciding(pairs), split)

    def excess(
        self, program: Program, reference: Program, pairs: int, split: str = VALIDATION
    ) -> Interval | None:
        """How much worse a program is than a reference; None if a training of it failed."""
        losses, base = self.deciding([program, reference], pairs, split)
        if losses is None or base is None:
            return None
        gain = {t: self._untrained[t] - fmean(base[t]) for t in self._tasks}
        values = [
            fmean((losses[t][i] - base[t][i]) / gain[t] for t in self._tasks) for i in range(pairs)
        ]
        from scipy.special import stdtrit  # slow to import, and most who import this never ask

        error = float(stdtrit(pairs - 1, 0.975)) * stdev(values) / math.sqrt(pairs)
        mean = fmean(values)
        return Interval(mean, mean - error, mean + error, pairs)


def deciding(count: int) -> list[int]:
    """So many seeds that nothing was chosen on, the first always the same."""
    return [FIRST_DECIDING + i for i in range(count)]


def scaled(program: Program, factor: float) -> Program:
    """The program with its update multiplied by a number."""
    if factor == 1.0:
        return program
    last = Statement(UPDATE, "multiply", (UPDATE, factor))
    return program.with_statements([*program.statements, last])


def _scaled(
    program: Program, start: float, factors: Sequence[float]
) -> list[tuple[float, Program]]:
    return [(start * f, scaled(program, start * f)) for f in factors if f != 1.0]


def _request(training: Training) -> dict[str, Any]:
    request = {
        "action": "evaluate",
        "program": training.program,
        "tasks": list(training.tasks),
        "rung": training.rung,
        "seeds": [training.seed],
        "split": training.split,
        "share": training.share,
    }
    return request if training.batch == 1 else {**request, "batch": training.batch}


def _trained(answer: dict[str, Any]) -> Trained:
    losses = None
    if answer["outcome"] == FINISHED:
        losses = {task: marks[0][-1] for task, marks in answer["losses"].items()}
    return Trained(losses, answer["steps"])
