"""One recorded stream of gradients, on which programs are compared open loop.

Weights and gradients are those of a real training of `digits_mlp`; both programs get
the same ones at every step, whatever their updates are. After it comes the same
stretch with signs and sizes changed, so that every discontinuity of a program is
met on both of its sides.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from primitives.program import Program
from primitives.reference import run_step, zero_slots
from primitives.text import from_text

TASK, SEED = "digits_mlp", 4242
STEPS = 24
#: What the recorded gradients are multiplied by, stretch after stretch.
FACTORS = (1.0, -1.0, 30.0, -0.03)

#: What trains while gradients are recorded: the start of a search.
ADAMW = """\
def train(w, g, m, v, lr):
    g2 = square(g)
    m = interp(g, m, 0.9)
    v = interp(g2, v, 0.999)
    sqrt_v = sqrt(v)
    update = m / sqrt_v
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.001
    update = update * lr
    return update, m, v
"""

Tree = list[np.ndarray]


class Stream(NamedTuple):
    """Weights, gradients and the schedule's value at each step."""

    weights: list[Tree]
    gradients: list[Tree]
    rates: list[float]


@cache
def recorded() -> Stream:
    """The stream; it takes a few seconds, once."""
    import jax

    from proxy_tasks.catalog import resolve
    from proxy_tasks.task import batches

    task, program = resolve(TASK), from_text(ADAMW)
    splits = task.splits()
    params = task.init(jax.random.key(SEED))
    structure = jax.tree.structure(params)
    gradient = jax.jit(jax.grad(task.loss))
    indices = batches(task, len(splits.train[0]), SEED)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    slots = zero_slots(program, leaves)
    stream = Stream([], [], [])
    for step in range(STEPS):
        batch = tuple(array[indices[step]] for array in splits.train)
        found = jax.tree.leaves(gradient(jax.tree.unflatten(structure, leaves), batch))
        gradients = [np.asarray(leaf) for leaf in found]
        rate = 1.0 - step / STEPS
        stream.weights.append(leaves)
        stream.gradients.append(gradients)
        stream.rates.append(rate)
        update, slots = run_step(program, leaves, gradients, slots, rate)
        leaves = [w - u for w, u in zip(leaves, update, strict=True)]
    return _on_both_sides(stream)


def _on_both_sides(stream: Stream) -> Stream:
    gradients = [
        [np.float32(factor) * leaf for leaf in tree]
        for factor in FACTORS
        for tree in stream.gradients
    ]
    return Stream(stream.weights * len(FACTORS), gradients, stream.rates * len(FACTORS))


def updates(program: Program, stream: Stream) -> np.ndarray:
    """The updates of a program, open loop: float32 `[steps, elements]`."""
    slots = zero_slots(program, stream.weights[0])
    rows = []
    for weights, gradient, rate in zip(*stream, strict=True):
        update, slots = run_step(program, weights, gradient, slots, rate)
        rows.append(np.concatenate([leaf.ravel() for leaf in update]))
    return np.stack(rows)
