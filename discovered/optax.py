"""Lion for Optax: the sign of an average, with two decay rates and one slot.

One step, for weights w with gradient g and learning rate lr. Slots that start at zero: m.

    update = (1.0 - b1) * g + b1 * m
    update = sign(update)
    m = (1.0 - b2) * g + b2 * m
    wd = w * weight_decay
    update = update + wd
    update = update * lr
    w = w - update

A step is about as large as the learning rate in every weight, so the learning rate is 3 to
10 times smaller than AdamW's and the weight decay as much larger; for language models
(b1, b2) = (0.95, 0.98). See `discovered.conversion`. A NaN in a gradient gives NaN in that
weight.

Hyperparameters:
    learning_rate: the peak times the schedule.
    b1: the weight of the second of two averaged terms (0.9 in the program).
    b2: the weight of the second of two averaged terms (0.99 in the program).
    weight_decay: decoupled, times the learning rate (0.1 in the program).

Provenance:
    source: paper
    reference: Chen et al. 2023, arXiv 2302.06675, Program 1
    program: discovered/programs/lion.txt
    largest difference from the reference interpreter in 20 steps: 0.0
    written by: python -m evolve.export.shipped
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class LionState(NamedTuple):
    """State: the number of steps, and trees like the weights."""

    count: jax.Array
    m: Any
    error: Any


def _wide(*arrays):
    """The dtype to compute in: float32, or that of wider arrays."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(jnp.float32, *arrays)


def _rounded(x, dtype):
    """`x` with the precision of `dtype`; a cast there and back may be optimized away."""
    info = jnp.finfo(dtype)
    return jax.lax.reduce_precision(x, info.nexp, info.nmant)


def lion(
    learning_rate: optax.ScalarOrSchedule,
    b1: jax.typing.ArrayLike = 0.9,
    b2: jax.typing.ArrayLike = 0.99,
    mu_dtype: Any = None,
    weight_decay: optax.ScalarOrSchedule = 1e-3,
    mask: Any = None,
    *,
    compensated: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer; `learning_rate` may be a schedule: a function of the step.

    Arguments besides the hyperparameters:
        mu_dtype: dtype of the slots; None stands for that of the weights.
        mask: tree of booleans, a prefix of the weights' tree, or a function that gives it:
            where weights decay.
        compensated: keep what rounding took from 16-bit weights and add it to later updates
            (Kahan), so that small steps are not lost; one more slot of the weights' dtype.
    """

    def init(params):
        return LionState(
            count=jnp.zeros([], jnp.int32),
            m=optax.tree.zeros_like(params, dtype=mu_dtype),
            error=optax.tree.zeros_like(params) if compensated else None,
        )

    def step(w, g, m, lr, weight_decay):
        """One array: what to subtract from the weights, and the slots."""
        update = (1.0 - b1) * g + b1 * m
        update = jnp.sign(update)
        m = (1.0 - b2) * g + b2 * m
        wd = w * weight_decay
        update = update + wd
        update = update * lr
        return (update, m)

    def update(updates, state, params=None, **extra_args):
        """What to add to the weights, and the state after the step."""
        del extra_args
        if params is None:
            raise ValueError("the weights are needed: call update(updates, state, params)")
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        gs, tree = jax.tree.flatten(updates, is_leaf=lambda x: x is None)
        ws = tree.flatten_up_to(params)
        slots = [tree.flatten_up_to(slot) for slot in state[1:-1]]
        errors = tree.flatten_up_to(state.error) if compensated else None
        decay = weight_decay(state.count) if callable(weight_decay) else weight_decay
        decays = [decay] * len(gs)
        if mask is not None:
            chosen = mask(params) if callable(mask) else mask
            chosen = jax.tree.map(lambda x, part: jax.tree.map(lambda _: x, part), chosen, params)
            decays = [decay * bool(x) for x in tree.flatten_up_to(chosen)]
        for i, g in enumerate(gs):
            if g is None:
                continue
            wide = _wide(g)
            arrays = [jnp.asarray(x, wide) for x in (ws[i], g, *(slot[i] for slot in slots))]
            lr = jnp.asarray(rate, wide)
            new, *after = step(*arrays, lr, decays[i])
            change = -new
            if compensated:
                w = arrays[0]
                change = change + jnp.asarray(errors[i], wide)
                landed = _rounded(w + _rounded(change, g.dtype), ws[i].dtype)
                errors[i] = (change - (landed - w)).astype(ws[i].dtype)
            gs[i] = change.astype(jnp.result_type(g))
            for slot, x in zip(slots, after, strict=True):
                slot[i] = x.astype(slot[i].dtype)
        state = LionState(
            count=optax.safe_increment(state.count),
            m=tree.unflatten(slots[0]),
            error=tree.unflatten(errors) if compensated else None,
        )
        return tree.unflatten(gs), state

    return optax.GradientTransformationExtraArgs(init, update)
