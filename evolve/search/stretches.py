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
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
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
    Argument,
    Program,
    ProgramError,
    Statement,
    constant,
)

_Reader = Callable[[dict[str, Any]], Any]
_Line = tuple[str, Callable[..., Any], "_Ops", list[_Reader]]

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
        lines = self._lines(program)
        rows = []
        with np.errstate(all="ignore"):
            for w, g, rate in zip(self._weights, self._gradients, self._rates, strict=True):
                values = {WEIGHTS: w, GRADIENT: g, RATE: rate, **slots}
                for target, compute, ops, read in lines:
                    values[target] = compute(ops, *[get(values) for get in read])
                slots = {slot: values[slot] for slot in program.slots}
                rows.append(values[UPDATE])
        return np.concatenate(rows[int(_LAST * len(rows)) :]).astype(np.float64)

    def _lines(self, program: Program) -> list[_Line]:
        """For each statement its target, what computes it, and what reads its arguments."""
        kinds, lines = program.inputs(), []
        for statement in program.statements:
            read = [kinds[a] if isinstance(a, str) else SCALAR for a in statement.arguments]
            function = BY_NAME[statement.function]
            kind = PER_ARRAY if PER_ARRAY in read and TREE not in read else TREE
            readers = [
                self._reader(argument, spread=TREE in read and its == PER_ARRAY)
                for argument, its in zip(statement.arguments, read, strict=True)
            ]
            lines.append((statement.target, function.compute, _Ops(self, kind), readers))
            kinds[statement.target] = function.signatures[tuple(read)]
        return lines

    def _reader(self, argument: Argument, spread: bool) -> _Reader:
        if not isinstance(argument, str):
            value = np.float32(argument)
            return lambda values: value
        if spread:
            return lambda values: values[argument][self._array]
        return itemgetter(argument)

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
        function = getattr(np, name)
        setattr(self, name, function)  # found at once the next time
        return function


@lru_cache(maxsize=4096)
def updates(stretch: Stretch, program: Program) -> np.ndarray:
    """A program's, without its dead statements."""
    return stretch.updates(live_program(program))


def size(program: Program, stretch: Stretch) -> float:
    """The root mean square of the updates; NaN or infinite if one is."""
    with np.errstate(all="ignore"):
        return math.sqrt(np.mean(updates(stretch, program) ** 2))


def resemblance(one: Program, other: Program, stretches: Sequence[Stretch]) -> float:
    """The cosine of the angle between their updates, where it is the smallest.

    NaN if there is none: updates that are zero or not finite.
    """
    return min((_cosine(updates(s, one), updates(s, other)) for s in stretches), default=math.nan)


def _cosine(u: np.ndarray, v: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        return float(u @ v / np.sqrt((u @ u) * (v @ v)))


def difference(child: Program, parent: Program, stretches: Sequence[Stretch]) -> float:
    """By how much the updates differ, relative to the parent's, where it is the most."""
    pairs = [(updates(s, child), updates(s, parent)) for s in stretches]
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
