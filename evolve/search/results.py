"""What is known of the programs that were trained, and the scale they are compared on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evolve.search.fitness import Losses, Marks, final_losses, hurdles, score
from evolve.search.luck import Luck
from proxy_tasks.status import FINISHED, STOPPED

#: The standard deviation of a fitness on one seed about that on many.
NOISE = 0.012
#: A niche has hurdles once so many of its members have finished.
_ENOUGH = 8


@dataclass(slots=True)
class Result:
    """What is known of a committed program; one object for it and all of its hits.

    Attributes:
        number: of the program that was trained.
        fitness: None if it has none.
        outcome: how its last training ended.
        marks: the losses on every seed so far.
        structure: of the program.
        live: how many live statements it has.
        niche: that it belongs to.
        guess: the fitness expected of it before it was trained, and its standard deviation.
    """

    number: int
    fitness: float | None
    outcome: str
    marks: Marks
    structure: str
    live: int
    niche: int
    guess: list[float] | None = None

    @property
    def seeds(self) -> int:
        """On how many seeds it was trained."""
        return len(next(iter(self.marks.values()), []))


class Results:
    """The results of committed programs by number; fitness is relative to one of them.

    Arguments:
        replicates: the numbers of seeds that programs are trained on.
        untrained: the losses before training.
    """

    def __init__(self, replicates: tuple[int, ...], untrained: Losses) -> None:
        self._replicates = replicates
        self._untrained = untrained
        self._all: list[Result] = []
        #: The program whose fitness is 0.
        self._zero = 0
        self.luck = Luck(replicates[-1])

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, number: int) -> Result:
        return self._all[number]

    def append(self, result: Result) -> None:
        """The next number's."""
        self._all.append(result)

    def score(self, result: Result) -> None:
        """Give a result its fitness; one that failed has none."""
        if result.outcome in (FINISHED, STOPPED):
            result.fitness = self._fitness(result, self._replicates[-1])
        else:
            result.fitness = None

    def measure_from(self, zero: int) -> None:
        """From now on the fitness of this program is 0: score all anew."""
        self._zero = zero
        for result in {id(result): result for result in self._all}.values():
            self.score(result)

    def _fitness(self, result: Result, seeds: int) -> float | None:
        """The fitness on the first so many seeds."""
        zero = self._all[self._zero] if self._all else result
        losses = {task: values[:seeds] for task, values in final_losses(result.marks).items()}
        return score(losses, final_losses(zero.marks), self._untrained)

    def note_luck(self, result: Result) -> None:
        """A program of the search was trained on every seed."""
        scores = {count: self._fitness(result, count) for count in self._replicates}
        self.luck.note(result.niche, {n: value for n, value in scores.items() if value is not None})

    def measured(self, number: int) -> float:
        """The fitness that its seeds let expect on every seed; minus infinity if there is none."""
        result = self._all[number]
        if result.fitness is None:
            return float("-inf")
        return result.fitness + self.luck.expected(result.niche, result.seeds)

    def expected(self, number: int) -> float:
        """The same, and the guess, each as much as it is sure: few seeds tell little."""
        measured, guess = self.measured(number), self._all[number].guess
        if guess is None or measured == float("-inf"):
            return measured
        mean, deviation = guess
        known = NOISE**2 / self._all[number].seeds
        return mean + (measured - mean) * deviation**2 / (deviation**2 + known)

    def hurdles(
        self, members: Sequence[int], capacity: int, slack: tuple[float, float]
    ) -> dict[str, list[float]] | None:
        """Those of a niche with these members; None while too few have finished."""
        results = [self._all[member] for member in members]
        finished = [result.marks for result in results if result.outcome == FINISHED]
        if len(finished) < min(_ENOUGH, capacity):
            return None
        return hurdles(finished, self._all[self._zero].marks, self._untrained, slack)
