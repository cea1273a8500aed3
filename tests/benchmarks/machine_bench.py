"""The register machine against programs compiled by hand into the same training loop."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from primitives import machine
from primitives.abstract import analyse
from primitives.machine import Code
from primitives.zoo import zoo
from proxy_tasks.catalog import CATALOG
from proxy_tasks.training import Trainer
from tests.benchmarks.measure import interleaved, report, seconds

TASKS = ("digits_mlp", "text_transformer")
REPEATS = 60


class AdamW(Trainer):
    """Program 3 of the paper written into the loop, with its own state arrays."""

    def _memory(self, code: Code, weights: Array) -> Any:
        return jnp.zeros_like(weights), jnp.zeros_like(weights)

    def _update(
        self, code: Code, memory: Any, weights: Array, gradient: list[Array], rate: Array
    ) -> tuple[Array, Any]:
        m, v = memory
        g = self.layout.flatten(gradient)
        m = (1 - 0.9) * g + 0.9 * m
        v = (1 - 0.999) * g * g + 0.999 * v
        direction = m / (jnp.sqrt(jnp.abs(v)) + 1e-8)
        return (direction + weights * 0.01) * (rate * 0.001), (m, v)

    def _all_finite(self, code: Code, weights: Array, memory: Any) -> Array:
        finite = [self.layout.all_finite(x) for x in (weights, *memory)]
        return jnp.all(jnp.stack(finite))


class Lion(AdamW):
    """Program 1 of the paper written into the loop."""

    def _memory(self, code: Code, weights: Array) -> Any:
        return (jnp.zeros_like(weights),)

    def _update(
        self, code: Code, memory: Any, weights: Array, gradient: list[Array], rate: Array
    ) -> tuple[Array, Any]:
        (m,) = memory
        g = self.layout.flatten(gradient)
        direction = jnp.sign((1 - 0.9) * g + 0.9 * m)
        m = (1 - 0.99) * g + 0.99 * m
        return (direction + weights * 0.01) * (rate * 0.001), (m,)


BY_HAND = {"adamw": AdamW, "lion": Lion}


def machine_over_fused() -> None:
    """Time per training step, the machine over the compiled program."""
    for task, name in product(TASKS, BY_HAND):
        code = machine.assemble(analyse(zoo(name)))
        steps = CATALOG[task].steps
        actions = [
            partial(trainer.train, code, 0, marks=(steps, steps))
            for trainer in (Trainer(CATALOG[task]), BY_HAND[name](CATALOG[task]))
        ]
        for action in actions:
            action()
        times = interleaved(*actions, REPEATS)
        report(
            "machine_over_fused",
            [a / b for a, b in zip(*times, strict=True)],
            task=task,
            program=name,
            machine_microseconds=float(np.median(times[0]) / steps * 1e6),
            fused_microseconds=float(np.median(times[1]) / steps * 1e6),
        )


def _compile_and_run(task: str, code: Code) -> None:
    AdamW(CATALOG[task]).train(code, 0)


def compile_each_over_machine() -> None:
    """Time per candidate: compiling it into the loop and running it, over running the machine."""
    for task in TASKS:
        code = machine.assemble(analyse(zoo("adamw")))
        actions = (
            partial(_compile_and_run, task, code),
            partial(Trainer(CATALOG[task]).train, code, 0),
        )
        for action in actions:
            action()  # imports, data, and the machine's compilation
        times = interleaved(*actions, 8)
        report(
            "compile_each_over_machine",
            [a / b for a, b in zip(*times, strict=True)],
            task=task,
            compiled_seconds=float(np.median(times[0])),
            machine_seconds=float(np.median(times[1])),
        )


def compile_seconds() -> None:
    """Seconds to compile the machine into a task's loop: paid once per worker and task."""
    code = machine.assemble(analyse(zoo("adamw")))
    for task in TASKS:
        compile_machine = partial(Trainer(CATALOG[task]).train, code, 0, marks=(0, 0))
        report("machine_compile_seconds", [seconds(compile_machine)], task=task)
