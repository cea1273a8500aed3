"""What a task is: data, a model, a loss, a schedule and three sizes.

Nothing here imports JAX or scikit-learn before a method needs it, so that tasks can be listed
quickly. A user's own task subclasses `Task` and overrides `splits`, `init` and `loss`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from primitives.functions import COLUMN, PER_ARRAY, ROW, SCALAR
from primitives.reference import narrowed

RUNGS = (1, 10, 100)
"""The sizes that `Task.at` knows, as multiples of the task's compute."""

MAX_WIDTH = 1 << 16

SCHEDULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sqrt": lambda t: np.sqrt(1.0 - t),
    "cosine": lambda t: 0.5 * (1.0 + np.cos(np.pi * t)),
    "linear": lambda t: 1.0 - t,
    "constant": lambda t: np.ones_like(t),
    "trapezoid": lambda t: np.minimum(1.0, 5.0 * (1.0 - t)),
}
"""Learning rate as a function of the finished share t of the steps, 0 <= t < 1; none warms up.

`trapezoid` is constant, then linear over the last 20 %. The default is `sqrt`. A search soon finds
what a schedule leaves on the table; which one leaves little depends on the task.
"""


class TaskError(ValueError):
    """A task cannot be found, built or resized; the message is one sentence for its user."""


class Splits(NamedTuple):
    """A task's examples: each split a tuple of NumPy arrays that share their leading axis."""

    train: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]
    heldout: tuple[np.ndarray, ...]


def split(*arrays: np.ndarray, seed: int = 0) -> Splits:
    """Four sixths of the examples to train on, a sixth for validation, a sixth held out.

    Arguments:
        arrays: inputs, targets and whatever else a loss needs, with one row for each example.
        seed: of the order in which the examples are shuffled first.

    Raises TaskError where the arrays have not as many rows, or fewer than six.
    """
    counts = {len(array) for array in arrays}
    if len(counts) != 1 or min(counts) < 6:
        raise TaskError(
            f"the arrays have {', '.join(str(len(array)) for array in arrays) or 'no'} rows; "
            "all need as many, and at least 6"
        )
    (count,) = counts
    order = np.random.default_rng(seed).permutation(count)
    parts = np.split(order, [4 * count // 6, 5 * count // 6])
    return Splits(*(tuple(np.asarray(array)[part] for array in arrays) for part in parts))


def check_splits(splits: Splits) -> None:
    """Check that data can be trained on, and say where a fault is.

    Raises:
        TaskError: if a part has no rows, arrays of different lengths, or numbers that are not
            finite, or if the parts differ in their arrays.
    """
    shapes = {}
    for name, arrays in splits._asdict().items():
        counts = [len(array) for array in arrays]
        if not counts or min(counts) == 0:
            raise TaskError(f"the {name} data has no rows; every part needs at least one")
        if len(set(counts)) > 1:
            listed = " and ".join(map(str, counts))
            raise TaskError(f"the arrays of the {name} data have {listed} rows, not as many")
        for place, array in enumerate(arrays):
            values = np.asarray(array)
            bad: Any = np.argwhere(~np.isfinite(values)) if values.dtype.kind in "fc" else []
            if len(bad):
                where = ", ".join(map(str, bad[0]))
                raise TaskError(
                    f"array {place} of the {name} data has {values[tuple(bad[0])]} at [{where}]; "
                    f"{len(bad)} of its numbers are not finite"
                )
        shapes[name] = [(np.shape(a)[1:], np.asarray(a).dtype.kind) for a in arrays]
    for name, found in shapes.items():
        if found != shapes["train"]:
            raise TaskError(
                f"the arrays of the {name} data have other shapes or types than those to train on"
            )


@dataclass(frozen=True)
class Resources:
    """What a worker needs, in Ray's units.

    Attributes:
        cpus: cores; a trainer that can use threads has as many.
        gpus: GPUs, or a part of one: with 0.25 four workers share one.
        memory: bytes that Ray sets aside; None sets none aside.
    """

    cpus: int = 1
    gpus: float = 0.0
    memory: int | None = None


class Sized(Protocol):
    """The part of a task that `batches` reads."""

    @property
    def batch(self) -> int: ...

    @property
    def steps(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """A model and its data, trained for `steps` steps on batches of `batch` examples.

    Override `splits`, `init` and `loss`; let the model's size follow `width`, any integer from 2.
    `weights` and `flops` may be overridden by closed formulas, which spare the listing JAX.
    """

    name: str
    width: int
    batch: int
    steps: int
    schedule: str = "sqrt"
    summary: str = ""
    rung: int = 1
    resources: Resources = Resources()

    def __post_init__(self) -> None:
        for field in ("width", "batch", "steps"):
            if getattr(self, field) < 1:
                raise TaskError(
                    f"task {self.name!r} has {field} {getattr(self, field)}, but it must be >= 1"
                )
        if self.schedule not in SCHEDULES:
            raise TaskError(
                f"task {self.name!r} has the unknown schedule {self.schedule!r}; "
                f"choose one of {', '.join(SCHEDULES)}"
            )

    def splits(self) -> Splits:
        """The data: NumPy arrays, the same in every process. Cache them if they cost time."""
        raise NotImplementedError(f"task {self.name!r} does not define splits()")

    def init(self, key: Any) -> Any:
        """Initial parameters, a pytree of float32 arrays, from a JAX random key."""
        raise NotImplementedError(f"task {self.name!r} does not define init(key)")

    def loss(self, params: Any, batch: Any) -> Any:
        """Mean loss, a scalar, over a tuple of arrays whose leading axis counts the examples.

        Used for training and, on whole splits at once, for the validation and held-out scores.
        """
        raise NotImplementedError(f"task {self.name!r} does not define loss(params, batch)")

    def weights(self) -> int:
        """Number of weights, over all arrays."""
        import jax

        shapes = jax.eval_shape(self.init, jax.random.key(0))
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))

    def flops(self) -> float | None:
        """Floating-point operations of one evaluation, forward and backward over all steps.

        Built-in tasks count matrix products only, two operations for each multiply-add. None
        where it is not known, as for a user's task that does not say.
        """
        return None

    def at(self, rung: int) -> Self:
        """This task at a rung of the funnel: 1, 10 or 100 times the compute.

        A rung means sqrt(rung) times the weights (`width` is solved so that `weights()` comes
        nearest), sqrt(rung) times the batch, and the same number of steps.

        Raises TaskError for another rung, from a task that has already been enlarged, or when
        `weights()` does not grow with `width`.
        """
        if rung not in RUNGS:
            raise TaskError(f"task {self.name!r} has no rung {rung}; choose one of 1, 10, 100")
        if rung == self.rung:
            return self
        if self.rung != 1:
            raise TaskError(
                f"task {self.name!r} is at rung {self.rung} already; rungs are reached from 1"
            )
        scale = math.sqrt(rung)
        width = self._width_for(scale * self.weights())
        return replace(self, width=width, batch=round(scale * self.batch), rung=rung)

    def holding(self, weights: float) -> Self:
        """This task with the largest width, from 2, that has no more than so many weights.

        The task itself where `weights()` does not grow with `width`.
        """

        def fits(width: int) -> bool:
            return replace(self, width=width).weights() <= weights

        low, high = 1, 2
        while high <= MAX_WIDTH and fits(high):
            low, high = high, 2 * high
        if high > MAX_WIDTH:
            return self
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return replace(self, width=max(low, 2))

    def with_batch(self, factor: float) -> Self:
        """This task with so many times the batch, in as many steps fewer: as many examples."""
        batch = max(1, round(factor * self.batch))
        return replace(self, batch=batch, steps=max(1, round(self.steps * self.batch / batch)))

    def _width_for(self, weights: float) -> int:
        """The width whose number of weights is nearest to `weights`, by doubling and bisection."""
        low, high = self.width, 2 * self.width
        while replace(self, width=high).weights() < weights:
            low, high = high, 2 * high
            if high > MAX_WIDTH:
                raise TaskError(
                    f"task {self.name!r} has no larger rung because weights() does not grow "
                    "with width; make the model's size follow self.width"
                )
        while high - low > 1:
            middle = (low + high) // 2
            if replace(self, width=middle).weights() < weights:
                low = middle
            else:
                high = middle
        return min((low, high), key=lambda w: abs(replace(self, width=w).weights() - weights))

    def learning_rate(self) -> np.ndarray:
        """The schedule's value at each step, float32 [steps], with a peak of 1."""
        return SCHEDULES[self.schedule](np.arange(self.steps) / self.steps).astype(np.float32)

    def fingerprint(self) -> str:
        """16 hexadecimal digits of a SHA-256 over type, shape and bytes of every data array."""
        digest = hashlib.sha256()
        for name, arrays in self.splits()._asdict().items():
            for array in arrays:
                digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def memory_share(slots: float, reference: float) -> float:
    """How many times another program's weights fit a program's model in as much memory.

    A model takes memory for its weights, its gradients and every slot of the optimizer;
    `slots` and `reference` are what the program and the other remember, in numbers for each weight.
    """
    return (2 + reference) / (2 + slots)


def sizes(shapes: Iterable[tuple[int, ...]]) -> dict[str, float]:
    """How many numbers a value of each kind has for each weight of arrays of these shapes."""
    shapes = list(shapes)
    whole = sum(math.prod(shape) for shape in shapes)
    kinds = {kind: [narrowed(shape, kind) for shape in shapes] for kind in (PER_ARRAY, ROW, COLUMN)}
    found = {kind: sum(map(math.prod, own)) / whole for kind, own in kinds.items()}
    return {SCALAR: 1 / whole, **found}


def mean_sizes(tasks: Mapping[str, Any]) -> dict[str, float]:
    """`sizes`, the mean over tasks; of what `prepare` tells of them."""
    known = [facts["sizes"] for facts in tasks.values() if "sizes" in facts]
    return (
        {kind: sum(each[kind] for each in known) / len(known) for kind in known[0]} if known else {}
    )


def batches(task: Sized, n_train: int, seed: int) -> np.ndarray:
    """Which training examples each step of replicate `seed` sees, int32 [steps, batch].

    Drawn with replacement from the PCG64 stream of `numpy.random.default_rng((seed,))` in one
    call, so that it depends on nothing but the arguments. Raises ValueError where `n_train` is
    not positive or `seed` is negative.
    """
    rng = np.random.default_rng((seed,))
    return rng.integers(0, n_train, size=(task.steps, task.batch), dtype=np.int32)
