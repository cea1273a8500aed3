"""A guess at what a program is worth, from how it steps, before it is trained.

Programs that step alike are worth about as much. So fitness is modelled by a Gaussian process
over the steps that programs take on recorded gradients: a smooth function of their directions and
sizes, seen through the noise of few seeds. It says how good a child should be, and how sure that
is, for the price of a hundredth of a training; programs of all structures tell of each other.

That surrogates see what programs do, not how they are written, is from Hildebrandt & Branke,
"On using surrogates with genetic programming" (Evolutionary Computation 23(3), 2015); the
formulas are algorithm 2.1 of Rasmussen & Williams, "Gaussian Processes for Machine Learning".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from evolve.search.probe import Stretch
from evolve.search.racing import Race
from primitives.program import Program

#: How far apart directions (as points of the unit sphere), and sizes (in powers of two), are
#: when fitness is another; and the standard deviation, in fitness, of what is modelled. With
#: the noise they are near the likeliest for 13 stretches of 500 trainings on `text_transformer`.
DIRECTIONS, SIZES, SIGNAL = 0.5, 1.0, 0.08
#: The standard deviation of a fitness on one seed about what is modelled: more than that
#: about its mean on many, because the stretches do not show all that decides it.
SCATTER = 0.02
#: The fitness of what is not known, and what is not told from worse.
UNKNOWN, FLOOR = -0.05, -0.15
#: The last so many programs of a niche are remembered; with fewer nothing is guessed.
MEMORY, ENOUGH = 600, 50


class Knowledge(NamedTuple):
    """What a search knows, as plain data.

    Attributes:
        trained: for each niche the programs that were trained last: text, fitness that its
            seeds let expect, and how many these are.
        spent: structures that were tried often enough.
    """

    trained: list[list[tuple[str, float, int]]]
    spent: list[str]


class Memory:
    """The programs of each niche that were trained last."""

    def __init__(self, niches: int) -> None:
        self._trained: list[deque[tuple[int, str]]] = [deque(maxlen=MEMORY) for _ in range(niches)]

    def note(self, number: int, niche: int, program: str) -> None:
        """A program was trained."""
        self._trained[niche].append((number, program))

    def take(self, race: Race) -> list[list[tuple[str, float, int]]]:
        """What is known of them now."""
        return [
            [(text, race.measured(number), race[number].seeds) for number, text in niche]
            for niche in self._trained
        ]


class Steps(NamedTuple):
    """For each stretch the direction of a program's updates, and their size as a power of two.

    Of several programs: a row for each.
    """

    directions: list[np.ndarray]
    sizes: list[Any]


class _Model(NamedTuple):
    """A Gaussian process: what it was given, and what it is asked with."""

    given: Steps
    weights: np.ndarray
    factor: np.ndarray


class Guess(NamedTuple):
    """The fitness expected of a program, and its standard deviation."""

    mean: float
    deviation: float


class Surrogate:
    """A Gaussian process for each niche of which enough is known.

    Arguments:
        knowledge: of the search.
        steps: those of a program, by its text.
    """

    def __init__(self, knowledge: Knowledge, steps: Callable[[str], Steps]) -> None:
        self.spent = frozenset(knowledge.spent)
        self._steps = steps
        self._models = [
            self._fit(known) if len(known) >= ENOUGH else None for known in knowledge.trained
        ]
        self._fitness: dict[str, float] = {}

    def guess(self, children: Sequence[tuple[int, Steps]]) -> list[Guess | None]:
        """What children are worth; None for those of a niche of which too little is known.

        Arguments:
            children: for each its live slots and its steps.
        """
        found: list[Guess | None] = [None] * len(children)
        niches = [min(slots, len(self._models) - 1) for slots, _ in children]
        for niche in sorted({*niches}):
            model = self._models[niche]
            here = [i for i, other in enumerate(niches) if other == niche]
            if model is not None:
                asked = _stacked([children[i][1] for i in here])
                for i, guess in zip(here, _ask(model, asked), strict=True):
                    found[i] = guess
        return found

    def fitness(self, text: str, slots: int) -> float:
        """The mean of the guess for a program; where too little is known, that of the unknown."""
        if text not in self._fitness:
            (guess,) = self.guess([(slots, self._steps(text))])
            self._fitness[text] = guess.mean if guess else UNKNOWN
        return self._fitness[text]

    def _fit(self, known: list[tuple[str, float, int]]) -> _Model:
        from scipy.linalg import cho_solve, cholesky  # slow to import; the driver never asks

        given = _stacked([self._steps(text) for text, _, _ in known])
        fitness = np.array([max(value, FLOOR) for _, value, _ in known])
        seeds = np.array([max(count, 1) for _, _, count in known])
        factor = cholesky(covariance(given, given) + np.diag(SCATTER**2 / seeds), lower=True)
        return _Model(given, cho_solve((factor, True), fitness - UNKNOWN), factor)


def steps_of(program: Program, stretches: Sequence[Stretch]) -> Steps:
    """Those of a program; a direction of zeros where its updates are zero or not finite."""
    directions, sizes = [], []
    for stretch in stretches:
        updates = stretch.updates(program)
        with np.errstate(all="ignore"):
            length = float(np.linalg.norm(updates))
            fits = 0.0 < length < np.inf
            directions.append(updates / length if fits else np.zeros_like(updates))
            sizes.append(float(np.log2(length)) if fits else 0.0)
    return Steps(directions, sizes)


def _stacked(each: Sequence[Steps]) -> Steps:
    stretches = range(len(each[0].sizes))
    return Steps(
        [np.array([steps.directions[i] for steps in each]) for i in stretches],
        [np.array([steps.sizes[i] for steps in each]) for i in stretches],
    )


def covariance(some: Steps, others: Steps) -> np.ndarray:
    """Of the fitness of programs: of one, the signal; less, the less alike they step."""
    apart = np.zeros((len(some.sizes[0]), len(others.sizes[0])))
    for u, v in zip(some.directions, others.directions, strict=True):
        apart += 2.0 * (1.0 - u @ v.T) / DIRECTIONS**2
    for s, t in zip(some.sizes, others.sizes, strict=True):
        apart += ((s[:, None] - t[None]) / SIZES) ** 2
    scaled = np.sqrt(np.maximum(5.0 * apart, 0.0))
    return SIGNAL**2 * (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)  # Matern 5/2


def _ask(model: _Model, steps: Steps) -> list[Guess]:
    from scipy.linalg import solve_triangular

    shared = covariance(steps, model.given)
    means = UNKNOWN + shared @ model.weights
    known = solve_triangular(model.factor, shared.T, lower=True)
    deviations = np.sqrt(np.maximum(SIGNAL**2 - np.sum(known**2, axis=0), 0.0))
    # How sums are ordered depends on where arrays lie: their last digits decide nothing.
    return [
        Guess(round(mean, 9), round(deviation, 9))
        for mean, deviation in zip(means.tolist(), deviations.tolist(), strict=True)
    ]
