"""A stretch of real gradients, small enough to be kept in a log as plain data.

What a program's update would be on it tells the size of its steps before it is trained.
The weights move by normalized gradient descent meanwhile, which is no program's choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import jax

    from proxy_tasks.training import Trainer

SEED = 0
#: Steps before the first that is kept, and steps kept.
WARM_UP, KEPT = 48, 16
#: Elements kept of each array, evenly spaced.
ELEMENTS = 8
#: The root mean square of a step.
STEP = 0.01


def record(trainer: Trainer) -> dict[str, Any]:
    """The stretch of a task in JAX, see `as_json`."""
    import jax
    import jax.numpy as jnp

    layout, replicate = trainer.layout, trainer.replicate(SEED)
    places, _ = chosen(layout.counts, layout.starts)

    @jax.jit
    def step(weights: jax.Array, index: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        gradient = layout.flatten(trainer.gradient(weights, replicate, index))
        size = jnp.sqrt(jnp.mean(gradient**2))
        moved = weights - STEP * gradient / jnp.maximum(size, 1e-30)
        return moved, weights[places], gradient[places]

    weights, rows = replicate.weights, []
    for index in range(min(WARM_UP + KEPT, trainer.task.steps)):
        weights, *row = step(weights, index)
        rows.append(tuple(row))
    return as_json(rows, trainer.task.learning_rate(), layout.counts)


def as_json(
    rows: Sequence[tuple[Any, Any]], schedule: np.ndarray, counts: Sequence[int]
) -> dict[str, Any]:
    """The stretch as JSON data.

    `gradients` and `weights` have a row of elements for each step kept; `rates` as many
    values of the schedule, from all of it; `counts` the size of each array, `kept` how
    many of its elements lie in a row.

    Arguments:
        rows: for each step the elements kept of the weights and of the gradient, float arrays.
        schedule: its value at each step.
        counts: the size of each array.
    """
    rows = rows[-KEPT:]
    # The whole schedule: what changes its shape is to be seen.
    moments = np.linspace(0, len(schedule) - 1, len(rows)).astype(int)
    return {
        "weights": [row.tolist() for row, _ in rows],
        "gradients": [row.tolist() for _, row in rows],
        "rates": [float(rate) for rate in schedule[moments]],
        "counts": list(counts),
        "kept": [min(count, ELEMENTS) for count in counts],
    }


def chosen(counts: Sequence[int], starts: Iterable[int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The places of the elements kept: in one row of all arrays, and in each array."""
    within = [np.unique(np.linspace(0, c - 1, min(c, ELEMENTS)).astype(int)) for c in counts if c]
    first = [start for start, count in zip(starts, counts, strict=True) if count]
    places = [start + inside for start, inside in zip(first, within, strict=True)]
    return np.concatenate(places), within
