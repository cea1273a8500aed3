"""A guess at what a program is worth, from how it steps, before it is trained.

Programs that step alike are worth about as much. So fitness is modelled by a Gaussian process
over the steps that programs take on a stretch of recorded gradients (`stretches`): a smooth
function of their directions and sizes, seen through the noise of few seeds. It says how good a
child should be, and how sure that is, for the price of a hundredth of a training; programs of
all structures tell of each other.

That surrogates see what programs do, not how they are written, is from Hildebrandt & Branke,
"On using surrogates with genetic programming" (Evolutionary Computation 23(3), 2015); the
formulas are algorithm 2.1 of Rasmussen & Williams, "Gaussian Processes for Machine Learning".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from threadpoolctl import ThreadpoolController

from evolve.search.mutation import Mutant
from evolve.search.results import Results
from evolve.search.stretches import Stretch, updates
from primitives.program import Program
from primitives.text import from_text

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

Known = tuple[int, Program | str]


class _Steps(NamedTuple):
    """Of some programs, for each stretch: rows of directions, and sizes as powers of two."""

    directions: list[np.ndarray]
    sizes: list[np.ndarray]


class _Model(NamedTuple):
    """A Gaussian process: what it was given, and what it is asked with."""

    given: _Steps
    weights: np.ndarray
    factor: np.ndarray
    worth: dict[int, float]


class Surrogate:
    """A Gaussian process for each niche.

    What it knows is taken anew when it is told to, not with every program: models are
    made of that when they are first asked for.

    Arguments:
        niches: how many there are.
        niche: that of programs with so many live slots.
        stretches: on which programs are run; none: nothing is guessed.
    """

    def __init__(
        self, niches: int, niche: Callable[[int], int], stretches: Sequence[Stretch]
    ) -> None:
        self._niche = niche
        self._stretches = stretches
        self._known: list[deque[Known]] = [deque(maxlen=MEMORY) for _ in range(niches)]
        self._rows: dict[int, tuple[list[np.ndarray], list[float]]] = {}
        self._data: list[tuple[list[Known], np.ndarray, np.ndarray]] = []
        self._models: dict[int, _Model | None] = {}

    def note(self, number: int, niche: int, program: Program | str) -> None:
        """A program was trained."""
        if self._stretches:
            self._known[niche].append((number, program))

    def forget(self) -> None:
        """A round begins: rounds are searches of their own."""
        for known in self._known:
            known.clear()
        self._data, self._models = [], {}

    def take_anew(self, results: Results) -> None:
        """From now on, guess from what is known now."""
        self._data = [
            (
                [*known],
                np.array([max(results.measured(number), FLOOR) for number, _ in known]),
                np.array([max(results[number].seeds, 1) for number, _ in known]),
            )
            for known in self._known
        ]
        self._models = {}

    @property
    def can_guess(self) -> bool:
        """Whether there is anything to run programs on."""
        return bool(self._stretches)

    def guess(self, mutants: Sequence[Mutant]) -> list[list[float] | None]:
        """The fitness expected of children, and its standard deviation.

        None for those of a niche of which too little is known.
        """
        niches = [self._niche(len(mutant.analysis.slots)) for mutant in mutants]
        found: list[list[float] | None] = [None] * len(mutants)
        for niche in set(niches):
            model = self._model(niche)
            if model is not None:
                here = [i for i, other in enumerate(niches) if other == niche]
                rows = [self._row(mutants[i].program, mutants[i].factor) for i in here]
                for i, guess in zip(here, _ask(model, self._stack(rows)), strict=True):
                    found[i] = guess
        return found

    def worth(self, number: int, niche: int) -> float | None:
        """What a program is worth that was trained, cleared of some of its luck."""
        model = self._model(niche)
        return model.worth.get(number) if model else None

    def _model(self, niche: int) -> _Model | None:
        if niche not in self._models:
            self._models[niche] = self._fit(niche)
        return self._models[niche]

    def _fit(self, niche: int) -> _Model | None:
        if not self._data or len(self._data[niche][0]) < ENOUGH:
            return None
        known, fitness, seeds = self._data[niche]
        rows = []
        for number, program in known:
            if number not in self._rows:
                whole = from_text(program) if isinstance(program, str) else program
                self._rows[number] = self._row(whole)
            rows.append(self._rows[number])
        here = {number for data in self._data for number, _ in data[0]}
        self._rows = {number: row for number, row in self._rows.items() if number in here}
        given = self._stack(rows)
        with _one_thread():
            shared = _covariance(given, given)
            factor = cholesky(shared + np.diag(SCATTER**2 / seeds), lower=True)
            weights = cho_solve((factor, True), fitness - UNKNOWN)
            found = UNKNOWN + shared @ weights
        worth = dict(zip((number for number, _ in known), found.tolist(), strict=True))
        return _Model(given, weights, factor, worth)

    def _row(self, program: Program, factor: float = 1.0) -> tuple[list[np.ndarray], list[float]]:
        directions, sizes = [], []
        for stretch in self._stretches:
            u = updates(stretch, program)
            with np.errstate(all="ignore"):
                length = float(np.linalg.norm(u))
                fits = 0.0 < length < np.inf
                directions.append(u / length if fits else np.zeros_like(u))
                sizes.append(float(np.log2(length * factor)) if fits else 0.0)
        return directions, sizes

    def _stack(self, rows: Sequence[tuple[list[np.ndarray], list[float]]]) -> _Steps:
        each = range(len(self._stretches))
        return _Steps(
            [np.array([row[0][i] for row in rows]) for i in each],
            [np.array([row[1][i] for row in rows]) for i in each],
        )


def _covariance(some: _Steps, others: _Steps) -> np.ndarray:
    """Of the fitness of programs: of one, the signal; less, the less alike they step."""
    apart = np.zeros((len(some.sizes[0]), len(others.sizes[0])))
    for u, v in zip(some.directions, others.directions, strict=True):
        apart += 2.0 * (1.0 - u @ v.T) / DIRECTIONS**2
    for s, t in zip(some.sizes, others.sizes, strict=True):
        apart += ((s[:, None] - t[None]) / SIZES) ** 2
    scaled = np.sqrt(np.maximum(5.0 * apart, 0.0))
    return SIGNAL**2 * (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)  # Matern 5/2


def _ask(model: _Model, steps: _Steps) -> list[list[float]]:
    """Means and standard deviations."""
    with _one_thread():
        shared = _covariance(steps, model.given)
        means = UNKNOWN + shared @ model.weights
        known = solve_triangular(model.factor, shared.T, lower=True)
    variances = np.maximum(SIGNAL**2 - np.sum(known**2, axis=0), 0.0)
    found: list[list[float]] = np.stack([means, np.sqrt(variances)], axis=1).tolist()
    return found


def _one_thread() -> AbstractContextManager[Any]:
    """Sums are taken in one order, on any number of cores; and the cores are for training."""
    return _threads().limit(limits=1, user_api="blas")


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()
