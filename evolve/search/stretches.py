"""What a program's steps would be, found without training.

A program is run, open loop, on a short stretch of real gradients of each task, beside
its parent. Two things are told so for the price of a hundredth of a training. A new
structure is worth nothing at the wrong step size, and a mutation often changes it by
orders of magnitude (`sign(m)` in the place of `m` does): so a child is given steps about
as large as its parent's. And most children step as their parent does, to a fraction of
a percent, or in quite another direction: training the ones only draws lots again, and
the others hardly ever learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from evolve.search.mutation import with_constant
from primitives.abstract import live_program
from primitives.functions import BY_NAME, PER_ARRAY, SCALAR, TREE
from primitives.program import (
    GRADIENT,
    RATE,
    UPDATE,
    WEIGHTS,
    Program,
    ProgramError,
    Statement,
    constant,
)

#: The steps that are compared: the last half of the stretch, when slots have filled.
_LAST = 0.5


class Stretch:
    """One task's stretch, as `proxy_tasks.stretch.record` gives it.

    Programs run on rows of all arrays end to end: eight times as fast (AdamW) as the reference
    interpreter, which goes array by array, and sums can be estimated from a sample.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self._weights = np.asarray(data["weights"], np.float32)
        self._gradients = np.asarray(data["gradients"], np.float32)
        self._rates = np.asarray(data["rates"], np.float32)
        kept = np.asarray(data["kept"])
        self._array = np.repeat(np.arange(len(kept)), kept)
        # Sums over an array are estimated from the elements that were kept.
        self._worth = (np.asarray(data["counts"]) / np.maximum(kept, 1)).astype(np.float32)

    def updates(self, program: Program) -> np.ndarray:
        """The updates of the last steps, end to end."""
        slots = {slot: np.zeros_like(self._weights[0]) for slot in program.slots}
        rows = []
        with np.errstate(all="ignore"):
            for w, g, rate in zip(self._weights, self._gradients, self._rates, strict=True):
                values = self._step(program, {WEIGHTS: w, GRADIENT: g, RATE: rate, **slots})
                slots = {slot: values[slot] for slot in program.slots}
                rows.append(values[UPDATE])
        return np.concatenate(rows[int(_LAST * len(rows)) :]).astype(np.float64)

    def _step(self, program: Program, values: dict[str, Any]) -> dict[str, Any]:
        kinds = program.inputs()
        for statement in program.statements:
            given: list[Any] = [
                values[a] if isinstance(a, str) else np.float32(a) for a in statement.arguments
            ]
            read = [kinds[a] if isinstance(a, str) else SCALAR for a in statement.arguments]
            function = BY_NAME[statement.function]
            kind = PER_ARRAY if PER_ARRAY in read and TREE not in read else TREE
            if TREE in read:
                given = [
                    x[self._array] if k == PER_ARRAY else x
                    for x, k in zip(given, read, strict=True)
                ]
            values[statement.target] = function.compute(_Ops(self, kind), *given)
            kinds[statement.target] = function.signatures[tuple(read)]
        return values

    def array_sum(self, x: Any) -> Any:
        """An estimate of the sums over whole arrays of a row of elements."""
        return np.bincount(self._array, x, len(self._worth)).astype(np.float32) * self._worth


class _Ops:
    """NumPy on rows of elements, with the two reductions of the language."""

    def __init__(self, stretch: Stretch, kind: str) -> None:
        self._stretch, self._kind = stretch, kind

    def array_sum(self, x: Any) -> Any:
        return self._stretch.array_sum(x) if self._kind == TREE and np.ndim(x) else x

    def tree_sum(self, x: Any) -> Any:
        return np.sum(self.array_sum(x), dtype=np.float32)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@lru_cache(maxsize=512)
def _updates(stretch: Stretch, program: Program) -> np.ndarray:
    return stretch.updates(live_program(program))


def size(program: Program, stretch: Stretch) -> float:
    """The root mean square of the updates; NaN or infinite if one is."""
    with np.errstate(all="ignore"):
        return math.sqrt(np.mean(_updates(stretch, program) ** 2))


def resemblance(one: Program, other: Program, stretches: Sequence[Stretch]) -> float:
    """The cosine of the angle between their updates, where it is the smallest.

    NaN if there is none: updates that are zero or not finite.
    """
    return min((_cosine(_updates(s, one), _updates(s, other)) for s in stretches), default=math.nan)


def _cosine(u: np.ndarray, v: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        return float(u @ v / np.sqrt((u @ u) * (v @ v)))


def difference(child: Program, parent: Program, stretches: Sequence[Stretch]) -> float:
    """By how much the updates differ, relative to the parent's, where it is the most."""
    pairs = [(_updates(s, child), _updates(s, parent)) for s in stretches]
    with np.errstate(all="ignore"):
        found = [float(np.linalg.norm(u - v) / np.linalg.norm(v)) for u, v in pairs]
    return max(found, default=math.nan)


def factor(child: Program, parent: Program, stretches: Sequence[Stretch]) -> float:
    """The power of two that makes the child's steps about as large as its parent's.

    The geometric mean over tasks; 1 where a size is zero or not finite.
    """
    logs = []
    for stretch in stretches:
        small, large = size(child, stretch), size(parent, stretch)
        if not (0 < small < math.inf and 0 < large < math.inf):
            return 1.0
        logs.append(math.log2(large / small))
    return 2.0 ** round(sum(logs) / len(logs)) if logs else 1.0


def rescaled(program: Program, factor: float, stretches: Sequence[Stretch]) -> Program:
    """The program with its update multiplied by a factor.

    If that can be done by multiplying one of its constants it is; else a statement is added.

    Raises:
        ProgramError: if the factor becomes too large for float32.
    """
    sizes = [size(program, stretch) for stretch in stretches]
    for i, statement in reversed(list(enumerate(program.statements))):
        for j, argument in enumerate(statement.arguments):
            if isinstance(argument, str):
                continue
            try:
                scaled = with_constant(program, i, j, argument * factor)
            except ProgramError:
                continue
            expected = [factor * before for before in sizes]
            found = [size(scaled, stretch) for stretch in stretches]
            if np.allclose(found, expected, rtol=1e-3, atol=0.0):
                return scaled
    last = Statement(UPDATE, "multiply", (UPDATE, constant(factor)))
    return program.with_statements([*program.statements, last])
