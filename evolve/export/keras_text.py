"""Source that is the same in every Keras export, or nearly."""

from __future__ import annotations

#: The arguments of the base class after the learning rate, with their defaults.
BASE = {
    "weight_decay": "None",
    "clipnorm": "None",
    "clipvalue": "None",
    "global_clipnorm": "None",
    "use_ema": "False",
    "ema_momentum": "0.99",
    "ema_overwrite_frequency": "None",
    "loss_scale_factor": "None",
    "gradient_accumulation_steps": "None",
    "name": "None",
}

#: What the lines may call.
HELPERS = {
    "_sign": '''
def _sign(x):
    """The sign; NaN stays NaN on every backend."""
    return ops.where(ops.isnan(x), x, ops.sign(x))
''',
    "_tree_sum": '''
def _tree_sum(arrays):
    """The sum over all arrays."""
    return sum(ops.sum(x) for x in arrays)
''',
}

#: How a step ends.
PLAIN = "self.assign_sub(variable, UPDATE)"
COMPENSATED = """\
error = self._errors[i]
if error is None:
    self.assign_sub(variable, UPDATE)
    return
# The weight is the sum of what is stored and of its error.
exact = ops.cast(ops.stop_gradient(ops.convert_to_tensor(variable)), wide)
exact = exact + ops.cast(error, wide)
if self.weight_decay is not None and self._use_weight_decay(variable):
    exact = exact - exact * self.weight_decay * lr
exact = exact - UPDATE
stored = _rounded(exact, variable.dtype)
self.assign(variable, stored)
self.assign(error, exact - stored)"""
ROUNDED = '''
def _rounded(x, dtype):
    """`x` with the precision of `dtype`; XLA may optimize a cast there and back away."""
    if keras.backend.backend() == "jax":
        import jax

        bits = {"bfloat16": (8, 7), "float16": (5, 10)}[dtype]
        return jax.lax.reduce_precision(x, *bits)
    return ops.cast(ops.cast(x, dtype), x.dtype)
'''
DECAYED = '''
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
'''
