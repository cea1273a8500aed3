"""The three mutations of the paper (arXiv 2302.06675, section 2.2), and two of our own.

Insert a random statement, delete one, or change one argument of one; a third
each, drawn again until the child is valid. Functions are drawn uniformly, then
argument tuples of a kind the function takes, then a target. A variable is
replaced by another variable or by a new constant from N(0, 1); a constant is
multiplied by 2^a with a from N(0, 1). Dead statements stay: they are the
stepping stones to larger changes. Our own are `mutate_constants`, and random
programs, the control of the search.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from primitives.abstract import Analysis, analyse
from primitives.functions import BY_NAME, FUNCTIONS, TREE, Function
from primitives.kinds import kind_of, kinds_before, with_least_kinds
from primitives.program import UPDATE, Argument, Program, ProgramError, Statement, constant
from primitives.text import statement_text

INSERT, DELETE, CHANGE = "insert", "delete", "change"
CONSTANTS, RANDOM = "constants", "random"

#: The share of constants among the other arguments of an insertion on an edge.
EDGE_CONSTANTS = 1 / 3
#: How much nearer to 0, and to 1, constants are brought that were inserted.
NEARER = (1 / 4, 1 / 16, 1 / 64)
#: The share of changes of constants that are fine, and their standard deviation, in powers of two.
FINELY, FINE = 0.5, 0.3
#: The longest random program (AdamW has 9 statements, Lion 7).
LONGEST = 12


class Edit(NamedTuple):
    """A program that was changed.

    Attributes:
        program: as it is now.
        mutation: what was done: `insert`, `delete`, `change`, `constants` or `random`.
        detail: where and what, in words: `7: update = sign(update)`.
        added: the place of the statement that was inserted, from 0, if one was.
    """

    program: Program
    mutation: str
    detail: str
    added: int | None = None


class Mutant(NamedTuple):
    """A valid child.

    Attributes:
        program, mutation, detail, added: as of an `Edit`.
        analysis: its abstract execution.
        rejected: how many invalid children were drawn just before it.
    """

    program: Program
    mutation: str
    detail: str
    added: int | None
    analysis: Analysis
    rejected: int


def child_rng(seed: int, number: int) -> random.Random:
    """The source of randomness of child `number`: a function of run seed and number alone."""
    return random.Random((seed << 64) + number)


def mutate(
    parent: Program,
    rng: random.Random,
    functions: Sequence[Function] = FUNCTIONS,
    on_edges: float = 0.0,
    narrow: bool = False,
) -> Mutant:
    """A valid child of `parent` that differs by one mutation.

    With `narrow` its slots are of the kinds that it needs; else all are trees. A child whose
    update cannot depend on the gradient is invalid too. A share `on_edges` of the insertions, of
    one of `functions`, is made where its value is read, and as large a share of the deletions
    undoes such an insertion.
    """

    def add() -> Edit | None:
        on_edge = on_edges and rng.random() < on_edges
        return (insert_on_edge if on_edge else insert)(parent, rng, functions)

    def remove() -> Edit | None:
        on_edge = on_edges and rng.random() < on_edges
        return (delete_on_edge if on_edge else delete)(parent, rng)

    edits = (add, remove, lambda: change(parent, rng))
    return first_valid(lambda: edits[rng.randrange(3)](), narrow)


def mutate_constants(parent: Program, rng: random.Random) -> Mutant:
    """A child of `parent` with one or more constants multiplied by 2^a, a from N(0, 1).

    With probability `FINELY` a is from N(0, 0.3^2) for all of them, and those between 0
    and 1 have their distance from 1 multiplied instead, half of the time.

    How many is geometric: another one with probability 1/2. Constants depend on
    each other (a smaller second beta wants a larger step), so one at a time
    finds the good ones late: with 600 evaluations AdamW on `text_transformer`
    came to 2.37-2.40 so, and to 2.27-2.29 this way.

    Raises:
        ProgramError: if the parent has no constant.
    """
    places = [
        (i, j)
        for i, statement in enumerate(parent.statements)
        for j, argument in enumerate(statement.arguments)
        if not isinstance(argument, str)
    ]
    if not places:
        raise ProgramError("the program has no constant to tune")
    sigma = FINE if rng.random() < FINELY else 1.0
    return first_valid(lambda: _change_constants(parent, places, rng, sigma))


def _change_constants(
    parent: Program, places: list[tuple[int, int]], rng: random.Random, sigma: float
) -> Edit | None:
    count = 1
    while count < len(places) and rng.random() < 0.5:
        count += 1
    statements, words = [*parent.statements], []
    for i, j in sorted(rng.sample(places, count)):
        old = statements[i]
        factor = 2.0 ** rng.gauss(0.0, sigma)
        value = float(old.arguments[j])
        if sigma < 1.0 and 0.0 < value < 1.0 and rng.random() < 0.5:
            value = 1.0 - (1.0 - value) * factor
        else:
            value *= factor
        try:
            statements[i] = old.with_argument(j, constant(value))
        except ProgramError:
            return None
        words.append(f"{i + 1}: {statement_text(statements[i])}")
    return Edit(parent.with_statements(statements), CONSTANTS, "; ".join(words))


def gentler(mutant: Mutant) -> Iterator[Mutant]:
    """The child with the one constant that was inserted ever nearer to 0, and to 1.

    By a random one a new statement is worth little, and by these it changes less.
    """
    if mutant.added is None:
        return
    statements = mutant.program.statements
    before, added, after = (
        statements[: mutant.added],
        statements[mutant.added],
        statements[mutant.added + 1 :],
    )
    constants = [j for j, a in enumerate(added.arguments) if not isinstance(a, str)]
    if len(constants) != 1:
        return
    (j,) = constants
    for near in (share * float(added.arguments[j]) for share in NEARER):
        for value in (near, 1.0 - near):
            other = added.with_argument(j, constant(value))
            program = mutant.program.with_statements([*before, other, *after])
            detail = mutant.detail.replace(statement_text(added), statement_text(other))
            yield mutant._replace(program=program, analysis=analyse(program), detail=detail)


def first_valid(edit: Callable[[], Edit | None], narrow: bool = False) -> Mutant:
    """The first edit that is possible, valid and learns from the gradient."""
    rejected = 0
    while True:
        edited = edit()
        if edited is not None:
            if narrow:
                edited = edited._replace(program=with_least_kinds(edited.program))
            try:
                analysis = analyse(edited.program)
            except ProgramError:
                pass
            else:
                if analysis.learns:
                    return Mutant(*edited, analysis, rejected)
        rejected += 1


def insert(parent: Program, rng: random.Random, functions: Sequence[Function] = FUNCTIONS) -> Edit:
    """Insert a random statement at a random place."""
    return insert_at(parent, rng.randrange(len(parent.statements) + 1), rng, functions)


def insert_at(
    parent: Program, place: int, rng: random.Random, functions: Sequence[Function] = FUNCTIONS
) -> Edit:
    """Insert a random statement before statement `place` (from 0)."""
    kinds = kinds_before(parent, place)
    function = functions[rng.randrange(len(functions))]
    arguments, kind = draw_arguments(function, kinds, rng)
    targets = [_fresh_name(parent), *(name for name in kinds if kinds[name] == kind)]
    statement = Statement(targets[rng.randrange(len(targets))], function.name, arguments)
    statements = (*parent.statements[:place], statement, *parent.statements[place:])
    words = f"{place + 1}: {statement_text(statement)}"
    return Edit(parent.with_statements(statements), INSERT, words, place)


def insert_on_edge(
    parent: Program, rng: random.Random, functions: Sequence[Function] = FUNCTIONS
) -> Edit | None:
    """Insert a random statement between a variable and a live statement that reads it.

    One of the arguments is that variable, the others are constants or variables of live
    value; the target is fresh. So the new value counts, where one in ten values that
    `insert` adds does. Half of the time functions are equally likely, and half of the time
    statements are: there are 30 functions of one argument, and one of three has more
    statements than they.
    """
    live = analyse(parent).live
    reads = [
        (i, j)
        for i, statement in enumerate(parent.statements)
        if live[i]
        for j, argument in enumerate(statement.arguments)
        if isinstance(argument, str)
    ]
    if not reads:
        return None
    place, position = reads[rng.randrange(len(reads))]
    kinds = _live_kinds(parent, place, live)
    weights = None
    if rng.random() < 0.5:
        weights = [(len(kinds) + 1) ** max(f.arity - 1, 0) for f in functions]
    (function,) = rng.choices(functions, weights)
    if not function.arity:
        return None
    reader = parent.statements[place]
    arguments = [*draw_arguments(function, kinds, rng, EDGE_CONSTANTS)[0]]
    arguments[rng.randrange(function.arity)] = reader.arguments[position]
    added = Statement(_fresh_name(parent), function.name, tuple(arguments))
    statements = [*parent.statements]
    statements[place : place + 1] = [added, reader.with_argument(position, added.target)]
    words = f"{place + 1}: {statement_text(added)}, read by {reader.target}"
    return Edit(parent.with_statements(statements), INSERT, words, place)


def _live_kinds(parent: Program, place: int, live: Sequence[bool]) -> dict[str, str]:
    """The kinds of the variables before statement `place` that no dead statement assigned."""
    dead = {s.target: not alive for s, alive in zip(parent.statements[:place], live, strict=False)}
    kinds = kinds_before(parent, place)
    return {name: kind for name, kind in kinds.items() if not dead.get(name)}


def delete(parent: Program, rng: random.Random) -> Edit | None:
    """Delete a random statement."""
    if not parent.statements:
        return None
    place = rng.randrange(len(parent.statements))
    statements = parent.statements[:place] + parent.statements[place + 1 :]
    gone = statement_text(parent.statements[place])
    return Edit(parent.with_statements(statements), DELETE, f"{place + 1}: {gone}")


def delete_on_edge(parent: Program, rng: random.Random) -> Edit | None:
    """Let a statement read an argument of the statement whose value it read.

    That is deleted if nothing else reads it: what `insert_on_edge` adds can go again.
    `delete` alone takes it away from under its reader, which makes the child invalid.
    """
    places: dict[str | float, int] = {}  # of the statement a variable has its value from
    reads = []
    for i, statement in enumerate(parent.statements):
        for j, argument in enumerate(statement.arguments):
            if argument in places:
                reads.append((i, j, places[argument]))
        places[statement.target] = i
    if not reads:
        return None
    place, position, origin = reads[rng.randrange(len(reads))]
    gone, reader = parent.statements[origin], parent.statements[place]
    if not gone.arguments:
        return None
    passed_on = gone.arguments[rng.randrange(len(gone.arguments))]
    statements = [*parent.statements]
    statements[place] = reader.with_argument(position, passed_on)
    is_returned = places[gone.target] == origin and gone.target in (UPDATE, *parent.slots)
    if not is_returned and sum(read[2] == origin for read in reads) == 1:
        del statements[origin]
    words = f"{origin + 1}: {statement_text(gone)}, read by {reader.target}"
    return Edit(parent.with_statements(statements), DELETE, words)


def change(parent: Program, rng: random.Random) -> Edit | None:
    """Change one argument of a random statement."""
    if not parent.statements:
        return None
    place = rng.randrange(len(parent.statements))
    arity = len(parent.statements[place].arguments)
    return _replace_argument(parent, place, rng.randrange(arity), rng) if arity else None


def _replace_argument(
    parent: Program, place: int, position: int, rng: random.Random
) -> Edit | None:
    old = parent.statements[place]
    argument = old.arguments[position]
    if isinstance(argument, str):
        kinds = kinds_before(parent, place)
        new = _draw_argument([name for name in kinds if name != argument], rng)
        given = [*old.arguments]
        given[position] = new
        # Not worth an analysis; variables used too early are left to it.
        if tuple([kind_of(kinds, a) for a in given]) not in BY_NAME[old.function].signatures:
            return None
    else:
        try:
            new = constant(argument * 2.0 ** rng.gauss(0.0, 1.0))
        except ProgramError:
            return None
    statement = old.with_argument(position, new)
    statements = (*parent.statements[:place], statement, *parent.statements[place + 1 :])
    words = f"{place + 1}: {statement_text(statement)}"
    return Edit(parent.with_statements(statements), CHANGE, words)


def random_program(
    slots: tuple[str, ...],
    rng: random.Random,
    functions: Sequence[Function] = FUNCTIONS,
    narrow: bool = False,
) -> Mutant:
    """A valid random program whose update depends on the gradient: no child of anything.

    The control of the search (arXiv 2302.06675, section 2.3, compares with random search
    too). The number of statements is uniform from 1 to `LONGEST`. All but the last are drawn
    as insertions are, at the end; the last makes the update: functions uniform among those
    that can give a tree, then argument tuples.
    """
    return first_valid(lambda: _draw_program(slots, rng, functions), narrow)


def _draw_program(
    slots: tuple[str, ...], rng: random.Random, functions: Sequence[Function]
) -> Edit:
    program = Program((), slots)
    for _ in range(rng.randrange(LONGEST)):
        program = insert_at(program, len(program.statements), rng, functions).program
    kinds = kinds_before(program, len(program.statements))
    while True:
        function = functions[rng.randrange(len(functions))]
        arguments, kind = draw_arguments(function, kinds, rng)
        if kind == TREE:
            last = Statement(UPDATE, function.name, arguments)
            return Edit(program.with_statements([*program.statements, last]), RANDOM, "program")


def draw_arguments(
    function: Function, kinds: dict[str, str], rng: random.Random, constants: float | None = None
) -> tuple[tuple[Argument, ...], str]:
    """Arguments of kinds the function takes, and the kind that results.

    A constant is as likely as each variable, or drawn with probability `constants`.
    Every function takes scalars, which constants are, so this ends.
    """
    names = list(kinds)
    while True:
        arguments = tuple([_draw_argument(names, rng, constants) for _ in range(function.arity)])
        kind = function.signatures.get(tuple([kind_of(kinds, a) for a in arguments]))
        if kind is not None:
            return arguments, kind


def _draw_argument(
    names: list[str], rng: random.Random, constants: float | None = None
) -> Argument:
    """A variable, or a new constant from N(0, 1)."""
    share = 1 / (len(names) + 1) if constants is None else constants
    if not names or rng.random() < share:
        return constant(rng.gauss(0.0, 1.0))
    return names[rng.randrange(len(names))]


def _fresh_name(program: Program) -> str:
    taken = {statement.target for statement in program.statements} | set(program.slots)
    number = 0
    while f"x{number}" in taken:
        number += 1
    return f"x{number}"
