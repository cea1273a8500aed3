"""What was exported, held against the reference interpreter.

Twenty steps on recorded gradients with a schedule of several values. The loop is
open: at every step the export is given the reference's weights, while it keeps its
own state, and the weights after the step are compared.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from evolve.export.lowering import lower
from evolve.export.source import camel
from primitives import reference
from primitives.program import Program

Array = np.ndarray
#: The weights after one step: `step(weights, gradients, learning_rate)`.
Step = Callable[[list[Array], list[Array], float], list[Array]]

STEPS = 20
#: Powers of two, so that peak times schedule over peak is the schedule again.
SCHEDULE = (1.0, 0.5, 0.25)
SHAPES: tuple[tuple[int, ...], ...] = ((3, 4), (), (5,), (2, 2, 2))


def largest_difference(
    target: str,
    source: str,
    name: str,
    program: Program,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    **options: float,
) -> float:
    """The largest difference of a weight after a step, relative where weights exceed 1.

    Steps count as long as the reference is finite. Zero for targets that cannot be run.

    Arguments:
        source: what the target's `emit` wrote.
        name: the name that it was given.
        shapes: of the weights.
        options: arguments for the optimizer, where its defaults are not the program's.
    """
    if target not in ADAPTERS:
        return 0.0
    weights, gradients = recorded(shapes=shapes)
    if target == "keras":  # its own default, TensorFlow, is no dependency of ours
        os.environ.setdefault("KERAS_BACKEND", "jax")
    module = load(source)
    return worst_step(
        ADAPTERS[target](module, name, weights, **options), program, weights, gradients
    )


def recorded(
    seed: int = 0, shapes: Sequence[tuple[int, ...]] = SHAPES
) -> tuple[list[Array], list[list[Array]]]:
    """Weights, and the gradients of every step: normal numbers of several sizes."""
    random = np.random.default_rng(seed)

    def tree(size: float) -> list[Array]:
        return [np.asarray(size * random.normal(size=shape), np.float32) for shape in shapes]

    return tree(1.0), [tree(10.0 ** random.uniform(-2, 0)) for _ in range(STEPS)]


def worst_step(
    step: Step, program: Program, weights: list[Array], gradients: Sequence[list[Array]]
) -> float:
    """The largest difference over the steps in which the reference is finite; NaN for none."""
    peak = float(np.float32(lower(program).peak.default))
    slots, worst = reference.zero_slots(program, weights), math.nan
    for i, gradient in enumerate(gradients):
        rate = SCHEDULE[i % len(SCHEDULE)]
        with np.errstate(all="ignore"):
            update, slots = reference.run_step(program, weights, gradient, slots, rate)
            after = [np.asarray(w - u) for w, u in zip(weights, update, strict=True)]
            got = step(weights, gradient, peak * rate)
            state = [leaf for leaves in slots.values() for leaf in leaves]
            if not all(np.isfinite(leaf).all() for leaf in [*after, *state]):
                break
            for x, y in zip(got, after, strict=True):
                scale = np.maximum(1.0, np.abs(y))
                error = float(np.max(np.abs(np.float64(x) - y) / scale, initial=0.0))
                # NaN where the reference is finite is the largest difference of all.
                worst = math.inf if math.isnan(error) else max(error, worst)
        weights = after
    return worst


def load(source: str, name: str = "exported") -> ModuleType:
    """The module whose source this is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exported.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def _numpy(module: Any, name: str, weights: list[Array], **options: float) -> Step:
    state = module.init(weights)

    def step(weights: list[Array], gradients: list[Array], rate: float) -> list[Array]:
        nonlocal state
        updates, state = module.update(weights, gradients, state, rate, **options)
        return [w - u for w, u in zip(weights, updates, strict=True)]

    return step


def _optax(module: Any, name: str, weights: list[Array], **options: float) -> Step:
    import jax.numpy as jnp

    rate = 0.0
    optimizer = getattr(module, name)(lambda count: rate, **options)
    state = optimizer.init([jnp.asarray(w) for w in weights])

    def step(weights: list[Array], gradients: list[Array], learning_rate: float) -> list[Array]:
        nonlocal rate, state
        rate = learning_rate
        trees = [[jnp.asarray(x) for x in leaves] for leaves in (gradients, weights)]
        updates, state = optimizer.update(trees[0], state, trees[1])
        return [np.asarray(w + u) for w, u in zip(trees[1], updates, strict=True)]

    return step


def _torch(module: Any, name: str, weights: list[Array], **options: float) -> Step:
    import torch

    params = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
    optimizer = getattr(module, camel(name))(params, **options)

    def step(weights: list[Array], gradients: list[Array], learning_rate: float) -> list[Array]:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        for p, w, g in zip(params, weights, gradients, strict=True):
            p.data.copy_(torch.from_numpy(w))
            p.grad = torch.from_numpy(g.copy())
        optimizer.step()
        return [p.detach().numpy().copy() for p in params]

    return step


def _keras(module: Any, name: str, weights: list[Array], **options: float) -> Step:
    keras = importlib.import_module("keras")
    variables = [keras.Variable(w) for w in weights]
    optimizer = getattr(module, camel(name))(**options)
    optimizer.build(variables)

    def step(weights: list[Array], gradients: list[Array], learning_rate: float) -> list[Array]:
        optimizer.learning_rate = learning_rate
        for variable, w in zip(variables, weights, strict=True):
            variable.assign(w)
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
        return [keras.ops.convert_to_numpy(v.value).copy() for v in variables]

    return step


ADAPTERS: dict[str, Callable[..., Step]] = {
    "numpy": _numpy,
    "optax": _optax,
    "torch": _torch,
    "keras": _keras,
}
