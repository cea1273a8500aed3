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
    beta_1: the weight of the second of two averaged terms (0.9 in the program).
    beta_2: the weight of the second of two averaged terms (0.99 in the program).
    weight_decay: decoupled, times the learning rate (0.1 in the program).

Provenance:
    source: paper
    reference: Chen et al. 2023, arXiv 2302.06675, Program 1
    program: discovered/programs/lion.txt
    largest difference from the reference interpreter in 20 steps: 1.2e-07
    written by: python -m evolve.export.shipped
"""

from __future__ import annotations

import keras
from keras import ops


def _sign(x):
    """The sign; NaN stays NaN on every backend."""
    return ops.where(ops.isnan(x), x, ops.sign(x))


def _rounded(x, dtype):
    """`x` with the precision of `dtype`; XLA may optimize a cast there and back away."""
    if keras.backend.backend() == "jax":
        import jax

        bits = {"bfloat16": (8, 7), "float16": (5, 10)}[dtype]
        return jax.lax.reduce_precision(x, *bits)
    return ops.cast(ops.cast(x, dtype), x.dtype)


@keras.saving.register_keras_serializable(package="discovered")
class Lion(keras.optimizers.Optimizer):
    """See the top of the file."""

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
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
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
        if beta_1 <= 0 or beta_1 > 1:
            raise ValueError(
                "Argument `beta_1` must be in the [0, 1] range. Otherwise, the optimizer "
                f"degenerates to SignSGD. Received: beta_1={beta_1}."
            )
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.compensated = compensated

    def build(self, variables):
        """Zeros for each slot and variable."""
        if self.built:
            return
        super().build(variables)
        self._slot_m = self.add_optimizer_variables(variables, "m")
        self._errors = [self._error_of(variable) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        """One step of one variable."""
        i = self._get_variable_index(variable)
        wide = keras.backend.result_type(variable.dtype, "float32")
        g = ops.cast(gradient, wide)
        m = ops.cast(self._slot_m[i], wide)
        lr = ops.cast(learning_rate, wide)
        b1 = self.beta_1
        b2 = self.beta_2
        update = (1.0 - b1) * g + b1 * m
        update = _sign(update)
        m = (1.0 - b2) * g + b2 * m
        update = update * lr
        self.assign(self._slot_m[i], m)
        error = self._errors[i]
        if error is None:
            self.assign_sub(variable, update)
            return
        # The weight is the sum of what is stored and of its error.
        exact = ops.cast(ops.stop_gradient(ops.convert_to_tensor(variable)), wide)
        exact = exact + ops.cast(error, wide)
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
        """Compensated variables decay in `update_step`, before they are rounded."""
        if self.compensated:
            variables = [v for v in variables if v.dtype not in ("bfloat16", "float16")]
        if variables:
            super()._apply_weight_decay(variables)

    def get_config(self):
        """Every argument, for serialization."""
        own = {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "compensated": self.compensated,
        }
        return super().get_config() | own
