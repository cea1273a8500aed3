"""Lion for Keras 3: the sign of an average, with two decay rates and one slot.

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
    beta_1, above b1: the weight of the second of two averaged terms (default: 0.9).
    beta_2, above b2: the weight of the second of two averaged terms (default: 0.99).
    weight_decay: decoupled, times the learning rate; None or 0 switches it off (default: 0.1 in
        the program, here None).

Provenance:
    source: paper
    reference: Chen et al. 2023, arXiv 2302.06675, Program 1
    program: discovered/programs/lion.txt
    largest difference from the reference interpreter in 20 steps: 1.2e-07
    written by: python -m evolve.export.shipped
"""

from __future__ import annotations

import math
import numbers

import keras
from keras import ops


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


def _rounded_by_bits(x, dtype):
    """The float32 tensor `x` with the precision of a 16-bit dtype, by integer arithmetic.

    A cast there and back is dropped by `torch.compile`, and with it all that it would lose.
    """
    import torch

    drop = 16 if dtype is torch.bfloat16 else 13
    bits = x.view(torch.int32)
    near = bits + ((1 << (drop - 1)) - 1) + ((bits >> drop) & 1)
    rounded = ((near >> drop) << drop).view(torch.float32)
    if dtype is torch.float16:
        # The spacing of its subnormals is that of float32 at 0.75; above 65504 it is infinite.
        magic = torch.copysign(torch.full_like(x, 0.75), x)
        rounded = torch.where(x.abs() < 2.0**-14, (x + magic) - magic, rounded)
        huge = torch.copysign(torch.full_like(x, float("inf")), x)
        rounded = torch.where(rounded.abs() > 65504, huge, rounded)
    return torch.where(x.isfinite(), rounded, x)


class _Optimizer(keras.optimizers.Optimizer):
    """Slots, compensation and serialization; what begins with an underline is the program's.

    `_step` takes the arrays of one variable, or with `_whole` lists of those of all.
    """

    _slots = ()
    _bounds = ()
    _own = ()
    _narrow = ()
    _whole = False

    def __init__(self, learning_rate, weight_decay, compensated, own, **kwargs):
        given = {"learning_rate": learning_rate, "weight_decay": weight_decay, **own}
        _check(self._bounds, given)
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **kwargs)
        for name, value in own.items():
            setattr(self, name, value)
        self.compensated = compensated

    def build(self, variables):
        """Zeros for each slot and variable."""
        if self.built:
            return
        super().build(variables)
        self._slot_variables = [
            self._add_narrow(variables, slot)
            if slot in dict(self._narrow)
            else self.add_optimizer_variables(variables, slot)
            for slot in self._slots
        ]
        self._errors = [self._error_of(variable) for variable in variables]

    def _add_narrow(self, variables, slot):
        """Zeros for a slot whose shapes are not the variables'."""
        shape = dict(self._narrow)[slot]
        return [
            self.add_variable(shape(v.shape), "zeros", v.dtype, name=f"{slot}_{i}")
            for i, v in enumerate(variables)
        ]

    def update_step(self, gradient, variable, learning_rate):
        """One step of one variable on its own."""
        self._update([gradient], [variable], learning_rate)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """One step of all variables, which is together where sums go over all of them."""
        if self._whole:
            if hasattr(self, "_all_reduce_sum_gradients"):  # TensorFlow, on several replicas
                pairs = zip(grads, trainable_variables, strict=True)
                grads = [g for g, _ in self._all_reduce_sum_gradients(pairs)]
            self._update(grads, trainable_variables, learning_rate)
        else:
            super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _update(self, gradients, variables, learning_rate):
        wide = keras.backend.result_type("float32", *(v.dtype for v in variables))
        places = [self._get_variable_index(v) for v in variables]
        w = [ops.cast(ops.stop_gradient(ops.convert_to_tensor(v)), wide) for v in variables]
        # A sum makes TensorFlow's sparse gradients dense, as of an embedding.
        dense = [ops.add(x, 0.0) if hasattr(x, "dense_shape") else x for x in gradients]
        g = [ops.cast(x, wide) for x in dense]
        slots = [[ops.cast(slot[i], wide) for i in places] for slot in self._slot_variables]
        lr = ops.cast(learning_rate, wide)
        if self._whole:
            update, *after = self._step(lr, w, g, *slots)
        else:
            new = self._step(lr, w[0], g[0], *(slot[0] for slot in slots))
            update, *after = [[x] for x in new]
        for slot, arrays in zip(self._slot_variables, after, strict=True):
            for i, x in zip(places, arrays, strict=True):
                self.assign(slot[i], ops.reshape(x, slot[i].shape))
        for i, variable, x, old in zip(places, variables, update, w, strict=True):
            if self._errors[i] is None:
                self.assign_sub(variable, x)
            else:
                self._assign_exact(variable, self._errors[i], old, x, lr)

    def _assign_exact(self, variable, error, old, update, lr):
        """The weight is the sum of what is stored and of its error."""
        exact = old + ops.cast(error, old.dtype)
        if self.weight_decay is not None and self._use_weight_decay(variable):
            exact = exact - exact * self.weight_decay * lr
        exact = exact - update
        stored = _rounded(exact, variable.dtype)
        self.assign(variable, stored)
        self.assign(error, exact - stored)

    def _error_of(self, variable):
        """A variable for what rounding takes from a 16-bit one; none for others."""
        if not self.compensated or variable.dtype not in ("bfloat16", "float16"):
            return None
        return self.add_variable_from_reference(variable, name="error")

    def _apply_weight_decay(self, variables):
        """Compensated variables decay in the step, before they are rounded."""
        if self.compensated:
            variables = [v for v in variables if v.dtype not in ("bfloat16", "float16")]
            variables = [v for v in variables if self._use_weight_decay(v)]
        if variables:
            super()._apply_weight_decay(variables)

    def get_config(self):
        """Every argument, for serialization."""
        own = {name: getattr(self, name) for name in (*self._own, "compensated")}
        return super().get_config() | own


def _rounded(x, dtype):
    """`x` with the precision of `dtype`; XLA may optimize a cast there and back away."""
    if keras.backend.backend() == "jax":
        import jax

        bits = {"bfloat16": (8, 7), "float16": (5, 10)}[dtype]
        return jax.lax.reduce_precision(x, *bits)
    if keras.backend.backend() == "torch":
        import torch

        if torch.compiler.is_compiling():
            return _rounded_by_bits(x, getattr(torch, dtype))
    return ops.cast(ops.cast(x, dtype), x.dtype)


def _sign(x):
    """The sign; NaN stays NaN on every backend."""
    return ops.where(ops.isnan(x), x, ops.sign(x))


@keras.saving.register_keras_serializable(package="discovered")
class Lion(_Optimizer):
    """See the top of the file."""

    _slots = ("m",)
    _bounds = (
        ("learning_rate", 0.0, math.inf),
        ("beta_1", 0.0, 1.0),
        ("beta_2", 0.0, 1.0),
        ("weight_decay", 0.0, math.inf),
    )
    _own = ("beta_1", "beta_2")

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.99,
        weight_decay=None,
        clipnorm=None,
        clipvalue=None,
        global_clipnorm=None,
        use_ema=False,
        ema_momentum=0.99,
        ema_overwrite_frequency=None,
        loss_scale_factor=None,
        gradient_accumulation_steps=None,
        name=None,
        *,
        compensated=False,
        **kwargs,
    ):
        own = {
            "beta_1": beta_1,
            "beta_2": beta_2,
        }
        super().__init__(
            learning_rate,
            weight_decay,
            compensated,
            own,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
            **kwargs,
        )

    def _step(self, lr, w, g, m):
        """One variable: what is subtracted from it, and the slots."""
        b1 = self.beta_1
        b2 = self.beta_2
        update = (1.0 - b1) * g + b1 * m
        update = _sign(update)
        m = (1.0 - b2) * g + b2 * m
        update = update * lr
        return (update, m)
