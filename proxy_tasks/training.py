"""The training loop that runs the register machine, compiled once per task.

One compiled function trains with any program. It stops inside the loop when
the loss, a weight or a live slot is no longer finite, when the loss diverges,
and at *marks*: steps at which the validation loss is taken and compared with a
hurdle. The caller chooses marks, hurdles, seed and program; none recompiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from primitives import machine
from primitives.layout import Layout
from primitives.machine import Code
from proxy_tasks.status import DIVERGED, FINISHED, NOT_FINITE, STOPPED
from proxy_tasks.task import Task, batches, check_splits
from proxy_tasks.trainer import Trained

#: How a training ends, as the compiled loop counts it.
_STATUS = (FINISHED, NOT_FINITE, DIVERGED, STOPPED)
#: Weights and slots are looked at every so many steps (the loss at every step).
CHECK_EVERY = 16


class _Replicate(NamedTuple):
    weights: Array  # [P]
    indices: Array  # [steps, batch]


class _Progress(NamedTuple):
    """The state of the loop: what `lax.while_loop` carries."""

    step: Array
    # Beside the register file: reading weights from it while it is written would copy it.
    weights: Array
    memory: Any
    status: Array


@dataclass(eq=False)
class Trainer:
    """Trains one task at one size; compiles on the first use.

    Attributes:
        task: at its size.
        extended: whether programs of the extended language can be trained.
    """

    task: Task
    extended: bool = False

    def __post_init__(self) -> None:
        self._replicates: dict[int, _Replicate] = {}
        self._run = jax.jit(self._train)

    @cached_property
    def _splits(self) -> Any:
        splits = self.task.splits()
        check_splits(splits)
        return jax.tree.map(jnp.asarray, splits)

    @cached_property
    def _structure(self) -> Any:
        shapes = jax.eval_shape(self.task.init, jax.random.key(0))
        return jax.tree.structure(shapes), tuple(leaf.shape for leaf in jax.tree.leaves(shapes))

    @cached_property
    def layout(self) -> Layout:
        """How the task's weights lie in a row of the machine.

        Raises:
            ValueError: if the task has no parameters.
        """
        return Layout(self._structure[1])

    def replicate(self, seed: int) -> _Replicate:
        """The initial weights and the batches that a seed stands for."""
        if seed not in self._replicates:
            params = self.task.init(jax.random.key(seed))
            weights = self.layout.flatten(jax.tree.leaves(params))
            indices = batches(self.task, len(self._splits.train[0]), seed)
            self._replicates[seed] = _Replicate(weights, jnp.asarray(indices))
        return self._replicates[seed]

    def untrained(self, code: Code, seed: int, split: str = "validation") -> float:
        """The loss before the first step; NaN if it is not finite."""
        losses = self.train(code, seed, marks=(0, 0), split=split).losses
        return losses[0] if losses else float("nan")

    def train(
        self,
        code: Code,
        seed: int,
        hurdles: tuple[float, float] = (np.inf, np.inf),
        marks: tuple[int, int] | None = None,
        divergence: float = np.inf,
        split: str = "validation",
    ) -> Trained:
        """Train from the initial weights of a seed.

        Arguments:
            code: the program, from `machine.assemble`.
            seed: chooses the initial weights and the batches.
            hurdles: training stops at a mark where the loss is above its hurdle.
            marks: the steps at which the loss is taken, ascending; by default a
                quarter of the steps, and all of them.
            divergence: stop when a training loss exceeds this.
            split: `validation` or `heldout`, where the loss is taken.
        """
        replicate = self.replicate(seed)
        outcome = self._run(
            code,
            replicate.weights,
            replicate.indices,
            self.task.learning_rate(),
            self._splits.train,
            getattr(self._splits, split),
            np.asarray(marks or default_marks(self.task), np.int32),
            np.asarray(hurdles, np.float32),
            np.float32(divergence),
        )
        status, steps, losses, reached = jax.device_get(outcome)
        return Trained(_STATUS[status], int(steps), tuple(float(x) for x in losses[: int(reached)]))

    def _train(
        self,
        code: Code,
        weights: Array,
        indices: Array,
        rates: Array,
        train: tuple[Array, ...],
        evaluation: tuple[Array, ...],
        marks: Array,
        hurdles: Array,
        divergence: Array,
    ) -> tuple[Array, Array, Array, Array]:
        def step(state: _Progress) -> _Progress:
            batch = tuple(array[indices[state.step]] for array in train)
            loss, gradient = self._loss_and_gradient(state.weights, batch)
            update, memory = self._update(
                code, state.memory, state.weights, gradient, rates[state.step]
            )
            weights = state.weights - update
            check = (state.step + 1) % CHECK_EVERY == 0
            healthy = lax.cond(
                check, lambda: self._all_finite(code, weights, memory), lambda: jnp.bool(True)
            )
            status = jnp.where(loss > divergence, 2, 0)
            status = jnp.where(jnp.isfinite(loss) & healthy, status, 1)
            return _Progress(state.step + 1, weights, memory, status)

        def stage(carry: tuple[_Progress, Array, Array]) -> tuple[_Progress, Array, Array]:
            state, losses, mark = carry
            state = lax.while_loop(lambda s: (s.step < marks[mark]) & (s.status == 0), step, state)
            loss = self._loss(state.weights, evaluation)
            sound = jnp.isfinite(loss) & self._all_finite(code, state.weights, state.memory)
            status = jnp.where(sound, jnp.where(loss > hurdles[mark], 3, 0), 1)
            status = jnp.where(state.status == 0, status, state.status)
            reached = jnp.where((status == 0) | (status == 3), mark + 1, mark)
            return state._replace(status=status), losses.at[mark].set(loss), reached

        memory = self._memory(code, weights)
        state = _Progress(jnp.int32(0), weights, memory, jnp.int32(0))
        state, losses, reached = lax.while_loop(
            lambda carry: (carry[2] < len(marks)) & (carry[0].status == 0),
            stage,
            (state, jnp.zeros(len(marks)), jnp.int32(0)),
        )
        return state.status, state.step, losses, reached

    # The optimizer: what benchmarks replace to compare the machine with compiled programs.

    def _memory(self, code: Code, weights: Array) -> Any:
        """What the optimizer carries from step to step."""
        return machine.start(self.layout, code, weights)

    def _update(
        self, code: Code, memory: Any, weights: Array, gradient: list[Array], rate: Array
    ) -> tuple[Array, Any]:
        registers = machine.load(self.layout, memory, weights, gradient, rate)
        registers = machine.execute(self.layout, code, registers, self.extended)
        return machine.row(registers, code.update), registers

    def _all_finite(self, code: Code, weights: Array, memory: Any) -> Array:
        """Whether the weights and the live slots are finite."""

        def look(i: Array, sound: Array) -> Array:
            place = machine.FIRST_SLOT_ROW + i
            finite = self.layout.all_finite(machine.row(memory, place))
            one = jnp.isfinite(machine.number(memory, place))
            return sound & jnp.where(code.numbers[i], one, finite)

        return lax.fori_loop(0, code.slots, look, self.layout.all_finite(weights))

    def _params(self, vector: Array) -> Any:
        return jax.tree.unflatten(self._structure[0], self.layout.unflatten(vector))

    def _loss(self, vector: Array, batch: tuple[Array, ...]) -> Array:
        return self.task.loss(self._params(vector), batch)

    def gradient(self, vector: Array, replicate: _Replicate, step: int) -> list[Array]:
        """The gradient at a step, array by array."""
        batch = tuple(array[replicate.indices[step]] for array in self._splits.train)
        return self._loss_and_gradient(vector, batch)[1]

    def _loss_and_gradient(
        self, vector: Array, batch: tuple[Array, ...]
    ) -> tuple[Array, list[Array]]:
        loss, gradient = jax.value_and_grad(self.task.loss)(self._params(vector), batch)
        return loss, jax.tree.leaves(gradient)


def default_marks(task: Task) -> tuple[int, int]:
    """A quarter of the steps, and all of them."""
    return max(task.steps // 4, 1), task.steps
