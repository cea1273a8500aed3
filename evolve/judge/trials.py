"""Trainings on the proxy tasks that decide about a program: scales, pairs, intervals.

Losses are compared seed by seed. Quality is in units of what the reference gains by
training: `(L - L_ref) / (U - L_ref)`, the mean over tasks, where U is the untrained
loss and L_ref the reference's mean; below zero is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from scipy.stats import t as student

from evolve.errors import BadInput
from evolve.search.fitness import Losses
from evolve.search.mutation import child_rng, mutate_constants
from evolve.workers import Pool
from evolve.workers.base import START_LIMIT
from primitives.abstract import analyse
from primitives.program import UPDATE, Program, Statement
from primitives.text import from_text, to_text
from proxy_tasks.status import FINISHED
from proxy_tasks.task import memory_share

#: Seeds of scales and tuning, and of decisions; far from the search's, and from its judge's.
CHOOSING, DECIDING = 3_000_000, 4_000_000
#: The splits of a task's data that losses are taken on.
VALIDATION, HELDOUT = "validation", "heldout"
#: The scales tried first, and the finer ones around the best.
COARSE = tuple(10.0 ** (k / 2) for k in range(-6, 7))
FINE = tuple(10.0 ** (k / 8) for k in (-3, -2, -1, 1, 2, 3))
#: The longest a training of one seed may take, in seconds, at the first rung.
_LIMIT = 60.0


class Interval(NamedTuple):
    """A paired difference of quality with its 95 % interval; above zero is worse."""

    mean: float
    low: float
    high: float
    pairs: int


class Exhausted(Exception):
    """More training steps would be needed than are allowed; none of them was run."""


class Trials:
    """Trains programs on a pool's tasks.

    Arguments:
        pool: started.
        choosing: seeds on which scales and constants are chosen.
        memory: the slots of a program whose memory every program may use, so that one
            with fewer trains a larger model; None: all train the same.
        rung: the size of the tasks, 1, 10 or 100.
        most: training steps allowed; beyond them `losses` raises `Exhausted`.
        watch: called often while trainings are waited for; it may raise.

    Attributes:
        tasks: what the tasks are at this rung, as `prepare` tells it.
        trainings, steps: run so far, and their training steps.

    Raises:
        BadInput: if a task has no such rung.
    """

    def __init__(
        self,
        pool: Pool,
        choosing: int = 2,
        memory: int | None = None,
        *,
        rung: int = 1,
        most: float = math.inf,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self._memory = memory
        self._pool = pool
        self._rung = rung
        self._most = most
        self._watch = watch
        self.tasks = pool.tasks if rung == 1 else self._described()
        self._tasks = list(self.tasks)
        self._choosing = [CHOOSING + i for i in range(choosing)]
        self._untrained = {t: fmean(f["untrained"]) for t, f in self.tasks.items()}
        self._known: dict[tuple[str, int, str], dict[str, float] | None] = {}
        self.trainings = 0
        self.steps = 0

    def _described(self) -> dict[str, Any]:
        asked = {"action": "prepare", "rung": self._rung, "shares": [], "stretch": False}
        self._pool.submit(0, {**self._pool.setup.request, **asked}, START_LIMIT)
        answer = self._answers(1)[0]
        if "tasks" not in answer:
            raise BadInput(answer.get("error") or answer["detail"])
        tasks: dict[str, Any] = answer["tasks"]
        return tasks

    def _answers(self, count: int) -> dict[int, dict[str, Any]]:
        """The answers to so many requests, by key."""
        found: dict[int, dict[str, Any]] = {}
        while len(found) < count:
            self._watch()
            finished = self._pool.next(0.5)
            if finished is not None:
                found[finished.key] = finished.answer
        return found

    def losses(
        self, programs: Sequence[Program], seeds: Sequence[int], split: str = VALIDATION
    ) -> list[Losses | None]:
        """The final losses of each program for each task and seed; None if a training failed."""
        texts = [to_text(program) for program in programs]
        missing = [
            (text, seed, split)
            for text in dict.fromkeys(texts)
            for seed in seeds
            if (text, seed, split) not in self._known
        ]
        if self.steps + len(missing) * self.longest > self._most:
            raise Exhausted
        for key, one in enumerate(missing):
            self._pool.submit(key, self._request(*one), _LIMIT * self._rung * len(self._tasks))
        for key, answer in self._answers(len(missing)).items():
            self._known[missing[key]] = _final(answer)
            self.steps += answer["steps"]
        self.trainings += len(missing)
        return [self._gathered(text, seeds, split) for text in texts]

    @property
    def longest(self) -> int:
        """Training steps of a program that nothing stops, for one seed."""
        return sum(facts.get("steps", 0) for facts in self.tasks.values())

    def _request(self, text: str, seed: int, split: str) -> dict[str, object]:
        share = 1.0
        if self._memory is not None:
            share = memory_share(len(analyse(from_text(text)).slots), self._memory)
        return {
            "action": "evaluate",
            "program": text,
            "tasks": self._tasks,
            "rung": self._rung,
            "seeds": [seed],
            "split": split,
            "share": share,
        }

    def _gathered(self, text: str, seeds: Sequence[int], split: str) -> Losses | None:
        rows = [self._known[text, seed, split] for seed in seeds]
        if any(row is None for row in rows):
            return None
        return {task: [row[task] for row in rows if row] for task in self._tasks}

    def choose(self, programs: Sequence[Program]) -> list[float]:
        """The levels of programs on the seeds for choosing."""
        return [self.level(x) for x in self.losses(programs, self._choosing)]

    def level(self, losses: Losses | None) -> float:
        """One number to choose by: the mean over tasks of L / U; infinite if one failed."""
        if losses is None:
            return math.inf
        return fmean(fmean(losses[task]) / abs(self._untrained[task]) for task in self._tasks)

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
        """As `at_best_scale`, with these factors and 1."""
        best = self._best([[(1.0, p), *_scaled(p, 1.0, factors)] for p in programs])
        return [(program, level) for _, program, level in best]

    def _best(
        self, groups: Sequence[Sequence[tuple[float, Program]]]
    ) -> list[tuple[float, Program, float]]:
        flat = [program for group in groups for _, program in group]
        levels = iter(self.choose(flat))
        ranked = [[(s, p, next(levels)) for s, p in group] for group in groups]
        return [min(group, key=lambda entry: entry[2]) for group in ranked]

    def tune(self, program: Program, trials: int, seed: int = 0) -> Program:
        """The program with its constants tuned by constants-only evolution."""
        population = [(program, self.choose([program])[0])]
        for start in range(0, trials, 8):
            children = []
            for number in range(start, start + 8):
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
        return self.losses(programs, [DECIDING + i for i in range(pairs)], split)

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
        error = float(student.ppf(0.975, pairs - 1)) * stdev(values) / math.sqrt(pairs)
        mean = fmean(values)
        return Interval(mean, mean - error, mean + error, pairs)


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


def _final(answer: dict) -> dict[str, float] | None:
    if answer["outcome"] != FINISHED:
        return None
    return {task: marks[0][-1] for task, marks in answer["losses"].items()}
