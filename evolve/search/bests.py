"""The best programs of a search: of each niche, of each length, of this round and of all."""

from __future__ import annotations

from evolve.search.results import Results

#: Programs that are worse than the best of their niche by more are not trained on more seeds.
NEAR = 0.015
#: And those that are expected to be better by less are not, either.
BETTER = 0.003


class Bests:
    """Programs that were trained on every seed, and that no other one beats.

    Rounds are searches of their own: what an earlier one found does not count in the next,
    unless that begins with it.

    Arguments:
        results: of all programs.
        niches: how many there are.

    Attributes:
        round: for each niche the best program of this round.
        ever: for each niche the best program of all rounds.
    """

    def __init__(self, results: Results, niches: int) -> None:
        self._results = results
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

    def is_behind(self, number: int, by: float = 0.0) -> bool:
        """Whether a program no longer than this one is as good, or any other much better.

        As good is what is at most `by` worse.
        """
        rank, result = self._results.expected, self._results[number]
        best = self.round.get(result.niche)
        if best is not None and rank(number) < rank(best) - NEAR:
            return True
        front = self._fronts[result.niche]
        no_longer = [other for other in front if self._results[other].live <= result.live]
        return any(rank(number) <= rank(other) + by for other in no_longer)

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
        leads = all(rank(number) > rank(other) for other in self.round.values())
        best, ever = self.round.get(result.niche), self.ever.get(result.niche)
        if ever is None or rank(number) > rank(ever):
            self.ever[result.niche] = number
        if best is not None and rank(number) <= rank(best):
            return False, False
        self.round[result.niche] = number
        return True, leads

    def elite(self, niche: int) -> list[int]:
        """The best of each length of a niche in this round, of those near the best."""
        rank, best = self._results.expected, self.round.get(niche)
        front = self._fronts[niche]
        return [] if best is None else [n for n in front if rank(n) >= rank(best) - NEAR]

    def __contains__(self, number: int) -> bool:
        fronts = any(number in front for front in self._fronts)
        return fronts or number in self.round.values() or number in self.ever.values()

    def best(self) -> int | None:
        """The best of all rounds; None if none is better than the baseline."""
        found = [number for number in self.ever.values() if self._results.expected(number) > 0]
        return max(found, key=self._results.expected, default=None)

    def front(self) -> list[int]:
        """The best of each length in each niche, of those better than the baseline, best first."""
        rank, results = self._results.expected, self._results
        found = {n for n in (*self._past, *(n for f in self._fronts for n in f)) if rank(n) > 0}
        ranked = sorted(found, key=lambda number: (-rank(number), results[number].live, number))
        front: list[int] = []
        for number in ranked:
            mine = results[number]
            rivals = [results[other] for other in front]
            if all(r.niche != mine.niche or r.live > mine.live for r in rivals):
                front.append(number)
        return front
