"""What every exported optimizer says of a hyperparameter that makes no sense."""

from __future__ import annotations

import math
import numbers


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
