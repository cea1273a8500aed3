"""A stretch of real gradients, small enough to be kept in a log as plain data.

What a program's update would be on it tells the size of its steps before it is trained.
The weights move by normalized gradient descent meanwhile, which is no program's choice.
"""

from __future__ import annotations

import math
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
#: Rows and columns kept of each matrix, where rows and columns matter.
GRID = 6
#: The root mean square of a step.
STEP = 0.01


def record(trainer: Trainer, grid: bool = False) -> dict[str, Any]:
    """The stretch of a task in JAX, see `as_json`; a `grid` has rows and columns of matrices."""
    import jax
    import jax.numpy as jnp

    layout, replicate = trainer.layout, trainer.replicate(SEED)
    grids = [grid_of(shape) for shape in layout.shapes] if grid else None
    places, _ = chosen(layout.counts, layout.starts, layout.shapes if grid else None)

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
    return as_json(rows, trainer.task.learning_rate(), layout.counts, grids)


def as_json(
    rows: Sequence[tuple[Any, Any]],
    schedule: np.ndarray,
    counts: Sequence[int],
    grids: Sequence[tuple[int, int]] | None = None,
) -> dict[str, Any]:
    """The stretch as JSON data.

    `gradients` and `weights` have a row of elements for each step kept; `rates` as many
    values of the schedule, from all of it; `counts` the size of each array, `kept` how
    many of its elements lie in a row.

    Arguments:
        rows: for each step the elements kept of the weights and of the gradient, float arrays.
        schedule: its value at each step.
        counts: the size of each array.
        grids: how many rows and columns are kept of each array, if they are.
    """
    rows = rows[-KEPT:]
    kept = [min(count, ELEMENTS) for count in counts]
    if grids is not None:
        kept = [m * n for m, n in grids]
    # The whole schedule: what changes its shape is to be seen.
    moments = np.linspace(0, len(schedule) - 1, len(rows)).astype(int)
    return {
        "weights": [row.tolist() for row, _ in rows],
        "gradients": [row.tolist() for _, row in rows],
        "rates": [float(rate) for rate in schedule[moments]],
        "counts": list(counts),
        "kept": kept,
        **({} if grids is None else {"grids": [list(grid) for grid in grids]}),
    }


def grid_of(shape: Sequence[int]) -> tuple[int, int]:
    """How many rows and columns are kept of an array."""
    if len(shape) < 2:
        return min(math.prod(shape), ELEMENTS), 1
    rows, columns = shape[0], math.prod(shape[1:])
    return min(rows, GRID), min(columns, GRID)


def chosen(
    counts: Sequence[int], starts: Iterable[int], shapes: Sequence[Sequence[int]] | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The places of the elements kept: in one row of all arrays, and in each array.

    With `shapes` these are some rows and columns of every matrix.
    """
    if shapes is None:
        within = [_evenly(count, ELEMENTS) for count in counts if count]
    else:
        within = [_on_grid(s) for s, count in zip(shapes, counts, strict=True) if count]
    first = [start for start, count in zip(starts, counts, strict=True) if count]
    places = [start + inside for start, inside in zip(first, within, strict=True)]
    return np.concatenate(places), within


def _evenly(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _on_grid(shape: Sequence[int]) -> np.ndarray:
    if len(shape) < 2:
        return _evenly(math.prod(shape), ELEMENTS)
    columns = math.prod(shape[1:])
    rows = _evenly(shape[0], GRID)
    return (rows[:, None] * columns + _evenly(columns, GRID)).ravel()
