"""What is known of the programs that were trained, and the scale they are compared on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import erf, exp, pi, sqrt

from evolve.search.fitness import (
    Hurdles,
    Losses,
    Marks,
    final_losses,
    hurdles,
    limits,
    rotated,
    score,
)
from evolve.search.luck import Luck
from proxy_tasks.status import FINISHED, STOPPED

#: The standard deviation of a fitness on one seed, luck known, about that on many (measured
#: on `text_transformer`: 0.010 to 0.013).
NOISE = 0.01
#: A niche has hurdles once so many of its members have finished.
_ENOUGH = 8


@dataclass(slots=True)
class Result:
    """What is known of a committed program, or of the one that a hit took its result from.

    Attributes:
        number: of the program that was trained.
        fitness: None if it has none.
        outcome: how its last training ended.
        marks: the losses on every seed so far.
        first: the first of those seeds; the others follow it.
        structure: of the program.
        live: how many live statements it has.
        niche: that it belongs to.
        guess: the fitness expected of it before it was trained, and its standard deviation.
    """

    number: int
    fitness: float | None
    outcome: str
    marks: Marks
    first: int
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
        #: What a hit has of its own: the structure and live statements of its program.
        self._own: dict[int, tuple[str, int]] = {}
        #: The program whose fitness is 0.
        self._zero = 0
        self.luck = Luck()

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, number: int) -> Result:
        result = self._all[number]
        if number not in self._own:
            return result
        structure, live = self._own[number]
        return replace(result, structure=structure, live=live)

    def append(self, result: Result) -> None:
        """The next number's."""
        self._all.append(result)

    def append_hit(self, source: int, structure: str, live: int) -> None:
        """The next number's is that of an earlier program, with all that is found of it later."""
        result = self._all[source]
        if (structure, live) != (result.structure, result.live):
            self._own[len(self._all)] = structure, live
        self._all.append(result)

    def score(self, result: Result) -> None:
        """Give a result its fitness; one that failed has none."""
        if result.outcome in (FINISHED, STOPPED):
            result.fitness = self._fitness(result)
        else:
            result.fitness = None

    def measure_from(self, zero: int) -> None:
        """From now on the fitness of this program is 0: score all anew."""
        self._zero = zero
        for result in {id(result): result for result in self._all}.values():
            self.score(result)

    def train_again(self, result: Result, marks: Marks, outcome: str) -> None:
        """A program was trained on more seeds."""
        result.marks = {
            task: [*seeds, *marks.get(task, [])] for task, seeds in result.marks.items()
        }
        result.outcome = outcome
        self.score(result)

    def seeds(self, first: int, count: int) -> list[int]:
        """The first so many seeds of a program that begins with seed `first`."""
        every = self._replicates[-1]
        return [(first + i) % every for i in range(count)]

    def _fitness(self, result: Result) -> float | None:
        zero = self._all[self._zero] if self._all else result
        return score(
            final_losses(result.marks),
            rotated(final_losses(zero.marks), result.first),
            rotated(self._untrained, result.first),
        )

    def note_luck(self, result: Result) -> None:
        """A program of the search was trained on every seed."""
        scores = [0.0] * result.seeds
        for i, seed in enumerate(self.seeds(result.first, result.seeds)):
            one = {task: [marks[i]] for task, marks in result.marks.items()}
            found = self._fitness(replace(result, marks=one, first=seed))
            assert found is not None
            scores[seed] = found
        self.luck.note(result.niche, scores)

    def measured(self, number: int) -> float:
        """The fitness that its seeds let expect on every seed; minus infinity if there is none."""
        result = self._all[number]
        if result.fitness is None:
            return float("-inf")
        seeds = self.seeds(result.first, result.seeds)
        return result.fitness + self.luck.expected(result.niche, seeds)

    def expected(self, number: int) -> float:
        """The same, and the guess, each as much as it is sure: few seeds tell little."""
        return self._believed(number)[0]

    def improvement(self, number: int, bar: float) -> float:
        """What is expected of a program beyond a bar, if only what exceeds it counts.

        More if it is like no other: the *expected improvement* of Jones et al., "Efficient
        global optimization of expensive black-box functions" (1998), eq. 15.
        """
        mean, deviation = self._believed(number)
        ahead = mean - bar
        if deviation == 0:
            return max(ahead, 0.0)
        z = ahead / deviation
        density = exp(-z * z / 2) / sqrt(2 * pi)
        return ahead * (1 + erf(z / sqrt(2))) / 2 + deviation * density

    def _believed(self, number: int) -> tuple[float, float]:
        """The mean and standard deviation that guess and measurement leave; 0 without a guess."""
        measured, guess = self.measured(number), self._all[number].guess
        if guess is None or measured == float("-inf"):
            return measured, 0.0
        mean, deviation = guess
        known = NOISE**2 / self._all[number].seeds
        both = deviation**2 + known
        mean += (measured - mean) * deviation**2 / both
        return mean, sqrt(deviation**2 * known / both)

    def hurdles(
        self, members: Sequence[int], capacity: int, slack: tuple[float, float]
    ) -> Hurdles | None:
        """Those of a niche with these members; None while too few have finished."""
        results = [self._all[member] for member in members]
        finished = [(r.marks, r.first) for r in results if r.outcome == FINISHED]
        if len(finished) < min(_ENOUGH, capacity):
            return None
        return hurdles(finished, self._all[self._zero].marks, self._untrained, slack)

    def limits(self, hurdles: Hurdles, seed: int) -> dict[str, list[float]]:
        """The losses that hurdles allow on a seed."""
        return limits(hurdles, self._all[self._zero].marks, self._untrained, seed)
