"""The constants of a structure, tuned by CMA-ES, one generation at a time.

A loss on few seeds is noisy, and of a hundred trials the best is mostly the luckiest. CMA-ES
(Hansen, arXiv 1604.00772) recombines the better half of every generation, and its result is the
mean of its distribution, which averages the luck away. Every generation can have seeds of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from primitives.program import Program, constant

#: Members of a generation, and the first standard deviation, in powers of e.
GENERATION, SIGMA = 8, 0.5
#: Further than this, in powers of e, no constant goes, and none is larger.
_FARTHEST, _LARGEST = 20.0, 1e38
#: The level of what failed: worse than any other.
_FAILED = 1e6


class Constants:
    """Ask for a generation, train it, and tell its levels; lower is better.

    Arguments:
        seed: of what is drawn.
        starts: programs of one structure, at most a generation of them. They are the first
            generation, and the search goes on from the best of them.
    """

    def __init__(self, seed: int, starts: Sequence[Program]) -> None:
        self._seed = seed
        self._starts = list(starts[:GENERATION])
        self._asked: list[np.ndarray] = []
        self._strategy: Any = None
        #: What the search goes on from, and the result so far.
        self.start = self.best = self._starts[0]
        self.trials = 0

    def ask(self) -> list[Program]:
        """The next generation; without constants there is only one way to be."""
        if self.trials == 0:
            programs = self._starts
        elif not self.start.constants:
            return []
        else:
            self._asked = self._search().ask()
            programs = [_shifted(self.start, shift) for shift in self._asked]
        self.trials += len(programs)
        return programs

    def tell(self, levels: Sequence[float]) -> None:
        """The levels of the generation that was asked for last."""
        finite = [level if math.isfinite(level) else _FAILED for level in levels]
        if not self._asked:
            self.start = self.best = self._starts[int(np.argmin(finite))]
            return
        self._strategy.tell(self._asked, finite)
        self.best = _shifted(self.start, self._strategy.result.xfavorite)

    def _search(self) -> Any:
        if self._strategy is None:
            from cma import CMAEvolutionStrategy  # slow to import, and most never tune

            random = np.random.RandomState(self._seed % 2**32)
            options = {"seed": math.nan, "randn": random.randn, "popsize": GENERATION}
            # It cannot search in one dimension; a second one is of no effect.
            zero = np.zeros(max(2, len(self.start.constants)))
            self._strategy = CMAEvolutionStrategy(zero, SIGMA, {**options, "verbose": -9})
        return self._strategy


def _shifted(program: Program, shift: Iterable[float]) -> Program:
    """The program with each constant multiplied; of those between 0 and 1, the odds are."""
    shifts = iter(shift)
    statements = []
    for statement in program.statements:
        for place, value in enumerate(statement.arguments):
            if not isinstance(value, str):
                statement = statement.with_argument(place, _moved(value, float(next(shifts))))
        statements.append(statement)
    return program.with_statements(statements)


def _moved(value: float, shift: float) -> float:
    factor = math.exp(max(-_FARTHEST, min(_FARTHEST, shift)))
    if 0 < value < 1:
        odds = value / (1 - value) * factor
        return constant(odds / (1 + odds))
    return constant(max(-_LARGEST, min(_LARGEST, value * factor)))
