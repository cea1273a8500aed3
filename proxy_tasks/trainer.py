"""What trains a program on a task: the seam between a worker and a way of training.

The built-in tasks, and yours in JAX, are trained by the register machine
(`proxy_tasks.machine_trainer`); training functions in PyTorch by `proxy_tasks.torch_trainer`. A
task that has a method `trainer()` brings its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from primitives.program import Program

#: A training loss this many times the untrained one counts as diverged.
DIVERGENCE = 4.0


class Trained(NamedTuple):
    """What a training came to.

    Attributes:
        status: `finished`, `not_finite`, `diverged` or `stopped` (at a hurdle).
        steps: the training steps actually run.
        losses: the validation loss at each mark that was reached: a quarter of the
            steps, and all of them.
    """

    status: str
    steps: int
    losses: tuple[float, ...]


class Trainer(Protocol):
    """Trains programs on one task at one size."""

    def describe(self) -> dict[str, Any]:
        """`weights`, `steps`, `flops` (or None), `fingerprint`, `width` and `sizes`.

        `sizes` are how many numbers a value of each kind has for each weight.

        And maybe `limit`: seconds after which a training of one seed counts as hanging.
        """

    def stretch(self, grid: bool) -> dict[str, Any]:
        """A stretch of gradients as JSON data, see `proxy_tasks.stretch`."""

    def untrained(self, seed: int, split: str) -> float:
        """The loss before the first step; NaN if it is not finite."""

    def train(
        self,
        program: Program,
        seed: int,
        hurdles: tuple[float, float],
        divergence: float,
        split: str,
    ) -> Trained:
        """Train with a program.

        Arguments:
            program: that gives the updates.
            seed: chooses the initial weights and the batches.
            hurdles: for each mark the highest loss with which training goes on.
            divergence: training stops when a loss exceeds this.
            split: `validation` or `heldout`, where the loss is taken.
        """
