"""Random programs: valid, of every length, with every function."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from evolve.search.random_programs import LONGEST, random_program
from primitives.abstract import analyse
from primitives.functions import FUNCTIONS, TREE
from primitives.program import UPDATE
from primitives.text import from_text, to_text


@pytest.mark.parametrize("slots", [(), ("m",), ("m", "v")])
def test_random_programs_are_valid_and_learn(slots: tuple[str, ...]) -> None:
    lengths, functions = Counter[int](), Counter[str]()
    for seed in range(400):
        mutant = random_program(slots, Random(seed))
        program = mutant.program
        assert from_text(to_text(program)) == program
        assert program.slots == slots and program.statements[-1].target == UPDATE
        assert mutant.analysis == analyse(program) and mutant.analysis.learns
        assert mutant.rejected >= 0 and mutant.mutation == "random"
        lengths[len(program.statements)] += 1
        functions.update(statement.function for statement in program.statements)
    assert set(lengths) == set(range(1, LONGEST + 1))
    assert set(functions) == {function.name for function in FUNCTIONS}


def test_a_random_program_keeps_to_the_functions_given() -> None:
    few = [f for f in FUNCTIONS if f.name in ("add", "multiply", "sign")]
    assert any(TREE in f.signatures.values() for f in few)
    drawn = [random_program(("m",), Random(seed), few).program for seed in range(50)]
    assert {s.function for p in drawn for s in p.statements} == {f.name for f in few}
