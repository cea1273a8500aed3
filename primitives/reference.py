"""The reference interpreter: NumPy, tree-wise, one statement after the other.

It knows nothing of kinds, registers or hashes, and is the oracle that the
register machine and everything exported is held against.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from primitives.functions import BY_NAME, COLUMN, PER_ARRAY, ROW, SCALAR
from primitives.program import GRADIENT, RATE, UPDATE, WEIGHTS, Program

Array: TypeAlias = np.ndarray
Step = tuple[list[Array], dict[str, list[Array]]]


class Tree:
    """A list of arrays with NumPy's arithmetic, leaf by leaf; scalars are replicated.

    A per-array value is a tree of 0-d arrays.
    """

    __array_ufunc__ = None  # NumPy scalars on the left defer to the methods below

    def __init__(self, leaves: Sequence[Array]) -> None:
        self.leaves = list(leaves)

    def __add__(self, other: Any) -> Tree:
        return leafwise(operator.add, self, other)

    def __radd__(self, other: Any) -> Tree:
        return leafwise(operator.add, other, self)

    def __sub__(self, other: Any) -> Tree:
        return leafwise(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Tree:
        return leafwise(operator.sub, other, self)

    def __mul__(self, other: Any) -> Tree:
        return leafwise(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Tree:
        return leafwise(operator.mul, other, self)

    def __truediv__(self, other: Any) -> Tree:
        return leafwise(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Tree:
        return leafwise(operator.truediv, other, self)

    def __neg__(self) -> Tree:
        return leafwise(operator.neg, self)


def leafwise(function: Callable[..., Any], *arguments: Any) -> Any:
    """Apply a function of arrays to trees and scalars, leaf by leaf."""
    lengths = {len(a.leaves) for a in arguments if isinstance(a, Tree)}
    if not lengths:
        return function(*arguments)
    rows = ([a.leaves[i] if isinstance(a, Tree) else a for a in arguments] for i in range(*lengths))
    return Tree([np.asarray(function(*row)) for row in rows])


class TreeOps:
    """NumPy's functions on trees, and the two reductions of the language."""

    @staticmethod
    def array_sum(x: Any) -> Any:
        """One number per array; a scalar is its own sum."""
        return leafwise(np.sum, x)

    @staticmethod
    def tree_sum(x: Any) -> Any:
        """One number for the whole tree; a scalar is its own sum."""
        if not isinstance(x, Tree):
            return x
        return np.sum([np.sum(leaf) for leaf in x.leaves], dtype=x.leaves[0].dtype)

    @staticmethod
    def row_mean(x: Any) -> Any:
        """One number for each row of every array: `[m, 1, ...]`."""
        return leafwise(_row_mean, x) if isinstance(x, Tree) else x

    @staticmethod
    def column_mean(x: Any) -> Any:
        """One number for each column of every array: `[1, n, ...]`."""
        return leafwise(_column_mean, x) if isinstance(x, Tree) else x

    @staticmethod
    def by_matrix(x: Any, function: Callable[..., Any], otherwise: Callable[..., Any]) -> Any:
        """A function of every array as a matrix; another one of what is none."""

        def of(leaf: Array) -> Any:
            if np.ndim(leaf) < 2:
                return otherwise(np, leaf)
            if not leaf.size:
                return leaf
            return function(np, leaf.reshape(len(leaf), -1)).reshape(leaf.shape)

        return leafwise(of, x)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments: leafwise(getattr(np, name), *arguments)


def _row_mean(x: Array) -> Array:
    return _mean(x, tuple(range(1, x.ndim))) if x.ndim > 1 else x


def _column_mean(x: Array) -> Array:
    return _mean(x, (0,)) if x.ndim else x


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """The mean of nothing is 0."""
    shape = [1 if axis in axes else count for axis, count in enumerate(x.shape)]
    return np.mean(x, axis=axes, keepdims=True) if x.size else np.zeros(shape, x.dtype)


OPS = TreeOps()


def apply(function: str, *arguments: Any) -> Any:
    """One function of the table on scalars (`np.float32`) and `Tree`s; nothing warns."""
    with np.errstate(all="ignore"):
        result = BY_NAME[function].compute(OPS, *arguments)
    return result if isinstance(result, Tree) else np.float32(result)


def run_step(
    program: Program,
    weights: Sequence[Array],
    gradient: Sequence[Array],
    slots: dict[str, list[Array]],
    rate: float,
    show: Callable[[Any], None] = lambda value: None,
) -> Step:
    """One step of a program: `(update, slots)`, each a list of float32 arrays.

    Arguments:
        weights, gradient: float32 arrays of the same shapes, at least one.
        slots: the value of every slot of the program, as `zero_slots` shapes it.
        rate: the value of the schedule.
        show: called with the value of each statement, a `Tree` or a number.
    """
    env: dict[str, Any] = {name: _value(program, name, leaves) for name, leaves in slots.items()}
    env |= {WEIGHTS: Tree(weights), GRADIENT: Tree(gradient), RATE: np.float32(rate)}
    for statement in program.statements:
        arguments = [env[a] if isinstance(a, str) else np.float32(a) for a in statement.arguments]
        env[statement.target] = apply(statement.function, *arguments)
        show(env[statement.target])
    update = _leaves(env[UPDATE], [np.shape(leaf) for leaf in weights])
    return update, {s: _leaves(env[s], shapes_of(program, s, weights)) for s in program.slots}


def zero_slots(program: Program, weights: Sequence[Array]) -> dict[str, list[Array]]:
    """The state before the first step: for each slot a list of arrays of its true shapes."""
    return {
        slot: [np.zeros(shape, np.float32) for shape in shapes_of(program, slot, weights)]
        for slot in program.slots
    }


def shapes_of(program: Program, slot: str, weights: Sequence[Any]) -> list[tuple[int, ...]]:
    """The shapes of a slot: of each array the rows, or the columns, ...; of a number one."""
    kind = program.kind_of(slot)
    return [()] if kind == SCALAR else [narrowed(np.shape(w), kind) for w in weights]


def narrowed(shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
    """The shape of a kind of value for an array."""
    if kind == PER_ARRAY or not shape:
        return ()
    if kind == ROW:
        return (shape[0], *[1] * (len(shape) - 1))
    return (1, *shape[1:]) if kind == COLUMN else shape


def _value(program: Program, slot: str, leaves: list[Array]) -> Any:
    return np.float32(leaves[0]) if program.kind_of(slot) == SCALAR else Tree(leaves)


def _leaves(value: Any, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    if not isinstance(value, Tree):
        return [np.asarray(value)]
    leaves = [
        leaf.reshape(shape) if leaf.size == 1 else leaf
        for leaf, shape in zip(value.leaves, shapes, strict=True)
    ]
    assert [leaf.shape for leaf in leaves] == list(shapes)
    return leaves
