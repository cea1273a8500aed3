"""The size of a program's steps, found without training.

A new structure is worth nothing at the wrong step size, and a mutation often changes it
by orders of magnitude: `sign(m)` in the place of `m` does. So a child is run, open loop,
on a short stretch of real gradients beside its parent, and one of its constants is
multiplied by the power of two that makes their steps about equally large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

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

#: Steps whose sizes are compared: the last half of the stretch, when slots have filled.
_LAST = 0.5


class Stretch:
    """One task's stretch, as `proxy_tasks.stretch.record` gives it."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._weights = np.asarray(data["weights"], np.float32)
        self._gradients = np.asarray(data["gradients"], np.float32)
        self._rates = np.asarray(data["rates"], np.float32)
        kept = np.asarray(data["kept"])
        self._array = np.repeat(np.arange(len(kept)), kept)
        # Sums over an array are estimated from the elements that were kept.
        self._worth = (np.asarray(data["counts"]) / np.maximum(kept, 1)).astype(np.float32)

    def size(self, program: Program) -> float:
        """The root mean square of the updates of the last steps; NaN if one is not finite."""
        slots = {slot: np.zeros_like(self._weights[0]) for slot in program.slots}
        squares = []
        with np.errstate(all="ignore"):
            for w, g, rate in zip(self._weights, self._gradients, self._rates, strict=True):
                values = self._step(program, {WEIGHTS: w, GRADIENT: g, RATE: rate, **slots})
                slots = {slot: values[slot] for slot in program.slots}
                squares.append(float(np.mean(np.square(values[UPDATE], dtype=np.float64))))
        return math.sqrt(np.mean(squares[int(_LAST * len(squares)) :]))

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


def factor(child: Program, parent: Program, stretches: Sequence[Stretch]) -> float:
    """The power of two that makes the child's steps about as large as its parent's.

    The geometric mean over tasks; 1 where a size is zero or not finite.
    """
    logs = []
    for stretch in stretches:
        small, large = stretch.size(child), stretch.size(parent)
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
    sizes = [stretch.size(program) for stretch in stretches]
    for i, statement in reversed(list(enumerate(program.statements))):
        for j, argument in enumerate(statement.arguments):
            if isinstance(argument, str):
                continue
            try:
                scaled = _with_constant(program, i, j, argument * factor)
            except ProgramError:
                continue
            pairs = zip(stretches, sizes, strict=True)
            if all(math.isclose(s.size(scaled), factor * size, rel_tol=1e-3) for s, size in pairs):
                return scaled
    last = Statement(UPDATE, "multiply", (UPDATE, constant(factor)))
    return program.with_statements([*program.statements, last])


def _with_constant(program: Program, i: int, j: int, value: float) -> Program:
    statements = list(program.statements)
    old = statements[i]
    arguments = (*old.arguments[:j], constant(value), *old.arguments[j + 1 :])
    statements[i] = Statement(old.target, old.function, arguments)
    return program.with_statements(statements)
