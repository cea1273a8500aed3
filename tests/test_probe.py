"""Steps without training: against the reference interpreter, and what is told from them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from fakes import SHAPES, STRETCH_STEPS, stretch, stretches
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import programs

from evolve.search.probe import Stretch, difference, resemblance
from primitives.program import Program
from primitives.reference import run_step, zero_slots
from primitives.text import from_text
from primitives.zoo import NAMES, zoo


def by_the_reference(program: Program, data: dict[str, Any]) -> np.ndarray:
    """The updates of the last half of the steps, end to end."""
    splits = np.cumsum(data["counts"])[:-1]

    def tree(row: list[float]) -> list[np.ndarray]:
        parts = np.split(np.asarray(row, np.float32), splits)
        return [part.reshape(shape) for part, shape in zip(parts, SHAPES, strict=True)]

    slots = zero_slots(program, tree(data["weights"][0]))
    rows = []
    for w, g, rate in zip(data["weights"], data["gradients"], data["rates"], strict=True):
        update, slots = run_step(program, tree(w), tree(g), slots, rate)
        rows.append(np.concatenate([leaf.ravel() for leaf in update]).astype(np.float64))
    return np.concatenate(rows[STRETCH_STEPS // 2 :])


@settings(max_examples=150)
@given(program=programs(), seed=st.integers(0, 3))
def test_the_updates_are_those_of_the_reference(program: Program, seed: int) -> None:
    found = Stretch(stretch(seed)).updates(program)
    expected = by_the_reference(program, stretch(seed))
    if not np.isfinite(expected).all():
        assert not np.isfinite(found).all()
        return
    with np.errstate(all="ignore"):
        size = np.sqrt(np.mean(expected**2))
    if size < 1e15:
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * size + 1e-30)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_of_the_elements_tells_the_size(name: str) -> None:
    """Sums over an array are estimated, so `clip` and norms come out about right."""
    rng = np.random.default_rng(1)
    whole, few = 4000, 40
    rows = 0.01 * rng.normal(size=(2, 12, whole)).astype(np.float32)
    facts = {"rates": [1.0] * 12, "counts": [whole]}
    full = Stretch({**facts, "weights": rows[0], "gradients": rows[1], "kept": [whole]})
    few_rows = rows[:, :, ::100]
    part = Stretch({**facts, "weights": few_rows[0], "gradients": few_rows[1], "kept": [few]})
    sizes = [np.sqrt(np.mean(each.updates(zoo(name)) ** 2)) for each in (part, full)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.25)


def scaled(factor: float) -> Program:
    return from_text(f"def train(w, g, lr):\n    update = g * {factor}\n    return update\n")


def test_programs_that_step_alike_resemble_each_other_whatever_their_scale() -> None:
    both = stretches(0, 1)
    assert resemblance(scaled(1.0), scaled(3.0), both) == pytest.approx(1.0)
    assert resemblance(scaled(1.0), scaled(-1.0), both) == pytest.approx(-1.0)
    assert difference(scaled(3.0), scaled(1.0), both) == pytest.approx(2.0)
    assert 0.4 < resemblance(zoo("signum"), zoo("lion"), both) < 0.999
    assert difference(zoo("lion"), zoo("lion"), both) == 0.0


def test_what_takes_no_finite_step_resembles_nothing() -> None:
    still = from_text("def train(w, g, lr):\n    update = g - g\n    return update\n")
    assert math.isnan(resemblance(still, zoo("sgd"), stretches(0)))
    assert math.isnan(resemblance(zoo("sgd"), zoo("sgd"), []))
