"""Which child is trained next: the most promising of some, each of a parent drawn by tournament."""

from __future__ import annotations

import random
from collections.abc import Callable, Container
from math import sqrt
from typing import Any

from evolve.search.bests import Bests
from evolve.search.breeding import Breeding
from evolve.search.config import Config
from evolve.search.mutation import Mutant, mutate_constants
from evolve.search.population import Population
from evolve.search.results import Results
from evolve.search.surrogate import Surrogate
from evolve.search.tries import Tries
from primitives.program import Program

#: How many standard deviations of what is not known count as promise.
BENEFIT = 1.0

Child = tuple[int, Mutant]


class Selection:
    """Draws parents, and chooses among their children.

    Arguments:
        config: of the run.
        results: of all programs.
        bests: of them.
        tries: of structures.
        known: functional hashes of programs whose result is known, or will be.
        breeding: makes children.
        surrogate: guesses what they are worth.
        program: of a number, that of a member of the population.
    """

    def __init__(
        self,
        config: Config,
        results: Results,
        bests: Bests,
        tries: Tries,
        known: Container[str],
        breeding: Breeding,
        surrogate: Surrogate,
        program: Callable[[int], Program],
    ) -> None:
        self._config = config
        self._results = results
        self._bests = bests
        self._tries = tries
        self._known = known
        self._breeding = breeding
        self._surrogate = surrogate
        self._program = program

    def tuned(self, population: Population, rng: random.Random) -> Child:
        """A child of the start program with other constants, to tune it."""
        niche = population.draw_niche(rng, 1, self._niche_rank)
        size = self._config.tuning_tournament
        parent = population.draw(niche, rng, size, self._preference)
        return parent, mutate_constants(self._program(parent), rng)

    def child(self, population: Population, tuning: bool, rng: random.Random) -> Child:
        """The next child of a search.

        Several are drawn, and that which promises most is chosen. But one that is shorter than
        its parent and steps alike is taken when it is drawn, and one whose result is known if
        it is drawn first: they cost nothing, and let programs drift.

        Arguments:
            population: where the parents come from.
            tuning: whether it is to differ from its parent in constants alone.
            rng: for all draws.
        """
        children: list[Child] = []
        passed = -1
        for _ in range(self._config.candidates if self._surrogate.can_guess else 1):
            parent, mutants = self._draw(population, tuning, rng)
            first = mutants[0]
            passed += 1 + first.passed
            if first.alike:
                return parent, first._replace(passed=passed)
            if first.analysis.functional_hash not in self._known:
                children += [(parent, mutant) for mutant in mutants]
            elif not children:
                return parent, first
        for parent, mutant in self._most_promising_first(children):
            ready = self._breeding.ready(mutant)
            if ready is not None:
                return parent, ready._replace(passed=passed)
        return parent, mutant._replace(passed=passed)

    def _draw(
        self, population: Population, tuning: bool, rng: random.Random
    ) -> tuple[int, list[Mutant]]:
        config = self._config
        niche = population.draw_niche(rng, config.niche_tournament, self._niche_rank)
        if tuning:
            parent = self._parent(
                population, niche, config.constants_tournament, self._prospect, rng
            )
            if self._program(parent).constants:
                mutant = self._breeding.other_constants(self._program(parent), rng)
                # Else its constants are dead.
                if mutant.analysis.functional_hash not in self._known:
                    return parent, [mutant]
        parent = self._parent(population, niche, config.tournament, self._preference, rng)
        return parent, self._breeding.other_structure(self._program(parent), rng)

    def _parent(
        self,
        population: Population,
        niche: int,
        size: int,
        rank: Callable[[int], Any],
        rng: random.Random,
    ) -> int:
        """One of the elite, which does not age, or the winner of a tournament.

        The best short programs have few places for a mutation, so they are worth many.
        """
        share = self._config.elite_share
        elite = self._bests.elite(niche) if share and rng.random() < share else []
        if elite:
            return elite[rng.randrange(len(elite))]
        return population.draw(niche, rng, size, rank)

    def _most_promising_first(self, children: list[Child]) -> list[Child]:
        """The children with what is guessed of them."""
        guesses = self._surrogate.guess([mutant for _, mutant in children])
        guessed = [
            (parent, mutant._replace(guess=guess))
            for (parent, mutant), guess in zip(children, guesses, strict=True)
        ]
        return sorted(guessed, key=lambda child: self._promise(child[1]), reverse=True)

    def _promise(self, mutant: Mutant) -> float:
        """What it may well be worth; no end of it where nothing is known."""
        if mutant.guess is None:
            return float("inf")
        mean, deviation = mutant.guess
        cost = self._config.complexity_cost * mutant.analysis.statements
        return mean + BENEFIT * deviation - cost

    def _niche_rank(self, niche: int) -> float:
        best = self._bests.round.get(niche)
        return float("-inf") if best is None else self._results.expected(best)

    def _prospect(self, number: int) -> float:
        """Worth, and what tuning its constants may still bring: less the more were tried."""
        tries = self._tries.count(self._results[number].structure) or 1
        return self._worth(number) + self._config.optimism / sqrt(tries)

    def _preference(self, number: int) -> tuple[float, int]:
        """The worthier is preferred, and of equals the shorter, dead statements included."""
        return self._worth(number), -len(self._program(number).statements)

    def _worth(self, number: int) -> float:
        """The fitness that is expected of a program, less what its live statements cost."""
        result = self._results[number]
        guess = self._surrogate.worth(result.number, result.niche)
        fitness = self._results.expected(number) if guess is None else guess
        return fitness - self._config.complexity_cost * result.live
