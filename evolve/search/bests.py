"""The best programs of a search: of each niche, of each length, of this round and of all.

Worth is the fitness that is expected of a program, less what its live statements cost.
"""

from __future__ import annotations

from evolve.search.results import Results

#: Programs that are worth less than the best of their niche by more are not trained again.
NEAR = 0.015
#: And those of which no larger improvement is expected are not, either.
BETTER = 0.003


class Bests:
    """Programs that were trained on every seed, and that no other one beats.

    Rounds are searches of their own: what an earlier one found does not count in the next,
    unless that begins with it.

    Arguments:
        results: of all programs.
        niches: how many there are.
        cost: of a live statement, in fitness.

    Attributes:
        round: for each niche the worthiest program of this round.
        ever: for each niche the worthiest program of all rounds.
    """

    def __init__(self, results: Results, niches: int, cost: float) -> None:
        self._results = results
        self._cost = cost
        self.round: dict[int, int] = {}
        self.ever: dict[int, int] = {}
        #: For each niche the best of each length: no shorter one is as good.
        self._fronts: list[list[int]] = [[] for _ in range(niches)]
        self._past: list[int] = []

    def begin_round(self, origins: dict[int, int]) -> None:
        """A round begins with one program for some niches."""
        self._past += [number for front in self._fronts for number in front]
        self.round = {**origins}
        self.ever = {**origins, **self.ever}
        for niche, front in enumerate(self._fronts):
            front[:] = [origins[niche]] if niche in origins else []

    def is_behind(self, number: int) -> bool:
        """Whether one no longer than this program is expected to be as good, or any much better."""
        return self._results.expected(number) <= self._bar(number)

    def is_hopeless(self, number: int) -> bool:
        """Whether it hardly ever would be better, were it trained on more seeds."""
        return self._results.improvement(number, self._bar(number)) < BETTER

    def worth(self, number: int) -> float:
        """The fitness that is expected of a program, less what its live statements cost."""
        return self._results.expected(number) - self._cost * self._results[number].live

    def _bar(self, number: int) -> float:
        """The fitness above which a program is not behind."""
        result = self._results[number]
        front, best = self._fronts[result.niche], self.round.get(result.niche)
        bars = [self._results.expected(n) for n in front if self._results[n].live <= result.live]
        if best is not None:
            bars.append(self.worth(best) - NEAR + self._cost * result.live)
        return max(bars, default=float("-inf"))

    def note(self, number: int) -> tuple[bool, bool]:
        """A program that is not behind; whether it is the best of its niche, and of the round."""
        rank, result = self._results.expected, self._results[number]
        front = self._fronts[result.niche]
        front[:] = [
            other
            for other in front
            if self._results[other].live < result.live or rank(other) > rank(number)
        ]
        front.append(number)
        worth = self.worth(number)
        leads = all(worth > self.worth(other) for other in self.round.values())
        best, ever = self.round.get(result.niche), self.ever.get(result.niche)
        if ever is None or worth > self.worth(ever):
            self.ever[result.niche] = number
        if best is not None and worth <= self.worth(best):
            return False, False
        self.round[result.niche] = number
        return True, leads

    def elite(self, niche: int) -> list[int]:
        """The best of each length of a niche in this round, of those near the worthiest."""
        best = self.round.get(niche)
        if best is None:
            return []
        least = self.worth(best) - NEAR
        return [number for number in self._fronts[niche] if self.worth(number) >= least]

    def __contains__(self, number: int) -> bool:
        fronts = any(number in front for front in self._fronts)
        return fronts or number in self.round.values() or number in self.ever.values()

    def best(self) -> int | None:
        """The worthiest of all rounds; None if none is better than the baseline."""
        found = [number for number in self.ever.values() if self._results.expected(number) > 0]
        return max(found, key=self.worth, default=None)

    def front(self) -> list[int]:
        """The best of each length in each niche, of those better than the baseline.

        The worthiest first.
        """
        rank, results = self._results.expected, self._results
        found = {n for n in (*self._past, *(n for f in self._fronts for n in f)) if rank(n) > 0}
        ranked = sorted(found, key=lambda number: (-rank(number), results[number].live, number))
        front: list[int] = []
        for number in ranked:
            mine = results[number]
            rivals = [results[other] for other in front]
            if all(r.niche != mine.niche or r.live > mine.live for r in rivals):
                front.append(number)
        return sorted(front, key=lambda number: (-self.worth(number), number))
