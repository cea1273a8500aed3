"""The shipped Lion beside the incumbents: time of a step, and size of the state.

Ratios are ours over theirs, pair by pair, with decay on. The Keras backend is
fixed at import, so each is measured in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from tests.benchmarks.measure import interleaved, report

PAIRS = 40
#: The twelve tensors of a transformer's block of width 384.
BLOCK = [384 * 1152, 1152, 384 * 384, 384, 384 * 1536, 1536, 1536 * 384, *[384] * 5]
#: The sizes of the arrays. 9 blocks and the embedding are 111 tensors with 20M weights.
LAYOUTS = {
    "1x10M": [10_000_000],
    "transformer 20M": [*BLOCK * 9, 10_000 * 384, 384, 384],
    "2000x100": [100] * 2000,
}
#: What a step of ours may take in units of lion-pytorch's, by default and with foreach=False.
TORCH_BARS = {"transformer 20M": {None: 0.85}, "2000x100": {None: 0.65, False: 1.1}}
RATE, DECAY = 1e-4, 0.1

Action = Callable[[], object]


def ratios(figure: str, ours: Action, theirs: Action, **facts: object) -> None:
    """Time two actions in turn and report how long ours takes in units of theirs."""
    for action in (ours, theirs):
        for _ in range(3):
            action()
    times = interleaved(ours, theirs, PAIRS)
    ratios = [a / b for a, b in zip(*times, strict=True)]
    facts |= {"milliseconds": float(np.median(times[0]) * 1e3)}
    report(figure, ratios, **facts, theirs_milliseconds=float(np.median(times[1]) * 1e3))


def _arrays(layout: str, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(size=size).astype(np.float32) for size in LAYOUTS[layout]]


# Optax --------------------------------------------------------------------------------------


def jitted(step: Callable[..., Any], *state: Any) -> Action:
    """A step compiled with its state donated, which it carries from call to call."""
    import jax

    compiled = jax.jit(step, donate_argnums=tuple(range(len(state))))
    held = [jax.tree.map(jax.numpy.array, state)]

    def action() -> None:
        held[0] = jax.block_until_ready(compiled(*held[0]))

    return action


def optax_step(
    optimizer: Any, initial: Sequence[np.ndarray], given: Sequence[np.ndarray]
) -> Action:
    """A jitted step of weights with gradients."""
    import jax.numpy as jnp
    import optax

    weights, gradients = ([jnp.asarray(x) for x in each] for each in (initial, given))

    def step(arrays: Any, state: Any) -> Any:
        weights, gradients = arrays
        updates, state = optimizer.update(gradients, state, weights)
        return (optax.apply_updates(weights, updates), gradients), state

    return jitted(step, (weights, gradients), optimizer.init(weights))


def _optax_training(optimizer: Any) -> Action:
    """A step of training a small network, gradient and all."""
    import jax
    import jax.numpy as jnp
    import optax

    random = np.random.default_rng(0)
    weights = [jnp.asarray(random.normal(size=(512, 512)) / 23, jnp.float32) for _ in range(4)]
    batch = jnp.asarray(random.normal(size=(64, 512)), jnp.float32)

    def loss(weights: Any) -> Any:
        x = batch
        for w in weights:
            x = jnp.tanh(x @ w)
        return jnp.mean((x - batch) ** 2)

    def step(weights: Any, state: Any) -> Any:
        updates, state = optimizer.update(jax.grad(loss)(weights), state, weights)
        return optax.apply_updates(weights, updates), state

    return jitted(step, weights, optimizer.init(weights))


def optax_lion_over_optax() -> None:
    """A jitted step of ours over that of `optax.lion`: bar 1.0."""
    import optax

    from discovered import lion

    makes = [partial(make, RATE, weight_decay=DECAY) for make in (lion, optax.lion)]
    for layout in LAYOUTS:
        arrays = _arrays(layout, 0), _arrays(layout, 1)
        actions = [optax_step(make(), *arrays) for make in makes]
        ratios("optax_lion_over_optax", actions[0], actions[1], layout=layout)
    actions = [_optax_training(make()) for make in makes]
    ratios("optax_lion_over_optax", actions[0], actions[1], layout="end to end")


# PyTorch ------------------------------------------------------------------------------------


def _torch_step(make: Callable[..., Any], layout: str) -> Action:
    import torch

    weights = [torch.nn.Parameter(torch.from_numpy(x)) for x in _arrays(layout, 0)]
    for p, g in zip(weights, _arrays(layout, 1), strict=True):
        p.grad = torch.from_numpy(g)
    return make(weights, lr=RATE, weight_decay=DECAY).step


def _torch_training(make: Callable[..., Any]) -> Action:
    import torch

    torch.manual_seed(0)
    layers = [m for _ in range(4) for m in (torch.nn.Linear(512, 512), torch.nn.Tanh())]
    model, batch = torch.nn.Sequential(*layers), torch.randn(64, 512)
    optimizer = make(model.parameters(), lr=RATE, weight_decay=DECAY)

    def action() -> None:
        optimizer.zero_grad()
        ((model(batch) - batch) ** 2).mean().backward()
        optimizer.step()

    return action


def torch_lion_over_others() -> None:
    """A step of ours over lion-pytorch's (bars above) and over AdamW's with foreach (0.9).

    lion-pytorch's own choice is its default class; its Triton kernel needs a GPU.
    """
    import lion_pytorch
    import torch

    from discovered.torch import Lion

    torch.set_num_threads(1)
    adamw = partial(torch.optim.AdamW, foreach=True)
    kinds: dict[str, Callable[[Any], Action]] = {
        layout: partial(_torch_step, layout=layout) for layout in LAYOUTS
    }
    kinds["end to end"] = _torch_training
    for layout, prepare in kinds.items():
        theirs = prepare(lion_pytorch.Lion)
        for foreach in (None, False):
            ours = prepare(partial(Lion, foreach=foreach))
            facts = {"layout": layout, "foreach": foreach}
            bar = TORCH_BARS.get(layout, {}).get(foreach)
            ratios("torch_lion_over_lion_pytorch", ours, theirs, bar=bar, **facts)
        ratios("torch_lion_over_adamw", prepare(Lion), prepare(adamw), layout=layout)


# Keras --------------------------------------------------------------------------------------


def keras_lion_over_keras() -> None:
    """A step of ours over `keras.optimizers.Lion`: bar 1.02 with JAX; PyTorch is reported."""
    for backend in ("jax", "torch"):
        subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.export_bench"],
            env=os.environ | {"KERAS_BACKEND": backend},
            check=True,
        )


def _keras_step(make: Any, layout: str) -> Action:
    import keras

    variables = [keras.Variable(x) for x in _arrays(layout, 0)]
    gradients = [keras.ops.convert_to_tensor(x) for x in _arrays(layout, 1)]
    optimizer = make(RATE, weight_decay=DECAY)
    optimizer.build(variables)
    if keras.backend.backend() != "jax":
        return lambda: optimizer.apply(gradients, variables)

    def step(weights: Any, state: Any, gradients: Any) -> Any:
        return *optimizer.stateless_apply(state, gradients, weights), gradients

    values = [[v.value for v in group] for group in (variables, optimizer.variables)]
    return jitted(step, *values, gradients)


def _keras_training(make: Any) -> Action:
    """What `fit` does for one batch of a small network."""
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(512, activation="tanh") for _ in range(4)]
    model, batch = keras.Sequential(layers), np.random.default_rng(0).normal(size=(64, 512))
    model.compile(make(RATE, weight_decay=DECAY), loss="mse")
    return partial(model.train_on_batch, batch, batch)


def _keras_in_this_process() -> None:
    import keras

    from discovered.keras import Lion

    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        torch.set_num_threads(1)
    for layout in LAYOUTS:
        ours, theirs = (_keras_step(make, layout) for make in (Lion, keras.optimizers.Lion))
        ratios("keras_lion_over_keras", ours, theirs, layout=layout, backend=backend)
    ours, theirs = (_keras_training(make) for make in (Lion, keras.optimizers.Lion))
    ratios("keras_lion_over_keras", ours, theirs, layout="end to end", backend=backend)


# State --------------------------------------------------------------------------------------


def state_over_adamw() -> None:
    """Parameter-shaped state in units of AdamW's: exactly a half."""
    import jax
    import jax.numpy as jnp
    import optax
    import torch

    from discovered import lion
    from discovered.torch import Lion

    w = [jnp.zeros((30, 40)), jnp.zeros(50)]
    sizes = [
        sum(x.size for x in jax.tree.leaves(make(RATE).init(w)) if x.ndim)
        for make in (lion, optax.adamw)
    ]
    report("state_over_adamw", [sizes[0] / sizes[1]], framework="optax")
    report(
        "state_over_adamw",
        [_torch_state(Lion) / _torch_state(torch.optim.AdamW)],
        framework="torch",
    )


def _torch_state(make: Callable[[Sequence[Any]], Any]) -> int:
    import torch

    params = [torch.nn.Parameter(torch.zeros(30, 40)), torch.nn.Parameter(torch.zeros(50))]
    optimizer = make(params)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    return sum(x.numel() for s in optimizer.state.values() for x in s.values() if x.ndim)


if __name__ == "__main__":
    _keras_in_this_process()
