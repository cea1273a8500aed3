"""How long a step of an exported optimizer takes, beside another's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from evolve.export import catalog, replay
from primitives.program import Program

#: Weights that a step updates, in arrays of this shape; rounds, and steps of a round.
SHAPE, ARRAYS = (500, 500), 4
ROUNDS, STEPS = 15, 20


def step_times(programs: Sequence[tuple[str, Program]]) -> list[dict[str, Any]]:
    """Milliseconds of a step of each program's Optax form, compiled, on a million weights.

    The programs take turns, so that what slows the machine slows them alike; `ratio` is the
    median over the rounds of the time over that of the first program, `low` and `high` the
    quartiles.
    """
    run = [_steps(program) for _, program in programs]
    rounds = [[one() for one in run] for _ in range(ROUNDS)]
    found = []
    for place, (name, _) in enumerate(programs):
        ratios = sorted(times[place] / times[0] for times in rounds)
        found.append(
            {
                "program": name,
                "milliseconds": 1000 * median(times[place] for times in rounds),
                "ratio": median(ratios),
                "low": ratios[ROUNDS // 4],
                "high": ratios[-1 - ROUNDS // 4],
            }
        )
    return found


def _steps(program: Program) -> Callable[[], float]:
    """A function that takes some steps and gives the seconds of one."""
    import jax

    module = replay.load(catalog.emit("optax", program, "timed", {}))
    optimizer = module.timed(1e-3)

    def tree(seed: int) -> list[Any]:
        keys = jax.random.split(jax.random.key(seed), ARRAYS)
        return [jax.random.normal(key, SHAPE) for key in keys]

    @jax.jit
    def step(gradient: Any, state: Any, weights: Any) -> tuple[Any, Any]:
        update, state = optimizer.update(gradient, state, weights)
        return [w + u for w, u in zip(weights, update, strict=True)], state

    gradient, weights = tree(0), tree(1)
    weights, state = step(gradient, optimizer.init(weights), weights)  # compiled here

    def timed() -> float:
        nonlocal weights, state
        jax.block_until_ready(weights)
        began = time.perf_counter()
        for _ in range(STEPS):
            weights, state = step(gradient, state, weights)
        jax.block_until_ready(weights)
        return (time.perf_counter() - began) / STEPS

    timed()
    return timed
