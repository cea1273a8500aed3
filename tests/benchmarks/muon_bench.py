"""Exported Muon beside the same formula written by hand: time of a step, bar 1.1.

By hand it is as short as can be: no state but the momentum, no options, no checks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import evolve
from tests.benchmarks.export_bench import Action, optax_step, ratios

RATE, BETA = 1e-3, 0.95
#: The matrices and vectors of three blocks of width 128, and one large matrix.
LAYOUTS: dict[str, list[tuple[int, ...]]] = {
    "three blocks": [(128, 384), (384,), (128, 128), (128, 512), (512,), (512, 128), (128,)] * 3,
    "512x512": [(512, 512)],
}


def _arrays(layout: str, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype(np.float32) for shape in LAYOUTS[layout]]


def optax_muon_over_by_hand() -> None:
    """A jitted step of ours over that of a transformation of two functions."""
    for layout in LAYOUTS:
        arrays = _arrays(layout, 0), _arrays(layout, 1)
        makes = (evolve.load("muon").to_optax, _by_hand)
        ours, theirs = (optax_step(make(RATE), *arrays) for make in makes)
        ratios("optax_muon_over_by_hand", ours, theirs, layout=layout)


def _by_hand(rate: float) -> Any:
    import jax
    import jax.numpy as jnp
    import optax

    def direction(x: Any) -> Any:
        if x.ndim < 2:
            return jnp.sign(x)
        tall = x.shape[0] > x.shape[1]
        m = x.T if tall else x
        m = m / (jnp.sqrt(jnp.sum(m * m)) + 1e-8)
        for _ in range(5):
            gram = m @ m.T
            m = 3.4445 * m + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ m
        m = m * max(m.shape) ** 0.5
        return m.T if tall else m

    def update(gradients: Any, momenta: Any, weights: Any = None) -> Any:
        momenta = jax.tree.map(lambda m, g: BETA * m + (1 - BETA) * g, momenta, gradients)
        mixed = jax.tree.map(lambda m, g: BETA * m + (1 - BETA) * g, momenta, gradients)
        return jax.tree.map(lambda x: -rate * direction(x), mixed), momenta

    return optax.GradientTransformation(lambda w: jax.tree.map(jnp.zeros_like, w), update)


def torch_muon_over_by_hand() -> None:
    """The same with PyTorch, on one thread, against a loop over the weights."""
    import torch

    torch.set_num_threads(1)
    for layout in LAYOUTS:
        ours = evolve.load("muon").to_torch(_parameters(layout), lr=RATE).step
        ratios("torch_muon_over_by_hand", ours, _torch_by_hand(layout), layout=layout)


def _parameters(layout: str) -> list[Any]:
    import torch

    found = [torch.nn.Parameter(torch.from_numpy(x)) for x in _arrays(layout, 0)]
    for p, g in zip(found, _arrays(layout, 1), strict=True):
        p.grad = torch.from_numpy(g)
    return found


def _torch_by_hand(layout: str) -> Action:
    import torch

    parameters = _parameters(layout)
    momenta = [torch.zeros_like(p) for p in parameters]

    def direction(x: Any) -> Any:
        if x.dim() < 2:
            return x.sign()
        tall = x.shape[0] > x.shape[1]
        m = x.T if tall else x
        m = m / (m.norm() + 1e-8)
        for _ in range(5):
            gram = m @ m.T
            m = 3.4445 * m + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ m
        m = m * max(m.shape) ** 0.5
        return m.T if tall else m

    @torch.no_grad()
    def step() -> None:
        for p, m in zip(parameters, momenta, strict=True):
            m.lerp_(p.grad, 1 - BETA)
            p.sub_(direction(m.lerp(p.grad, 1 - BETA)), alpha=RATE)

    return step
