"""Which children are trained: their steps differ from their parent's, but not quite."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from fakes import config
from test_stretches import stretch

from evolve.search.breeding import ALIKE, DRAWS, NO_DIFFERENCE, UNLIKE, Breeding
from evolve.search.mutation import AS_PARENT, Mutant, mutate
from evolve.search.stretches import Stretch, factor, rescaled
from evolve.search.tries import Tries
from primitives.abstract import analyse
from primitives.program import Program, ProgramError
from primitives.text import from_text, statement_text
from primitives.zoo import NAMES, zoo

STRETCHES = [Stretch(stretch(seed)) for seed in (0, 1)]
#: Lion, with two statements that change nothing: rates are positive.
ORNATE = """def train(w, g, m, lr):
    x0 = interp(g, m, 0.9)
    m = interp(g, m, 0.99)
    x1 = sign(x0)
    x2 = abs(lr)
    x3 = maximum(x2, lr)
    update = x1 * x3
    return update, m
"""


def breeding(
    stretches: list[Stretch], known: dict[str, int] | None = None, method: str = "evolution"
) -> Breeding:
    return Breeding(config(structure_tries=1, method=method), stretches, known or {}, Tries(1))


def angles(child: Program, parent: Program) -> list[float]:
    """The cosines between their updates, by another road."""
    pairs = [(s.updates(child), s.updates(parent)) for s in STRETCHES]
    with np.errstate(all="ignore"):
        return [float(np.corrcoef(np.r_[u, -u], np.r_[v, -v])[0, 1]) for u, v in pairs]


@pytest.mark.parametrize("name", NAMES)
def test_children_step_otherwise_than_their_parent_but_not_quite(name: str) -> None:
    parent = zoo(name)
    passed = 0
    for seed in range(25):
        mutants = breeding(STRETCHES).other_structure(parent, Random(seed))
        passed += mutants[0].passed
        for mutant in mutants:
            assert mutant.analysis == analyse(mutant.program)
            if mutant.passed < DRAWS - 1 and not mutant.alike:
                assert UNLIKE - 1e-6 < min(angles(mutant.program, parent)) < ALIKE + 1e-6
    assert passed > 0


def test_without_stretches_children_are_taken_as_they_come() -> None:
    for seed in range(20):
        (taken,) = breeding([]).other_structure(zoo("adamw"), Random(seed))
        drawn = mutate(zoo("adamw"), Random(seed), on_edges=config().on_edges)
        assert (taken.program, taken.passed) == (drawn.program, 0)


def test_what_is_known_is_taken_only_if_it_is_drawn_first() -> None:
    parent = zoo("adamw")

    def draw(known: dict[str, int], seed: int) -> Mutant:
        return breeding(STRETCHES, known).other_structure(parent, Random(seed))[0]

    seen = set()
    for seed in range(60):
        mutant = draw({}, seed)
        again = draw({mutant.analysis.functional_hash: 7}, seed)
        seen.add(mutant.passed == 0)
        assert (again.program == mutant.program) == (mutant.passed == 0)
    assert seen == {True, False}


def test_a_shorter_child_that_steps_as_its_parent_does_is_not_trained() -> None:
    parent = from_text(ORNATE)
    shorter = 0
    for seed in range(300):
        mutant = breeding(STRETCHES).other_structure(parent, Random(seed))[0]
        if not mutant.alike:
            assert not mutant.mutation.endswith(AS_PARENT)
            continue
        shorter += 1
        assert mutant.mutation.endswith(AS_PARENT)
        assert mutant.analysis.statements < analyse(parent).statements
        assert min(angles(mutant.program, parent)) > ALIKE - 1e-6
    assert shorter > 3


def test_new_statements_come_with_several_constants() -> None:
    """With the constant that was drawn, and with ones nearer to 0 and to 1, if they differ."""
    parent, several = zoo("signum"), 0
    for seed in range(300):
        first, *others = Breeding(config(on_edges=1.0), STRETCHES, {}, Tries(1)).other_structure(
            parent, Random(seed)
        )
        several += bool(others)
        for mutant in others:
            assert mutant.analysis == analyse(mutant.program)
            assert mutant.analysis.structure == first.analysis.structure
            pairs = zip(first.program.statements, mutant.program.statements, strict=True)
            ((changed, _),) = [(i, p) for i, p in enumerate(pairs) if p[0] != p[1]]
            assert mutant.mutation.startswith(f"insert {changed + 1}: ")
            assert statement_text(mutant.program.statements[changed]) in mutant.mutation
    assert several > 20


def test_structures_that_were_tried_are_passed_over() -> None:
    parent = zoo("adamw")
    first = breeding(STRETCHES).other_structure(parent, Random(3))[0]
    structure = first.analysis.structure
    tries = Tries(1)
    tries.note(structure, 7)
    other = Breeding(config(structure_tries=1), STRETCHES, {}, tries)
    assert other.other_structure(parent, Random(3))[0].analysis.structure != structure
    tries.since = 7  # a new best
    assert other.other_structure(parent, Random(3))[0].analysis.structure == structure


def test_other_constants_change_the_steps() -> None:
    parent = zoo("adamw")
    for seed in range(40):
        mutant = breeding(STRETCHES).other_constants(parent, Random(seed))
        assert mutant.analysis.structure == analyse(parent).structure
        moved = [
            np.linalg.norm(s.updates(mutant.program) - s.updates(parent))
            / np.linalg.norm(s.updates(parent))
            for s in STRETCHES
        ]
        assert max(moved) > NO_DIFFERENCE


def test_children_are_given_steps_as_large_as_their_parents() -> None:
    parent, scaled = zoo("signum"), 0
    for seed in range(60):
        mutant = breeding(STRETCHES).other_structure(parent, Random(seed))[0]
        sized = breeding(STRETCHES).ready(mutant)
        assert sized is not None and sized.analysis == analyse(sized.program)
        if mutant.factor == 1:
            continue
        scaled += 1
        assert sized.mutation.startswith(mutant.mutation)
        assert sized.mutation.endswith(f"; steps times {mutant.factor:g}")
        assert factor(sized.program, parent, STRETCHES) == 1
    assert scaled > 5


def test_steps_that_no_constant_makes_large_enough_are_refused() -> None:
    """As happened: an update of 1e-55 would have needed a factor beyond float32."""
    mutant = breeding(STRETCHES).other_structure(zoo("adamw"), Random(1))[0]
    for by in (2.0**175, 2.0**-400):
        sized = breeding(STRETCHES).ready(mutant._replace(factor=by))
        assert (sized is None) == (by > 1)


def test_a_factor_beyond_float32_is_refused() -> None:
    with pytest.raises(ProgramError, match="is not a finite float32"):
        rescaled(zoo("signsgd"), 2.0**175, STRETCHES)
