"""Side by side timing: interleaved repeats, a median with its spread, one JSON line a figure."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def interleaved(
    first: Callable[[], object], second: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Time two actions in turn, so that both meet the same disturbances; order alternates."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        pair = [(first, times[0]), (second, times[1])]
        for action, kept in pair if repeat % 2 else pair[::-1]:
            kept.append(seconds(action))
    return times


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and a bootstrap 95 % interval for it."""
    rng = np.random.default_rng(0)
    resampled = np.median(rng.choice(np.asarray(values), (2000, len(values))), axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return median(values), float(low), float(high)


def report(figure: str, values: Sequence[float], **facts: object) -> None:
    """Print one figure: the median of `values` with its interval."""
    value, low, high = interval(values)
    line = {"figure": figure, "value": value, "low": low, "high": high, **facts}
    rounded = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()}
    print(json.dumps(rounded), flush=True)
