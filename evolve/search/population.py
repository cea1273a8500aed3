"""The population: members in the order they came, in niches by what their state costs.

In a niche a member competes only with programs of as many slots, so a smaller
state need not beat a larger one before its own constants are found. With one
niche this is plain regularized evolution (arXiv 2302.06675, section 2.2).
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from evolve.search.config import Config
from evolve.search.racing import Race, Result

#: Niches drawn to choose the one that a parent comes from; the one with the fittest program wins.
NICHES_DRAWN = 2


class Draft(NamedTuple):
    """A child to be.

    Attributes:
        number: of the draft; its randomness is a function of that and the run's seed.
        parent: the parent's number.
        program: its text.
        constants: whether the child is to differ in constants alone.
        seed: of the worker's choices.
    """

    number: int
    parent: int
    program: str
    constants: bool
    seed: int


class Population:
    """Members of each niche, oldest first; at most so many in each."""

    def __init__(self, niches: int, capacity: int, founders: Iterable[tuple[int, int]]) -> None:
        """Begin with copies of the founders, pairs of a member and its niche."""
        self.capacity = capacity
        self.niches: list[deque[int]] = [deque() for _ in range(niches)]
        for member, niche in founders:
            self.niches[niche].extend([member] * capacity)
        self._uses = Counter(self.members())

    def members(self) -> list[int]:
        """Every member, niche by niche, oldest first."""
        return [member for niche in self.niches for member in niche]

    def __contains__(self, member: int) -> bool:
        return self._uses[member] > 0

    def enter(self, member: int, niche: int) -> int | None:
        """Join a niche; who left the population for it, if somebody did."""
        members = self.niches[niche]
        members.append(member)
        self._uses[member] += 1
        if len(members) <= self.capacity:
            return None
        gone = members.popleft()
        self._uses[gone] -= 1
        if self._uses[gone]:
            return None
        del self._uses[gone]
        return gone

    def draw(self, niche: int, rng: random.Random, size: int, rank: Callable[[int], Any]) -> int:
        """The fittest of `size` members drawn from a niche; the first drawn wins a tie."""
        members = self.niches[niche]
        return max([members[rng.randrange(len(members))] for _ in range(size)], key=rank)

    def draw_niche(self, rng: random.Random, size: int, rank: Callable[[int], Any]) -> int:
        """The fittest of `size` niches drawn from those that have members."""
        settled = [niche for niche, members in enumerate(self.niches) if members]
        if len(settled) == 1:
            return settled[0]
        return max([settled[rng.randrange(len(settled))] for _ in range(size)], key=rank)


class Structures:
    """The best program of each structure, for the best structures of each niche.

    A new structure's constants are hardly its best: Lion's, begun from Signum, took 40 to 60
    trials on `text_transformer` to pass it. In the population it would be gone before.

    Arguments:
        niches: how many there are.
        capacity: structures kept of each niche.
        rank: of a program; the highest is kept.
    """

    def __init__(self, niches: int, capacity: int, rank: Callable[[int], float]) -> None:
        self.capacity = capacity
        self._rank_of = rank
        self._best: list[dict[str, int]] = [{} for _ in range(niches)]

    def __contains__(self, program: int) -> bool:
        return any(program in best.values() for best in self._best)

    def clear(self) -> None:
        """Keep nothing."""
        for best in self._best:
            best.clear()

    def of(self, niche: int) -> list[int]:
        """The programs kept of a niche."""
        return list(self._best[niche].values())

    def enter(self, program: int, niche: int, structure: str) -> int | None:
        """Keep a program if it is the best of its structure; who left for it, if somebody did."""
        best = self._best[niche]
        before = best.get(structure)
        if before is not None and self._rank_of(before) >= self._rank_of(program):
            return program
        best[structure] = program
        if before is not None or len(best) <= self.capacity:
            return before
        return best.pop(min(best, key=lambda each: self._rank_of(best[each])))


class Parents:
    """Chooses who becomes a parent.

    Arguments:
        config: of the run.
        race: the results of all programs.

    Attributes:
        lengths: the statements of every program, dead ones included.
        structures: whose constants may be tuned.
        trials: trainings of each structure in this round.
    """

    def __init__(self, config: Config, race: Race, niches: int) -> None:
        self._config = config
        self._race = race
        self.lengths: list[int] = []
        self.structures = Structures(niches, config.structures, race.lower_bound)
        self.trials: Counter[str] = Counter()

    def begin_round(self) -> None:
        """Forget the structures of the round before."""
        self.structures.clear()
        self.trials.clear()

    def keep(self, result: Result) -> int | None:
        """A program may have its constants tuned; who may not any more, itself maybe."""
        return self.structures.enter(result.number, result.niche, result.structure)

    def choose(self, population: Population, rng: random.Random, constants: bool) -> int:
        """One of the elite, which does not age, or the winner of a tournament.

        The best short programs have few places for a mutation, so they are worth many. But
        constants are tuned where that may bring most.
        """
        config, race = self._config, self._race
        niche = population.draw_niche(rng, NICHES_DRAWN, race.fittest)
        if constants and (kept := [*race.elite(niche), *self.structures.of(niche)]):
            return max(kept, key=self._acquisition)
        elite = race.elite(niche) if rng.random() < config.elite_share else []
        if elite:
            return elite[rng.randrange(len(elite))]
        return population.draw(niche, rng, config.tournament, self._rank)

    def _acquisition(self, number: int) -> float:
        """What it is surely worth, and what tuning may bring yet: the less, the more was tried.

        As in Auer et al., "Finite-time analysis of the multiarmed bandit problem" (2002).
        """
        trials = self.trials[self._race[number].structure]
        return self._race.lower_bound(number) + self._config.optimism / math.sqrt(max(trials, 1))

    def _rank(self, number: int) -> tuple[float, int]:
        """The fitter wins a tournament, and of equals the shorter, dead statements included."""
        return self._race.penalized(number), -self.lengths[number]
