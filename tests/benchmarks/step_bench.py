"""What a training step of a task takes beside its matrix products, and in which kernels."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from proxy_tasks.catalog import CATALOG
from proxy_tasks.training import Trainer
from tests.benchmarks.measure import interleaved, report

TASKS = ("text_transformer", "digits_vit")
STEPS = 200
#: A kernel is of the first kind whose operations it has; others are element by element.
KINDS = {
    "matrix products": r" dot\(",
    "reductions": r" reduce(-window)?\(",
    "copies, slices, gathers": r" (transpose|copy|slice|concatenate|gather|scatter)\(",
}


def step_flops_share() -> None:
    """Work of the transformer's gradient per second, over a large float32 matrix product's."""
    task = CATALOG["text_transformer"]
    gradients, _ = _gradients("text_transformer")
    size = 2048
    left = jnp.ones((size, size), jnp.float32)
    square = jax.jit(lambda a: a @ a)

    def multiply() -> None:
        square(left).block_until_ready()

    multiply()
    times = interleaved(gradients, multiply, 20)
    peak = [2.0 * size**3 / t for t in times[1]]
    work = [(task.flops() or 0.0) / task.steps * STEPS / t for t in times[0]]
    report(
        "step_flops_share",
        [a / b for a, b in zip(work, peak, strict=True)],
        gigaflops=float(np.median(work) / 1e9),
        peak_gigaflops=float(np.median(peak) / 1e9),
        milliseconds=float(np.median(times[0]) / STEPS * 1e3),
    )


def step_kernels() -> None:
    """Microseconds of a gradient in each kind of kernel, and in the dearest kernels."""
    for name in TASKS:
        gradients, compiled = _gradients(name)
        each = {
            kernel: microseconds / STEPS
            for kernel, (microseconds, runs) in _profile(gradients).items()
            if runs == STEPS and kernel in compiled
        }
        kinds: Counter[str] = Counter()
        for kernel, microseconds in each.items():
            kinds[_kind(compiled[kernel])] += microseconds
        dearest = sorted(each, key=each.__getitem__, reverse=True)[:8]
        report(
            "step_kernels",
            [sum(each.values())],
            task=name,
            kernels=len(each),
            kinds={kind: round(value, 1) for kind, value in kinds.most_common()},
            dearest={kernel: round(each[kernel], 1) for kernel in dearest},
        )


def _gradients(name: str) -> tuple[Callable[[], None], dict[str, str]]:
    """Two hundred steps of gradient descent, and each of their kernels as the compiler wrote it."""
    trainer = Trainer(CATALOG[name])
    replicate = trainer.replicate(0)
    train = tuple(jnp.asarray(x) for x in trainer.task.splits().train)

    @jax.jit
    def descend(weights: Array, train: tuple[Array, ...], indices: Array) -> Array:
        def step(i: Array, weights: Array) -> Array:
            _, gradient = trainer._loss_and_gradient(weights, tuple(x[indices[i]] for x in train))
            return weights - 0.01 * trainer.layout.flatten(gradient)

        return lax.fori_loop(0, STEPS, step, weights)

    compiled = descend.lower(replicate.weights, train, replicate.indices).compile()

    def run() -> None:
        compiled(replicate.weights, train, replicate.indices).block_until_ready()

    run()
    return run, _kernels(compiled.as_text())


def _kernels(text: str) -> dict[str, str]:
    """The text of each instruction of a compiled program; that of a fusion is what it fused."""
    bodies: dict[str, str] = {}
    for body in re.split(r"\n(?=%|ENTRY)", text):
        bodies[body.split(" ", 1)[0].lstrip("%")] = body
    found = {}
    for line in text.splitlines():
        if match := re.match(r"\s+(?:ROOT )?%([\w.-]+) = ", line):
            calls = re.search(r"calls=%([\w.-]+)", line)
            found[match[1]] = bodies[calls[1]] if calls else line
    return found


def _kind(text: str) -> str:
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, text)), "others")


def _profile(action: Callable[[], None]) -> dict[str, tuple[float, int]]:
    """Microseconds and runs of each thing that the profiler saw."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            action()
        (file,) = Path(folder).rglob("perfetto_trace.json.gz")
        content: Any = json.loads(gzip.decompress(file.read_bytes()))
    events = content["traceEvents"] if isinstance(content, dict) else content
    found: dict[str, tuple[float, int]] = {}
    for event in events:
        if event.get("ph") == "X":
            time, runs = found.get(event["name"], (0.0, 0))
            found[event["name"]] = time + event["dur"], runs + 1
    return found
