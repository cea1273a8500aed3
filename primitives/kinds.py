"""The kinds of a program's variables, statement by statement, and of its slots."""

from __future__ import annotations

from primitives.functions import BY_NAME, SCALAR, TREE, joined
from primitives.program import Argument, Program


def kind_of(kinds: dict[str, str], argument: Argument) -> str:
    """The kind of an argument, among variables of these kinds; constants are numbers."""
    return kinds[argument] if isinstance(argument, str) else SCALAR


def kinds_before(program: Program, place: int) -> dict[str, str]:
    """The kind of every variable that exists before statement `place` (from 0).

    Raises:
        KeyError: if a statement reads what does not exist, or takes other kinds.
    """
    kinds = program.inputs()
    for statement in program.statements[:place]:
        read = tuple([kind_of(kinds, argument) for argument in statement.arguments])
        kinds[statement.target] = BY_NAME[statement.function].signatures[read]
    return kinds


def with_least_kinds(program: Program) -> Program:
    """The program with slots as narrow as what they end with allows; all trees if that is none.

    The least fixpoint: every slot begins as a number, and is widened to what it ends with until
    nothing changes. One that no statement assigns is a tree: a later change may store anything.
    """
    assigned = {statement.target for statement in program.statements}
    kinds = {slot: SCALAR if slot in assigned else TREE for slot in program.slots}
    while True:
        narrow = tuple((slot, kind) for slot, kind in kinds.items() if kind != TREE)
        tried = Program(program.statements, program.slots, narrow)
        try:
            ends = kinds_before(tried, len(tried.statements))
        except KeyError:
            return Program(program.statements, program.slots)
        wider = {slot: joined([kind, ends[slot]]) for slot, kind in kinds.items()}
        if wider == kinds:
            return tried
        kinds = wider
