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
    b1: the weight of the second of two averaged terms (default: 0.9).
    b2: the weight of the second of two averaged terms (default: 0.99).
    weight_decay: decoupled, times the learning rate; 0 switches it off (default: 0.1 in the
        program, here 1e-3).

Provenance:
    source: paper
    reference: Chen et al. 2023, arXiv 2302.06675, Program 1
    program: discovered/programs/lion.txt
    largest difference from the reference interpreter in 20 steps: 0.0
    written by: python -m evolve.export.shipped
"""

from __future__ import annotations

import math
import numbers
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


def _check(bounds, given):
    """Raise ValueError unless each number is finite and within its bounds.

    What is no number (a schedule, an array, None) is left to the framework.
    """
    for name, low, high in bounds:
        value = given[name]
        if not isinstance(value, numbers.Real):
            continue
        if not (math.isfinite(value) and low <= value <= high):
            least = "finite" if low == -math.inf else f"at least {low:g}"
            must = least if high == math.inf else f"from {low:g} to {high:g}"
            raise ValueError(f"{name} is {value}; it must be {must}")


def _transformation(step, state_class, learning_rate, given, **options):
    """A transformation of which `step` is the program's part.

    Arguments:
        step: from weights, gradient, slots and numbers to what is subtracted from the weights,
            and the slots after the step: of each leaf, or with `whole` of lists of all leaves.
        state_class: a NamedTuple of the count, the slots and the errors.
        learning_rate: a number, an array or a schedule.
        given: the hyperparameters by name; `weight_decay` may be a schedule.
        options: `slots`, how many there are; `mu_dtype`, `mask`, `compensated` (see the factory);
            `narrow`, the shapes of slots that are no trees; `whole`; `reads_weights`, whether
            `step` needs them.
    """
    mask, compensated = options.get("mask"), options["compensated"]
    needed = options["reads_weights"] or compensated or mask is not None

    def init(params):
        zeros = [
            _zeros(params, options.get("mu_dtype"), options.get("narrow", {}).get(i))
            for i in range(options["slots"])
        ]
        errors = optax.tree.zeros_like(params) if compensated else None
        return state_class(jnp.zeros([], jnp.int32), *zeros, errors)

    def update(updates, state, params=None, **extra_args):
        """What to add to the weights, and the state after the step."""
        del extra_args
        if params is None and needed:
            raise ValueError("the weights are needed: call update(updates, state, params)")
        gs, tree = jax.tree.flatten(updates, is_leaf=lambda x: x is None)
        ws = tree.flatten_up_to(params) if needed else gs
        slots = [tree.flatten_up_to(slot) for slot in state[1:-1]]
        errors = tree.flatten_up_to(state.error) if compensated else None
        present = [i for i, g in enumerate(gs) if g is not None]
        if any(jnp.iscomplexobj(gs[i]) for i in present):
            raise ValueError("complex weights: wrap it in optax.contrib.split_real_and_imaginary")
        numbers = {name: _at(x, state.count) for name, x in given.items()}
        numbers["lr"] = _at(learning_rate, state.count)
        decays = _decays(numbers.pop("weight_decay", None), mask, params, tree)
        for leaves in [present] if options["whole"] and present else [[i] for i in present]:
            wide = _wide(*(gs[i] for i in leaves))
            arrays = [[jnp.asarray(xs[i], wide) for i in leaves] for xs in (ws, gs, *slots)]
            decay = None if decays is None else [decays[i] for i in leaves]
            changes, *after = _computed(step, options["whole"], arrays, numbers, decay)
            for slot, xs in zip(slots, after, strict=True):
                for i, x in zip(leaves, xs, strict=True):
                    slot[i] = jnp.asarray(x, slot[i].dtype).reshape(slot[i].shape)
            for i, change, w in zip(leaves, changes, arrays[0], strict=True):
                change, dtype = -change, jnp.result_type(gs[i])
                if compensated:
                    change = change + jnp.asarray(errors[i], wide)
                    landed = _rounded(w + _rounded(change, dtype), ws[i].dtype)
                    errors[i] = (change - (landed - w)).astype(ws[i].dtype)
                gs[i] = change.astype(dtype)
        after = [tree.unflatten(slot) for slot in slots]
        kept = tree.unflatten(errors) if compensated else None
        return tree.unflatten(gs), state_class(optax.safe_increment(state.count), *after, kept)

    return optax.GradientTransformationExtraArgs(init, update)


def _zeros(params, dtype, shape):
    """A slot before the first step; `shape` gives that of each array if it is not the weights'."""
    zeros = optax.tree.zeros_like(params, dtype=dtype)
    return (
        zeros
        if shape is None
        else jax.tree.map(lambda x: jnp.zeros(shape(x.shape), x.dtype), zeros)
    )


def _computed(step, whole, arrays, numbers, decays):
    """What `step` gives for some leaves: lists with one array for each of them."""
    wide = arrays[1][0].dtype
    given = {name: _number(x, wide) for name, x in numbers.items()}
    given["lr"] = jnp.asarray(numbers["lr"], wide)
    if decays is not None:
        decays = [_number(x, wide) for x in decays]
        # Only the decay reads the weights: an infinite one that does not decay stays as it is.
        arrays = [[_decayed(w, x) for w, x in zip(arrays[0], decays, strict=True)], *arrays[1:]]
        given["weight_decay"] = decays if whole else decays[0]
    if whole:
        return step(*arrays, **given)
    return [[x] for x in step(*(xs[0] for xs in arrays), **given)]


def _decayed(w, decay):
    """A weight, or zero where it does not decay."""
    if isinstance(decay, (int, float)) and decay != 0:
        return w
    return jnp.where(jnp.equal(decay, 0), jnp.zeros_like(w), w)


def _at(x, count):
    """The value of a schedule; anything else as it is."""
    return x(count) if callable(x) else x


def _number(x, dtype):
    """Arrays in the dtype to compute in, so that strict promotion has nothing to say."""
    return x if isinstance(x, (bool, int, float)) else jnp.asarray(x, dtype)


def _wide(*arrays):
    """The dtype to compute in: float32, or that of wider arrays."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(jnp.float32, *arrays)


def _rounded(x, dtype):
    """`x` with the precision of `dtype`; a cast there and back may be optimized away."""
    info = jnp.finfo(dtype)
    return jax.lax.reduce_precision(x, info.nexp, info.nmant)


def _decays(decay, mask, params, tree):
    """The weight decay of each leaf: where the mask says no, zero."""
    if decay is None:
        return None
    if mask is None:
        return [decay] * tree.num_leaves
    # As in `optax.masked`: a mask whose leaves are functions is one; a tree may be callable too.
    leaves = jax.tree.leaves(jax.tree.map(callable, mask))
    chosen = mask(params) if leaves and all(leaves) else mask
    chosen = jax.tree.map(lambda x, part: jax.tree.map(lambda _: x, part), chosen, params)
    return [decay if x is not None and bool(x) else 0.0 for x in tree.flatten_up_to(chosen)]


class LionState(NamedTuple):
    """State: the number of steps, and trees like the weights."""

    count: jax.Array
    m: Any
    error: Any


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
    bounds = (
        ("learning_rate", 0.0, math.inf),
        ("b1", 0.0, 1.0),
        ("b2", 0.0, 1.0),
        ("weight_decay", 0.0, math.inf),
    )
    given = {
        "b1": b1,
        "b2": b2,
        "weight_decay": weight_decay,
    }
    _check(bounds, {**given, "learning_rate": learning_rate})
    return _transformation(
        _step,
        LionState,
        learning_rate,
        given,
        slots=1,
        mu_dtype=mu_dtype,
        mask=mask,
        compensated=compensated,
        whole=False,
        reads_weights=True,
    )


def _step(w, g, m, lr, b1, b2, weight_decay):
    """One array: what to subtract from the weights, and the slots."""
    update = (1.0 - b1) * g + b1 * m
    update = jnp.sign(update)
    m = (1.0 - b2) * g + b2 * m
    wd = w * weight_decay
    update = update + wd
    update = update * lr
    return (update, m)
