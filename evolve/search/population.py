"""The population: members in the order they came, in niches by what their state costs.

In a niche a member competes only with programs of as many slots, so a smaller
state need not beat a larger one before its own constants are found. With one
niche this is plain regularized evolution (arXiv 2302.06675, section 2.2).
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any


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
        return max(self.sample(niche, rng, size), key=rank)

    def sample(self, niche: int, rng: random.Random, size: int) -> list[int]:
        """`size` members of a niche; one may be drawn more than once."""
        members = self.niches[niche]
        return [members[rng.randrange(len(members))] for _ in range(size)]

    def draw_niche(self, rng: random.Random, size: int, rank: Callable[[int], Any]) -> int:
        """The fittest of `size` niches drawn from those that have members."""
        settled = [niche for niche, members in enumerate(self.niches) if members]
        if len(settled) == 1:
            return settled[0]
        return max([settled[rng.randrange(len(settled))] for _ in range(size)], key=rank)
