"""Random programs: what a search without evolution would train.

The control of the search (arXiv 2302.06675, section 2.3, compares with random
search too). The number of statements is uniform from 1 to `LONGEST`. All but the
last are drawn as insertions are, at the end; the last makes the update: functions
uniform among those that can give a tree, then argument tuples.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from evolve.search.mutation import (
    Edit,
    Mutant,
    draw_arguments,
    first_valid,
    insert_at,
    kinds_before,
)
from primitives.functions import FUNCTIONS, TREE, Function
from primitives.program import UPDATE, Program, Statement

#: AdamW has 9 statements, Lion 7.
LONGEST = 12


def random_program(
    slots: tuple[str, ...], rng: random.Random, functions: Sequence[Function] = FUNCTIONS
) -> Mutant:
    """A valid random program whose update depends on the gradient."""
    return first_valid(lambda: _draw(slots, rng, functions))


def _draw(slots: tuple[str, ...], rng: random.Random, functions: Sequence[Function]) -> Edit:
    program = Program((), slots)
    for _ in range(rng.randrange(LONGEST)):
        program, _ = insert_at(program, len(program.statements), rng, functions)
    kinds = kinds_before(program, len(program.statements))
    while True:
        function = functions[rng.randrange(len(functions))]
        arguments, kind = draw_arguments(function, kinds, rng)
        if kind == TREE:
            last = Statement(UPDATE, function.name, arguments)
            return program.with_statements([*program.statements, last]), "random"
