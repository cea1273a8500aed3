"""Statements that change no step.

A sign makes the cube root before it idle, and the division by a second moment. Abstract
execution calls such statements live; the stretches tell. A child is trained without them:
they cost memory and length, so that a good structure looks like a bad bargain, and the
mutations that would take them away come late.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evolve.search.stretches import Stretch, difference
from primitives.abstract import analyse
from primitives.program import UPDATE, Program, ProgramError, Statement

#: By what share of their size updates may differ and be the same: rounding. (Weight decay is
#: 0.4 % of AdamW's steps, but not idle: it always pulls one way.)
ROUNDING = 1e-4


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
