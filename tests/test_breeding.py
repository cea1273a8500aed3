"""Which children are trained: their steps differ from their parent's, but not quite."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from fakes import config
from test_stretches import stretch

from evolve.search import breeding as search_breeding
from evolve.search.breeding import ALIKE, AS_PARENT, DRAWS, GENTLE, NO_DIFFERENCE, UNLIKE, Breeding
from evolve.search.mutation import Mutant, mutate
from evolve.search.stretches import Stretch, rescaled
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


def breeding(stretches: list[Stretch], known: dict[str, int] | None = None) -> Breeding:
    return Breeding(config(structure_tries=1), stretches, known or {}, Tries(1))


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
        mutant = breeding(STRETCHES).other_structure(parent, Random(seed))
        assert mutant.analysis == analyse(mutant.program)
        passed += mutant.passed
        if mutant.passed < DRAWS - 1 and not mutant.alike:
            assert UNLIKE - 1e-6 < min(angles(mutant.program, parent)) < ALIKE + 1e-6
    assert passed > 0


def test_without_stretches_children_are_taken_as_they_come() -> None:
    for seed in range(20):
        taken = breeding([]).other_structure(zoo("adamw"), Random(seed))
        drawn = mutate(zoo("adamw"), Random(seed), on_edges=config().on_edges)
        assert (taken.program, taken.passed) == (drawn.program, 0)


def test_what_is_known_is_taken_only_if_it_is_drawn_first() -> None:
    parent = zoo("adamw")

    def draw(known: dict[str, int], seed: int) -> Mutant:
        return breeding(STRETCHES, known).other_structure(parent, Random(seed))

    seen = set()
    for seed in range(60):
        mutant = draw({}, seed)
        if "steps times" in mutant.mutation:  # what is known is what was trained
            continue
        again = draw({mutant.analysis.functional_hash: 7}, seed)
        seen.add(mutant.passed == 0)
        assert (again.program == mutant.program) == (mutant.passed == 0)
    assert seen == {True, False}


def test_a_shorter_child_that_steps_as_its_parent_does_is_not_trained() -> None:
    parent = from_text(ORNATE)
    shorter = 0
    for seed in range(300):
        mutant = breeding(STRETCHES).other_structure(parent, Random(seed))
        if not mutant.alike:
            assert not mutant.mutation.endswith(AS_PARENT)
            continue
        shorter += 1
        assert mutant.passed == 0 and mutant.mutation.endswith(AS_PARENT)
        assert mutant.analysis.statements < analyse(parent).statements
        assert min(angles(mutant.program, parent)) > ALIKE - 1e-6
    assert shorter > 3


def test_new_statements_begin_gently() -> None:
    """With the constant that was drawn, or else one nearer to 0 or 1 that turns the steps less."""
    parent, turned, gentle = zoo("signum"), [], []
    for seed in range(700):
        plain, mild = (
            Breeding(config(gentle=on, on_edges=1.0), STRETCHES, {}, Tries(1)).other_structure(
                parent, Random(seed)
            )
            for on in (False, True)
        )
        assert plain.analysis.structure == mild.analysis.structure
        if plain.program != mild.program and "steps times" not in plain.mutation + mild.mutation:
            turned.append(min(angles(plain.program, parent)))
            gentle.append(min(angles(mild.program, parent)))
            (changed,) = [
                i
                for i, pair in enumerate(
                    zip(plain.program.statements, mild.program.statements, strict=True)
                )
                if pair[0] != pair[1]
            ]
            assert mild.mutation.startswith(f"insert {changed + 1}: ")
            assert statement_text(mild.program.statements[changed]) in mild.mutation
    assert len(gentle) > 5
    for before, after in zip(turned, gentle, strict=True):
        assert before < np.cos(GENTLE) + 1e-6 and before < after < ALIKE + 1e-6


def test_structures_that_were_tried_are_passed_over() -> None:
    parent = zoo("adamw")
    first = breeding(STRETCHES).other_structure(parent, Random(3))
    structure = first.analysis.structure
    tries = Tries(1)
    tries.note(structure, 7)
    other = Breeding(config(structure_tries=1), STRETCHES, {}, tries)
    assert other.other_structure(parent, Random(3)).analysis.structure != structure
    tries.since = 7  # a new best
    assert other.other_structure(parent, Random(3)).analysis.structure == structure


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


def test_a_child_whose_steps_no_constant_makes_large_enough_is_passed_over() -> None:
    """As happened: an update of 1e-55 would have needed a factor beyond float32."""
    for by in (2.0**175, 2.0**-400):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search_breeding, "factor", lambda *given, by=by: by)
            mutant = breeding(STRETCHES).other_structure(zoo("adamw"), Random(1))
        assert mutant.analysis == analyse(mutant.program)
        assert (mutant.passed == DRAWS - 1) == (by > 1)


def test_a_factor_beyond_float32_is_refused() -> None:
    with pytest.raises(ProgramError, match="is not a finite float32"):
        rescaled(zoo("signsgd"), 2.0**175, STRETCHES)
