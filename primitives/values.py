"""From values in single-assignment form to a program.

Statements are put in an order in which every slot is read before it is written,
and variables get the names people use: `update` for what becomes the update,
`wd` for a multiple of the weights, `lr` for a multiple of the schedule.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from primitives.abstract import CONSTANT, ZERO, Analysis, constant_value
from primitives.functions import BY_NAME, TREE
from primitives.program import GRADIENT, RATE, UPDATE, WEIGHTS, Program, Statement, constant

#: What a value is computed from: an earlier value, a variable that a step begins with, a constant.
Operand: TypeAlias = int | str | float
#: Names of slots, in the order in which they are given out.
SLOT_NAMES = ("m", "v", "s", "r")


class Value(NamedTuple):
    """`function(*arguments)`."""

    function: str
    arguments: tuple[Operand, ...]


def key_of(slot: str, kind: str) -> str:
    """What a slot is called here: with its kind, if that is no tree."""
    return slot if kind == TREE else f"{slot}.{kind}"


def kind_of_key(key: str) -> str:
    """The kind of a slot that is called so."""
    return key.partition(".")[2] or TREE


def values_of(analysis: Analysis, slots: Sequence[str]) -> tuple[list[Value], dict[str, Operand]]:
    """The live values of a program, and what the update and the live slots end with.

    Arguments:
        analysis: of the program.
        slots: the names of its slots.

    Raises:
        ProgramError: if what is computed from constants alone is not finite.
    """
    values: list[Value] = []
    where: dict[int, Operand] = {}
    pairs = zip(analysis.slots, analysis.kinds, strict=True)
    keys = {position: key_of(slots[position], kind) for (position, _), kind in pairs}
    for index in analysis.live_nodes():
        node = analysis.nodes[index]
        if node.function == CONSTANT:
            where[index] = constant(constant_value(node))
        elif node.function == ZERO:
            where[index] = key_of(_never_written(slots, list(keys)), node.kind)
        elif node.function == "slot":
            where[index] = keys[node.arguments[0]]
        elif node.function in BY_NAME:
            where[index] = len(values)
            values.append(Value(node.function, tuple([where[a] for a in node.arguments])))
        else:
            where[index] = node.function
    ends = {keys[position]: where[node] for position, node in analysis.slots}
    return values, {UPDATE: where[analysis.update], **ends}


def _never_written(slots: Sequence[str], live: Sequence[int]) -> str:
    """A slot that holds zeros for ever; nothing else is zero where weights are infinite."""
    return next(name for position, name in enumerate(slots) if position not in live)


def to_program(values: Sequence[Value], ends: dict[str, Operand]) -> Program:
    """The program that computes `values`, in as few statements as there are values.

    Arguments:
        values: in any order in which arguments come first.
        ends: what `update` and each slot end with. A slot that ends with something
            that cannot be computed in its place costs a copy.
    """
    values = list(values)
    slots = [name for name in ends if name != UPDATE]
    final = {name: _own_value(values, ends, name) for name in ends}
    for slot in slots:
        if _order(values, final) is None:  # read after it would be written
            values.append(Value("multiply", (final[slot], 1.0)))
            final[slot] = len(values) - 1
    order = _order(values, final)
    assert order is not None
    names = _names(values, final, order)
    statements = [
        Statement(
            names[v],
            values[v].function,
            tuple([names[a] if isinstance(a, int) else a for a in values[v].arguments]),
        )
        for v in order
    ]
    zeros = {a for v in values for a in v.arguments if isinstance(a, str)}
    zeros -= {*slots, WEIGHTS, GRADIENT, RATE}
    return _with_usual_slots(_declared(statements, [*slots, *sorted(zeros)]))


def _declared(statements: Sequence[Statement], keys: Sequence[str]) -> Program:
    """The program whose slots are called so here: the kinds stand in its signature."""
    names = {key: key.partition(".")[0] for key in keys}
    narrow = [(names[key], kind_of_key(key)) for key in keys if kind_of_key(key) != TREE]
    renamed = [_renamed(statement, names) for statement in statements]
    return Program(tuple(renamed), tuple(names.values()), tuple(narrow))


def _renamed(s: Statement, new: dict[str, str]) -> Statement:
    arguments = tuple([new.get(a, a) if isinstance(a, str) else a for a in s.arguments])
    return Statement(new.get(s.target, s.target), s.function, arguments)


def _own_value(values: list[Value], ends: dict[str, Operand], name: str) -> int:
    """The value that ends as `name` and as nothing else; a copy if need be."""
    end = ends[name]
    taken = [ends[other] for other in list(ends)[: list(ends).index(name)]]
    if isinstance(end, int) and end not in [t for t in taken if isinstance(t, int)]:
        return end
    values.append(Value("multiply", (end, 1.0)))
    return len(values) - 1


def _order(values: Sequence[Value], final: dict[str, int]) -> list[int] | None:
    """Arguments first, readers of a slot before its writer, else as given; None for a cycle."""
    before: list[set[int]] = [
        {a for a in value.arguments if isinstance(a, int)} for value in values
    ]
    for name, writer in final.items():
        readers = [i for i, value in enumerate(values) if name in value.arguments and i != writer]
        before[writer].update(readers)
    after: list[list[int]] = [[] for _ in values]
    for index, needed in enumerate(before):
        for other in needed:
            after[other].append(index)
    waiting = [len(needed) for needed in before]
    ready = [i for i, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for other in after[index]:
            waiting[other] -= 1
            if not waiting[other]:
                heapq.heappush(ready, other)
    return order if len(order) == len(values) else None


def _names(values: Sequence[Value], final: dict[str, int], order: Sequence[int]) -> dict[int, str]:
    names = {value: name for name, value in final.items()}
    slots = {*final, *(a for v in values for a in v.arguments if isinstance(a, str))}
    place = {value: i for i, value in enumerate(order)}
    last_use: dict[Operand, int] = {}
    for index in order:
        for argument in values[index].arguments:
            if isinstance(argument, int | str):
                last_use[argument] = index
    numbers = _numbers(values)
    _name_chain(values, names, last_use, final[UPDATE], numbers)
    number = 0
    for index in order:
        if index in names:
            continue
        arguments = values[index].arguments
        multiple = values[index].function == "multiply" and any(type(a) is float for a in arguments)
        if index in numbers and RATE in arguments and last_use[RATE] == index:
            names[index] = RATE
        elif (
            multiple
            and WEIGHTS in arguments
            and "wd" not in slots
            and not _alive(names, "wd", place, last_use, index)
        ):
            names[index] = "wd"
        else:
            while f"x{number}" in slots:
                number += 1
            names[index] = f"x{number}"
            number += 1
    return names


def _numbers(values: Sequence[Value]) -> set[int]:
    """The values that are computed from the schedule and constants alone."""
    found: set[int] = set()
    for index, value in enumerate(values):
        if all(
            a in found if type(a) is int else a == RATE or type(a) is float for a in value.arguments
        ):
            found.add(index)
    return found


def _name_chain(
    values: Sequence[Value],
    names: dict[int, str],
    last_use: dict[Operand, int],
    end: int,
    numbers: set[int],
) -> None:
    """Call `update` also what the update is computed from, statement by statement."""
    current = end
    while True:
        following = [
            a
            for a in values[current].arguments
            if isinstance(a, int) and a not in names and a not in numbers and last_use[a] == current
        ]
        if not following:
            return
        multiples = [a for a in following if WEIGHTS in values[a].arguments]
        current = next((a for a in following if a not in multiples), following[0])
        names[current] = UPDATE


def _alive(
    names: dict[int, str],
    name: str,
    place: dict[int, int],
    last_use: dict[Operand, int],
    index: int,
) -> bool:
    return any(
        given == name and value in last_use and place[last_use[value]] > place[index]
        for value, given in names.items()
        if place[value] < place[index]
    )


def _with_usual_slots(program: Program) -> Program:
    """The same program with its slots called m, v, ... unless that name is taken."""
    taken = {s.target for s in program.statements} | set(program.slots)
    free = [name for name in SLOT_NAMES if name not in taken or name in program.slots]
    wanted = list(free[: len(program.slots)])
    wanted += list(program.slots[len(wanted) :])
    if len(set(wanted)) < len(wanted):
        return program
    new = dict(zip(program.slots, wanted, strict=True))
    statements = [_renamed(s, new) for s in program.statements]
    narrow = [(new[slot], kind) for slot, kind in program.narrow]
    return Program(tuple(statements), tuple(wanted), tuple(narrow))
