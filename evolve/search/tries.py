"""How often programs of one structure were trained: in all, and since the last new best."""

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

    def note(self, structure: str, number: int) -> None:
        """A program of this structure is being trained, in the row of this number."""
        self._all[structure] += 1
        self._last[structure].append(number)

    def count(self, structure: str) -> int:
        """All of them."""
        return self._all[structure]

    def lately(self, structure: str) -> int:
        """Those since the last new best: better parents are a reason to try again."""
        return sum(number > self.since for number in self._last.get(structure, ()))
