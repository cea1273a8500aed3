"""How often programs of one structure were trained: in this round, and since the last new best."""

from __future__ import annotations

from collections import Counter, defaultdict, deque


class Tries:
    """Counts trainings by structure.

    What is recent is told by the numbers of rows, not by the order of calls: proposals run
    ahead of results, and a state that is rebuilt from a log sees them in another order.

    Arguments:
        most: recent ones are counted up to this.

    Attributes:
        since: the number of the row from which on tries are recent, itself excluded.
    """

    def __init__(self, most: int) -> None:
        self.since = -1
        self._all: Counter[str] = Counter()
        self._last: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=most))

    def begin_round(self, number: int) -> None:
        """All that was tried before the row of this number is forgotten."""
        self._all.clear()
        self.since = number - 1

    def note(self, structure: str, number: int) -> None:
        """A program of this structure is being trained, in the row of this number."""
        self._all[structure] += 1
        self._last[structure].append(number)

    def count(self, structure: str) -> int:
        """Those of this round."""
        return self._all[structure]

    def lately(self, structure: str) -> int:
        """Those since the last new best: better parents are a reason to try again."""
        return sum(number > self.since for number in self._last.get(structure, ()))
