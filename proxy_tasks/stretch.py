"""A stretch of real gradients, small enough to be kept in a log as plain data.

What a program's update would be on it tells the size of its steps before it is trained.
The weights move by normalized gradient descent meanwhile, which is no program's choice.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from proxy_tasks.training import Trainer

SEED = 0
#: Steps before the first that is kept, and steps kept.
WARM_UP, KEPT = 48, 16
#: Elements kept of each array, evenly spaced.
ELEMENTS = 8
#: The root mean square of a step.
_STEP = 0.01


def record(trainer: Trainer) -> dict[str, Any]:
    """The stretch as JSON data.

    `gradients` and `weights` have a row of elements for each step kept; `rates` as many
    values of the schedule, from all of it; `counts` the size of each array, `kept` how
    many of its elements lie in a row.
    """
    layout, replicate = trainer.layout, trainer.replicate(SEED)
    places, kept = _chosen(layout)

    @jax.jit
    def step(weights: jax.Array, index: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        gradient = layout.flatten(trainer.gradient(weights, replicate, index))
        size = jnp.sqrt(jnp.mean(gradient**2))
        moved = weights - _STEP * gradient / jnp.maximum(size, 1e-30)
        return moved, weights[places], gradient[places]

    weights, rows = replicate.weights, []
    for index in range(min(WARM_UP + KEPT, trainer.task.steps)):
        weights, *row = step(weights, index)
        rows.append(row)
    rows = rows[-KEPT:]
    schedule = trainer.task.learning_rate()
    # The whole schedule: what changes its shape is to be seen.
    moments = np.linspace(0, len(schedule) - 1, len(rows)).astype(int)
    return {
        "weights": [row.tolist() for row, _ in rows],
        "gradients": [row.tolist() for _, row in rows],
        "rates": [float(rate) for rate in schedule[moments]],
        "counts": list(layout.counts),
        "kept": kept,
    }


def _chosen(layout: Any) -> tuple[np.ndarray, list[int]]:
    """The places of the elements kept, and how many there are of each array."""
    chosen = [
        start + np.unique(np.linspace(0, count - 1, min(count, ELEMENTS)).astype(int))
        for start, count in zip(layout.starts, layout.counts, strict=True)
        if count
    ]
    kept = [min(count, ELEMENTS) for count in layout.counts]
    return np.concatenate(chosen), kept
