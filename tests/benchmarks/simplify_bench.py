"""Simplification: how long the proven steps take."""

from __future__ import annotations

import subprocess
import sys

from tests.benchmarks.measure import report, seconds

#: A process of its own, so that importing sympy and JAX counts.
_COMMAND = [sys.executable, "-m", "evolve.cli", "simplify", "paper-program-8", "--proven"]


def simplify_seconds() -> None:
    """Seconds of the exact, algebraic and limit steps of Program 8, start to end."""
    times = [
        seconds(lambda: subprocess.run(_COMMAND, check=True, capture_output=True)) for _ in range(5)
    ]
    report("simplify_proven_seconds", times)
