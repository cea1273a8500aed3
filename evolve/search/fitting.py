"""What a child is given before it is trained: steps as large as its parent's, and no idle weight.

A new structure is worth nothing at the wrong step size, and a mutation often changes it by
orders of magnitude (`sign(m)` in the place of `m` does). And a mutation can make statements
*idle*: a sign makes the cube root before it idle, and the division by a second moment. Abstract
execution calls them live; recorded gradients tell. They cost memory and length, so that a good
structure looks like a bad bargain, and the mutations that would take them away come late.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from evolve.search.probe import Stretch, difference
from primitives.abstract import analyse
from primitives.program import UPDATE, Program, ProgramError, Statement, constant

#: By what share of their size updates may differ and be the same: rounding. (Weight decay is
#: 0.4 % of AdamW's steps, but not idle: it always pulls one way.)
ROUNDING = 1e-4


def size(program: Program, stretch: Stretch) -> float:
    """The root mean square of the updates; NaN or infinite if one is."""
    with np.errstate(all="ignore"):
        return math.sqrt(np.mean(stretch.updates(program) ** 2))


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
                other = statement.with_argument(j, constant(argument * factor))
            except ProgramError:
                continue
            scaled = program.with_statements(
                [*program.statements[:i], other, *program.statements[i + 1 :]]
            )
            expected = [factor * before for before in sizes]
            found = [size(scaled, stretch) for stretch in stretches]
            if np.allclose(found, expected, rtol=1e-3, atol=0.0):
                return scaled
    last = Statement(UPDATE, "multiply", (UPDATE, constant(factor)))
    return program.with_statements([*program.statements, last])


def without_idle(program: Program, stretches: Sequence[Stretch]) -> tuple[Program, list[Statement]]:
    """The program without its idle statements, and those; dead ones stay.

    A statement is idle if what reads its value can read one of its arguments instead,
    and the program steps as before on the stretches. Without any, none is.
    """
    lean, gone = program, list[Statement]()
    for place in reversed(range(len(program.statements))):
        for shorter in _bypasses(lean, place):
            if difference(shorter, program, stretches) < ROUNDING:
                gone.append(lean.statements[place])
                lean = shorter
                break
    return lean, gone


def _bypasses(program: Program, place: int) -> Iterator[Program]:
    """The valid programs without a live statement, each argument in the place of its value."""
    analysis = analyse(program)
    if not analysis.live[place]:
        return
    before, gone, after = (
        program.statements[:place],
        program.statements[place],
        program.statements[place + 1 :],
    )
    until = next((i for i, s in enumerate(after) if s.target == gone.target), None)
    if until is None and gone.target in (UPDATE, *program.slots):
        return  # its value is returned
    readers = after if until is None else after[: until + 1]
    for argument in dict.fromkeys(gone.arguments):
        if isinstance(argument, str):
            passed_on = [_reading(reader, gone.target, argument) for reader in readers]
            shorter = program.with_statements([*before, *passed_on, *after[len(readers) :]])
            try:
                found = analyse(shorter)
            except ProgramError:  # the argument is of another kind than the value
                continue
            if found.learns and found.statements < analysis.statements:
                yield shorter


def _reading(reader: Statement, old: str, new: str) -> Statement:
    """The statement with a variable in the place of another among its arguments."""
    arguments = tuple(new if a == old else a for a in reader.arguments)
    return Statement(reader.target, reader.function, arguments)
