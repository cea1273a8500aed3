"""Programs in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from strategies import programs

from evolve.understand.words import described
from primitives.abstract import analyse
from primitives.functions import ALL
from primitives.program import Program, ProgramError
from primitives.text import from_text
from primitives.zoo import EXTENDED_NAMES, NAMES, zoo


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sgd", "the gradient"),
        ("signum", "the sign of m, where m is a moving average of the gradient"),
        (
            "lion",
            "(the sign of (a mixture of the gradient and m)) plus the weights, "
            "where m is a moving average of the gradient",
        ),
        (
            "adam",
            "m over (the square root of v), where m is a moving average of the gradient; "
            "v is a moving average of the square of the gradient",
        ),
        (
            "muon",
            "the polar factor of (a mixture of the gradient and m), "
            "where m is a moving average of the gradient",
        ),
    ],
)
def test_known_optimizers(name: str, words: str) -> None:
    assert described(zoo(name)) == words


def test_numbers_are_left_out_where_they_are_sizes_alone() -> None:
    text = """def train(w, g, m, lr):
    x = clip(g, 0.07)
    m = interp(x, m, 0.7)
    update = sign(m)
    update = update + -0.09
    lr = lr * 0.007
    update = lr * update
    return update, m
"""
    assert described(from_text(text)) == (
        "(the sign of m) plus -0.09, where m is a moving average of (the gradient clipped at 0.07)"
    )


@pytest.mark.parametrize("name", [*NAMES, *EXTENDED_NAMES])
def test_every_slot_is_told(name: str) -> None:
    words = described(zoo(name))
    assert all(f" {slot}" in f" {words}" for slot in zoo(name).slots) and "." not in words[-1]


@given(programs(functions=ALL))
def test_any_program_in_words_that_grow_with_it(of: Program) -> None:
    try:
        words = described(of)
    except ProgramError:  # what is computed from constants alone is not finite
        return
    assert words.count("(") == words.count(")") and "\n" not in words
    assert len(words) < 100 * (1 + analyse(of).statements)
