"""How the arrays of a tree lie end to end in one vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

#: Rows of a register file begin at multiples of this many numbers, 64 bytes.
ALIGNMENT = 16


@dataclass(frozen=True)
class Layout:
    """The shapes of a tree of arrays, in order.

    An array may take more places than it has elements: an empty array keeps one,
    since its per-array value (a norm of 0, say) still counts in a `dot` of
    per-array values, and the last is padded so that rows are aligned. What
    stands in such a place means nothing; `elements` masks it.

    Raises:
        ValueError: if there is no array at all.
    """

    shapes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.shapes:
            raise ValueError("a tree needs at least one array; this one has no parameters")

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The number of elements of each array."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @cached_property
    def places(self) -> tuple[int, ...]:
        """The places each array takes in the vector."""
        places = [max(count, 1) for count in self.counts]
        places[-1] += -sum(places) % ALIGNMENT
        return tuple(places)

    @cached_property
    def starts(self) -> np.ndarray:
        """The first place of each array."""
        return np.cumsum([0, *self.places[:-1]])

    @property
    def size(self) -> int:
        """The length P of the vector."""
        return sum(self.places)

    @cached_property
    def elements(self) -> np.ndarray | None:
        """Which places hold elements, `bool [P]`; None if all do."""
        if self.counts == self.places:
            return None
        arrays = zip(self.counts, self.places, strict=True)
        return np.concatenate([np.arange(places) < count for count, places in arrays])

    def flatten(self, leaves: Sequence[Any]) -> Any:
        """Arrays of these shapes as one vector `[P]` (float32)."""
        parts = []
        for leaf, count, places in zip(leaves, self.counts, self.places, strict=True):
            parts.append(jnp.ravel(leaf).astype(jnp.float32))
            if places > count:
                parts.append(jnp.zeros(places - count))
        return jnp.concatenate(parts)

    def unflatten(self, vector: Any) -> list[Any]:
        """The arrays in a vector `[P]`."""
        return [
            vector[start : start + count].reshape(shape)
            for start, count, shape in zip(self.starts, self.counts, self.shapes, strict=True)
        ]

    def all_finite(self, vector: Any) -> Any:
        """Whether every element is finite."""
        finite = jnp.isfinite(vector)
        return jnp.all(finite if self.elements is None else finite | ~self.elements)
