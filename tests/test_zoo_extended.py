"""Optimizers of the extended language, each step by step against another implementation."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

from evolve.understand.identify import identified
from primitives.abstract import analyse
from primitives.kinds import with_least_kinds
from primitives.program import Program
from primitives.reference import run_step, zero_slots
from primitives.text import from_text, to_text
from primitives.zoo import EXTENDED_NAMES, NAMES, entry, zoo

SHAPES = ((6, 4), (3, 5), (7,), (4, 2, 3))
STEPS = 50
Array = np.ndarray
#: The weights after a step: `step(weights, gradients)`.
Step = Callable[[list[Array], list[Array]], list[Array]]


def trees(seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [np.float32(rng.normal(size=shape)) for shape in SHAPES]


def by_optax(transformation: Any) -> Step:
    state = transformation.init([jnp.asarray(w) for w in trees(0)])

    def step(weights: list[Array], gradients: list[Array]) -> list[Array]:
        nonlocal state
        given = [[jnp.asarray(x) for x in xs] for xs in (gradients, weights)]
        updates, state = transformation.update(given[0], state, given[1])
        return [np.asarray(w + u) for w, u in zip(given[1], updates, strict=True)]

    return step


def by_keras_adafactor() -> Step:
    keras = importlib.import_module("keras")
    # Keras takes the last two axes as the matrix, so three axes are left to the other oracles.
    variables = [keras.Variable(w) for w in trees(0)[:3]]
    optimizer = keras.optimizers.Adafactor(learning_rate=0.001)
    optimizer.build(variables)

    def step(weights: list[Array], gradients: list[Array]) -> list[Array]:
        for variable, w in zip(variables, weights[:3], strict=True):
            variable.assign(w)
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients[:3]], variables)
        return [keras.ops.convert_to_numpy(v.value).copy() for v in variables]

    return step


def by_hand(one: Callable[[dict[str, Any], Array, Array, int], Array]) -> Step:
    """From a rule of one array in float64: `one(state, w, g, t)`, t from 1."""
    states: list[dict[str, Any]] = [{} for _ in SHAPES]
    time = 0

    def step(weights: list[Array], gradients: list[Array]) -> list[Array]:
        nonlocal time
        time += 1
        rows = zip(states, weights, gradients, strict=True)
        return [w - one(s, np.float64(w), np.float64(g), time) for s, w, g in rows]

    return step


def adax(state: dict[str, Any], w: Array, g: Array, t: int) -> Array:
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["v"] = 1.0001 * state.get("v", 0) + 0.0001 * g**2
    v = state["v"] / (1.0001**t - 1)
    return 0.001 * state["m"] / np.sqrt(v + 1e-8)


def amos(state: dict[str, Any], w: Array, g: Array, t: int) -> Array:
    beta, rate, scale = 0.999, 0.01, 1.0
    b, square = state.get("b", 0.0), np.mean(g**2)
    state["v"] = beta * state.get("v", 0) + (1 - beta) * square
    v = state["v"] / (1 - beta**t)
    c = (1 + 0.25 * np.sqrt(rate) * b) ** -0.5
    d = 1 / (1 + 0.25 * np.sqrt(rate * scale) * b)
    gamma = c * rate**2 * square / v
    state["b"] = b + gamma * (1 + b)
    return d * (rate * scale * g / np.sqrt(v) + 0.5 * gamma * w)


def muon(state: dict[str, Any], w: Array, g: Array, t: int) -> Array:
    state["m"] = 0.95 * state.get("m", 0) + 0.05 * g
    x = 0.95 * state["m"] + 0.05 * g
    if w.ndim < 2:
        return 0.001 * np.sign(x)
    matrix = x.reshape(len(x), -1)
    values = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        gram = values @ values.T
        values = 3.4445 * values + (-4.7750 * gram + 2.0315 * gram @ gram) @ values
    return 0.001 * np.sqrt(max(matrix.shape)) * values.reshape(x.shape)


def spectral(state: dict[str, Any], w: Array, g: Array, t: int) -> Array:
    """What `muon` does if its momentum is the gradient itself."""
    return muon({"m": g}, w, g, t)


def adam_mini(state: dict[str, Any], w: Array, g: Array, t: int) -> Array:
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * np.mean(g**2)
    return 0.001 * state["m"] / (1 - 0.9**t) / (np.sqrt(state["v"] / (1 - 0.999**t)) + 1e-8)


ORACLES: dict[str, Callable[[], Step]] = {
    "adam-corrected": lambda: by_optax(optax.adam(0.001)),
    "adamw-corrected": lambda: by_optax(optax.adamw(0.001, weight_decay=0.01)),
    "adafactor": by_keras_adafactor,
    "adax": lambda: by_hand(adax),
    "amos": lambda: by_hand(amos),
    "novograd": lambda: by_optax(optax.novograd(0.001)),
    "lamb": lambda: by_optax(optax.lamb(0.001, weight_decay=0.01)),
    "lars": lambda: by_optax(optax.lars(1.0)),
    "muon": lambda: by_hand(muon),
    "spectral-descent": lambda: by_hand(spectral),
    "adam-mini": lambda: by_hand(adam_mini),
}


@pytest.mark.parametrize("scale", [1.0, 1e-3])
@pytest.mark.parametrize("name", EXTENDED_NAMES)
def test_every_optimizer_is_that_of_another_implementation(name: str, scale: float) -> None:
    """Fifty steps in an open loop: the oracle is given our weights, and keeps its own state.

    One array is zero at first, as biases are.
    """
    of, step = zoo(name), ORACLES[name]()
    weights, slots = trees(0), zero_slots(of, trees(0))
    weights[2][:] = 0.0
    for number in range(1, STEPS + 1):
        gradient = [np.float32(scale) * g for g in trees(number)]
        with np.errstate(all="ignore"):
            update, slots = run_step(of, weights, gradient, slots, 1.0)
        after = [w - u for w, u in zip(weights, update, strict=True)]
        for found, wanted, w in zip(after, step(weights, gradient), weights, strict=False):
            size = np.abs(np.asarray(wanted) - w).max()
            np.testing.assert_allclose(found, wanted, atol=2e-3 * size + 1e-7, rtol=0)
        weights = after


#: Whose formulas take sympy a quarter of a minute.
LONG_FORMULAS = ("adafactor", "amos", "lamb")
NAMED = [
    pytest.param(name, marks=pytest.mark.slow if name in LONG_FORMULAS else ())
    for name in EXTENDED_NAMES
]


@pytest.mark.parametrize("name", NAMED)
def test_each_is_named_as_itself(name: str) -> None:
    found = identified(zoo(name))
    assert (found.family, found.exact) == (name, True), found


@pytest.mark.parametrize("name", EXTENDED_NAMES)
def test_each_needs_what_it_is_said_to_need(name: str) -> None:
    of = zoo(name)
    assert to_text(of) == entry(name).text and entry(name).source and name not in NAMES
    assert analyse(of).learns and len(analyse(of).slots) == len(of.slots)
    assert all(analyse(of).live)
    assert with_least_kinds(Program(of.statements, of.slots)) == of
    assert from_text(to_text(of)) == of


@pytest.mark.parametrize("name", ["lamb", "lars"])
def test_an_array_without_a_gradient_stays_as_it_is(name: str) -> None:
    of, step = zoo(name), ORACLES[name]()
    weights = trees(0)
    gradient = trees(1)
    gradient[0][:] = 0.0
    update, _ = run_step(of, weights, gradient, zero_slots(of, weights), 1.0)
    for ours, wanted, w in zip(update, step(weights, gradient), weights, strict=True):
        np.testing.assert_allclose(w - ours, wanted, rtol=1e-4, atol=1e-6)


def test_muon_turns_matrices_as_that_of_optax_does() -> None:
    """Once the correction of its average has gone; the size is that of the larger side."""
    shapes = ((6, 4), (3, 5), (4, 4))
    rng = np.random.default_rng(0)
    drawn = [[np.float32(rng.normal(size=s)) for s in shapes] for _ in range(161)]
    weights, *gradients = drawn
    of, slots = zoo("muon"), zero_slots(zoo("muon"), weights)
    optimizer = optax.contrib.muon(0.001)
    given = [jnp.asarray(w) for w in weights]
    state, step = optimizer.init(given), jax.jit(optimizer.update)
    for gradient in gradients:
        update, slots = run_step(of, weights, gradient, slots, 1.0)
        theirs, state = step([jnp.asarray(g) for g in gradient], state, given)
    for ours, other in zip(update, theirs, strict=True):
        x, y = np.ravel(ours), -np.ravel(other)
        assert x @ y / np.linalg.norm(x) / np.linalg.norm(y) > 0.9999
        rows, columns = ours.shape
        ratio = np.sqrt(max(rows, columns) / max(1.0, columns / rows))
        assert np.linalg.norm(x) / np.linalg.norm(y) == pytest.approx(ratio, rel=0.01)
