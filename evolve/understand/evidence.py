"""What shows that two programs do the same: both are run on one recorded stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evolve.understand.stream import recorded, updates
from primitives.functions import EPSILON
from primitives.program import Program

#: The largest difference that rounding may make, relative to the step's largest update.
TOLERANCE = 1e-4
#: The share of elements that may differ by more: those beside a jump of the program.
JUMPS = 1e-3
#: A magnitude is well above eps if it is so many times eps; the share that is not is capped.
WELL_ABOVE, EXCLUDED = 1e2, 0.05


def exact(before: Program, after: Program) -> dict[str, Any]:
    """Whether the updates are equal, bit for bit."""
    first, second = updates(before, recorded()), updates(after, recorded())
    return {"holds": bool(np.array_equal(first, second, equal_nan=True)), "elements": first.size}


def algebraic(before: Program, after: Program) -> dict[str, Any]:
    """Whether the updates are equal but for rounding, where both are finite."""
    differences = _differences(before, after)
    return _verdict(differences, np.isfinite(differences))


def limit(before: Program, after: Program, divisors: Sequence[Program]) -> dict[str, Any]:
    """Whether the updates are equal where what was divided by is well above eps.

    Arguments:
        divisors: programs whose update is what is divided by (without eps), at every
            place where a limit was taken. Where it is exactly zero, so is its sign.
    """
    differences = _differences(before, after)
    sizes = np.stack([np.abs(updates(divisor, recorded())) for divisor in divisors])
    near = np.any((sizes > 0) & (sizes < WELL_ABOVE * EPSILON), axis=0)
    kept = np.isfinite(differences) & ~near
    bound = float(EPSILON / np.min(sizes, where=(sizes > 0) & ~near, initial=np.inf))
    verdict = _verdict(differences, kept, tolerance=1 / WELL_ABOVE)
    verdict |= {"excluded": float(near.mean()), "largest_excluded": EXCLUDED, "bound": bound}
    return {**verdict, "holds": verdict["holds"] and bool(near.mean() <= EXCLUDED)}


def _differences(before: Program, after: Program) -> np.ndarray:
    """Element by element, relative to the largest finite update of the step."""
    first, second = updates(before, recorded()), updates(after, recorded())
    with np.errstate(all="ignore"):
        sizes = np.where(np.isfinite(first), np.abs(first), 0.0).max(axis=1, keepdims=True)
        return np.abs(first - second) / np.maximum(sizes, np.finfo(np.float32).tiny)


def _verdict(
    differences: np.ndarray, compared: np.ndarray, tolerance: float = TOLERANCE
) -> dict[str, Any]:
    values = differences[compared]
    apart = float(np.mean(values > tolerance)) if values.size else 1.0
    small = values[values <= tolerance]
    return {
        "holds": bool(values.size and apart <= JUMPS),
        "difference": float(small.max()) if small.size else None,
        "beside_jumps": apart,
        "elements": int(values.size),
    }
