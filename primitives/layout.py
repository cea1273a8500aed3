"""How the arrays of a tree lie end to end in one vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Layout:
    """The shapes of a tree of arrays, in order.

    An empty array keeps one unused place, since its per-array value (a norm of
    0, say) still counts in a `dot` of per-array values; `elements` masks it.

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
        return tuple(max(count, 1) for count in self.counts)

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
        if min(self.counts) > 0:
            return None
        return np.repeat(np.array(self.counts) > 0, self.places)

    def flatten(self, leaves: Sequence[Any]) -> Any:
        """Arrays of these shapes as one vector `[P]` (float32)."""
        pads = [
            leaf if count else jnp.zeros(1) for leaf, count in zip(leaves, self.counts, strict=True)
        ]
        return jnp.concatenate([jnp.ravel(pad).astype(jnp.float32) for pad in pads])

    def unflatten(self, vector: Any) -> list[Any]:
        """The arrays in a vector `[P]`."""
        return [
            vector[start : start + count].reshape(shape)
            for start, count, shape in zip(self.starts, self.counts, self.shapes, strict=True)
        ]
