"""How long a run goes on: a time, a number of evaluations, of programs, or of training steps."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from evolve.errors import BadInput

SECONDS, EVALUATIONS, PROGRAMS, STEPS = "seconds", "evals", "programs", "steps"
_UNITS = {
    "s": (SECONDS, 1.0),
    "m": (SECONDS, 60.0),
    "h": (SECONDS, 3600.0),
    "d": (SECONDS, 86400.0),
    "evals": (EVALUATIONS, 1.0),
    "programs": (PROGRAMS, 1.0),
    "steps": (STEPS, 1.0),
}


class Budget(NamedTuple):
    """An amount of `seconds`, `evals` (distinct programs trained), `programs` (generated) or
    training `steps`.
    """

    kind: str
    amount: float

    def __str__(self) -> str:
        if self.kind == SECONDS:
            return duration(self.amount)
        return f"{self.amount:,.0f} {self.kind}"


class Closing(NamedTuple):
    """Training steps that a closing can use: with less than the least it is left out."""

    least: float = 0.0
    most: float = math.inf

    def takes(self, share: float, each: float) -> float:
        """Seconds of its share that it takes, where a training step takes so many."""
        return 0.0 if share < self.least * each else min(share, self.most * each)


def parse_budget(text: str) -> Budget:
    """Read `90s`, `30m`, `1.5h`, `20000evals`, `300000programs` or `5000000steps`.

    Raises:
        BadInput: if it is something else, or not more than nothing.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", str(text))
    known = match is not None and match[2] in _UNITS
    if match is None or not known or not 0 < float(match[1]) < math.inf:
        raise BadInput(
            f"the budget '{text}' is not understood; "
            "write a time like 90s, 30m or 2h, or a count like 20000evals or 300000programs"
        )
    kind, factor = _UNITS[match[2]]
    amount = float(match[1]) * factor
    if kind != SECONDS and amount != int(amount):
        raise BadInput(f"the budget '{text}' is not a whole number of {kind}; round it")
    return Budget(kind, amount)


def duration(seconds: float) -> str:
    """`75 -> 1m 15s`, for people."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
