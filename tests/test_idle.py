"""Statements that change no step: found by running, taken out before training."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import programs
from test_breeding import STRETCHES, breeding

from evolve.search.idle import ROUNDING, without_idle
from evolve.search.mutation import TUNE, mutate, mutate_constants
from evolve.search.stretches import difference
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text, statement_text, to_text
from primitives.zoo import NAMES, zoo

SOFT = """def train(w, g, m, v, lr):
    m = interp(g, v, 0.7)
    v = interp(g, v, 0.9)
    sqrt_v = sqrt(m)
    lr = lr * 0.01
    x1 = cbrt(m)
    x0 = cbrt(x1)
    x2 = sign(x0)
    update = x2 * lr
    return update, m, v
"""
DIVIDED = """def train(w, g, m, v, lr):
    m = interp(g, m, 0.9)
    g2 = square(g)
    v = interp(g2, v, 0.99)
    x0 = sqrt(v)
    update = m / x0
    update = sign(update)
    update = update * lr
    return update, m, v
"""
SIGNUM = """def train(w, g, m, lr):
    m = interp(g, m, 0.9)
    update = sign(m)
    update = update * lr
    return update, m
"""


def test_roots_below_a_sign_go_and_dead_statements_stay() -> None:
    lean, gone = without_idle(from_text(SOFT), STRETCHES)
    assert [statement_text(s) for s in gone] == ["x0 = cbrt(x1)", "x1 = cbrt(m)"]
    assert to_text(lean) == SOFT.replace(
        "    x1 = cbrt(m)\n    x0 = cbrt(x1)\n    x2 = sign(x0)\n", "    x2 = sign(m)\n"
    )


def test_a_division_below_a_sign_goes_and_its_slot_with_it() -> None:
    """The valley of the search: a sign after the division pays for two slots."""
    lean, gone = without_idle(from_text(DIVIDED), STRETCHES)
    assert [statement_text(s) for s in gone] == ["update = m / x0"]
    assert len(analyse(lean).slots) == 1
    assert analyse(lean).functional_hash == analyse(from_text(SIGNUM)).functional_hash


def test_what_is_left_still_reads_the_gradient() -> None:
    """`m` stays at zero, so the quotient is idle; but without it nothing could be learnt."""
    program = from_text(
        "def train(w, g, m, lr):\n    x0 = m / g\n    x1 = w * 0.1\n    update = x0 + x1\n"
        "    return update, m\n"
    )
    assert without_idle(program, STRETCHES) == (program, [])


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_is_not_idle(name: str) -> None:
    """What is idle in the zoo is at most the clip and the arcsin of the paper's programs."""
    lean, gone = without_idle(zoo(name), STRETCHES)
    assert {s.function for s in gone} <= {"clip", "arcsin"}
    assert not gone or name.startswith("paper-program")
    assert (lean == zoo(name)) == (not gone)


@settings(max_examples=100)
@given(program=programs())
def test_a_lean_program_is_shorter_and_steps_as_before(program: Program) -> None:
    lean, gone = without_idle(program, STRETCHES)
    before, after = analyse(program), analyse(lean)
    assert len(after.slots) <= len(before.slots) and after.learns == before.learns
    assert after.statements <= before.statements - len(gone)
    assert len(lean.statements) == len(program.statements) - len(gone)
    assert not gone or difference(lean, program, STRETCHES) < ROUNDING
    assert without_idle(program, []) == (program, [])


@settings(max_examples=60)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 1000))
def test_a_child_is_trained_without_idle_statements(name: str, seed: int) -> None:
    """And says so; it is guessed anew if it is of another niche."""
    mutant = mutate(zoo(name), Random(seed), on_edges=0.75)._replace(guess=[0.1, 0.02])
    ready = breeding(STRETCHES).ready(mutant)
    lean, gone = without_idle(mutant.program, STRETCHES)
    assert ready is not None
    assert (ready.program, ready.analysis) == (lean, analyse(lean))
    words = ", ".join(statement_text(s) for s in gone)
    assert ready.mutation == f"{mutant.mutation}; without {words}" if gone else ready == mutant
    same_niche = len(ready.analysis.slots) == len(mutant.analysis.slots)
    assert (ready.guess is not None) == same_niche


def test_random_search_and_tuning_leave_programs_as_they_are() -> None:
    tuned = mutate_constants(from_text(SOFT), Random(0))
    assert tuned.mutation.startswith(TUNE)
    assert breeding(STRETCHES).ready(tuned) == tuned
    drawn = mutate(from_text(SOFT), Random(1), on_edges=0.75)
    at_random = breeding(STRETCHES, method="random")
    assert at_random.ready(drawn) == drawn and breeding(STRETCHES).ready(drawn) != drawn
