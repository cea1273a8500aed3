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

import numpy as np

from evolve.search.mutation import with_constant
from evolve.search.open_loop import Stretch
from primitives.abstract import live_program
from primitives.program import UPDATE, Program, ProgramError, Statement, constant


def updates(stretch: Stretch, program: Program) -> np.ndarray:
    """A program's, without its dead statements."""
    found = program.memo.get(stretch)
    if found is None:
        found = program.memo[stretch] = stretch.updates(live_program(program))
    return found


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
