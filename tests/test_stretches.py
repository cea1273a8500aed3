"""Step sizes without training: against the reference interpreter, and what matching does."""

from __future__ import annotations

import math
from functools import cache
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import programs

from evolve.search.mutation import mutate
from evolve.search.stretches import Stretch, factor, rescaled, size
from primitives.program import Program
from primitives.reference import run_step, zero_slots
from primitives.text import from_text
from primitives.zoo import NAMES, zoo

SHAPES = [(2, 3), (4,), (1,)]
STEPS = 6


@cache
def stretch(seed: int = 0) -> dict[str, Any]:
    """Every element of three small arrays, as `record` would keep them."""
    rng = np.random.default_rng(seed)
    counts = [math.prod(shape) for shape in SHAPES]
    rows = rng.normal(size=(2, STEPS, sum(counts))).astype(np.float32)
    return {
        "weights": rows[0].tolist(),
        "gradients": (0.1 * rows[1]).tolist(),
        "rates": np.linspace(1.0, 0.5, STEPS).tolist(),
        "counts": counts,
        "kept": counts,
    }


def by_the_reference(program: Program, data: dict[str, Any]) -> float:
    splits = np.cumsum(data["counts"])[:-1]

    def tree(row: list[float]) -> list[np.ndarray]:
        parts = np.split(np.asarray(row, np.float32), splits)
        return [part.reshape(shape) for part, shape in zip(parts, SHAPES, strict=True)]

    slots = zero_slots(program, tree(data["weights"][0]))
    squares = []
    for w, g, rate in zip(data["weights"], data["gradients"], data["rates"], strict=True):
        update, slots = run_step(program, tree(w), tree(g), slots, rate)
        flat = np.concatenate([leaf.ravel() for leaf in update]).astype(np.float64)
        with np.errstate(all="ignore"):
            squares.append(np.mean(flat**2))
    return math.sqrt(np.mean(squares[STEPS // 2 :]))


@settings(max_examples=150)
@given(program=programs(), seed=st.integers(0, 3))
def test_the_size_is_that_of_the_reference(program: Program, seed: int) -> None:
    data = stretch(seed)
    expected = by_the_reference(program, data)
    assert size(program, Stretch(data)) == pytest.approx(expected, rel=1e-3, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_of_the_elements_tells_the_size(name: str) -> None:
    """Sums over an array are estimated, so `clip` and norms come out about right."""
    rng = np.random.default_rng(1)
    whole, few = 4000, 40
    rows = 0.01 * rng.normal(size=(2, 12, whole)).astype(np.float32)
    facts = {"rates": [1.0] * 12, "counts": [whole]}
    full = Stretch({**facts, "weights": rows[0], "gradients": rows[1], "kept": [whole]})
    part = Stretch(
        {
            **facts,
            "weights": rows[0, :, ::100],
            "gradients": rows[1, :, ::100],
            "kept": [few],
        }
    )
    assert size(zoo(name), part) == pytest.approx(size(zoo(name), full), rel=0.25)


@pytest.mark.parametrize("name", NAMES)
def test_steps_become_about_as_large_as_the_parents(name: str) -> None:
    stretches = [Stretch(stretch(seed)) for seed in (0, 1)]
    parent, rng = zoo(name), Random(7)
    off = 0
    for _ in range(60):
        child = mutate(parent, rng).program
        by = factor(child, parent, stretches)
        assert math.log2(by) == round(math.log2(by))
        matched = rescaled(child, by, stretches)
        for one in stretches:
            if by != 1:
                assert size(matched, one) == pytest.approx(by * size(child, one), rel=2e-3)
        off += by != 1
        grown = len(matched.statements) - len(child.statements)
        assert grown == 0 or (grown == 1 and matched.statements[:-1] == child.statements)
        if by != 1:
            assert factor(matched, parent, stretches) == 1
    assert off > 0


def test_a_sign_gets_a_learning_rate_of_its_own() -> None:
    text = "def train(w, g, lr):\n    x = lr * 0.5\n    update = g * x\n    return update\n"
    parent = from_text(text)
    child = from_text(text.replace("    x =", "    g = sign(g)\n    x ="))
    stretches = [Stretch(stretch())]
    by = factor(child, parent, stretches)
    assert by == 0.125  # gradients are 0.1 large
    assert rescaled(child, by, stretches).statements[1].arguments == ("lr", 0.0625)


def test_what_has_no_size_stays_as_it_is() -> None:
    stretches = [Stretch(stretch())]
    none = from_text("def train(w, g, lr):\n    update = g - g\n    return update\n")
    much = from_text(
        "def train(w, g, lr):\n    x = g * 1e30\n    update = cube(x)\n    return update\n"
    )
    for child in (none, much):
        assert factor(child, zoo("sgd"), stretches) == 1 == factor(zoo("sgd"), child, stretches)
    assert factor(zoo("sgd"), zoo("lion"), []) == 1
