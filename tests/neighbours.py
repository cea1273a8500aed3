"""Programs around the sign optimizers: what an identifier of families is tested on.

Each is one to six mutations of the search away from a centre, so most look like what a
search leaves behind: dead statements, odd constants, statements that cancel.
"""

from __future__ import annotations

from functools import cache

from evolve.search.mutation import child_rng, mutate
from primitives.program import Program
from primitives.text import from_text, to_text
from primitives.zoo import zoo

MOST_EDITS = 6

_FROM_ZOO = ("lion", "signum", "tiger", "signsgd", "paper-program-8", "paper-program-4")

_DECAY = "wd = w * 0.1; update = update + wd; lr = lr * 0.0001; update = update * lr"

#: Slots and statements of the centres that are in no zoo.
_WRITTEN: dict[str, tuple[str, str]] = {
    "adamw-sign": (
        "m v",
        "g2 = square(g); m = interp(g, m, 0.9); v = interp(g2, v, 0.999); sqrt_v = sqrt(v); "
        "update = m / sqrt_v; update = sign(update); wd = w * 0.01; update = update + wd; "
        "lr = lr * 0.001; update = update * lr",
    ),
    "lion-second-slot": (
        "m v",
        "update = interp(g, m, 0.9); update = sign(update); m = interp(g, m, 0.99); "
        f"g2 = square(g); v = interp(g2, v, 0.999); {_DECAY}",
    ),
    "lion-no-decay": (
        "m",
        "update = interp(g, m, 0.9); update = sign(update); m = interp(g, m, 0.99); "
        "lr = lr * 0.0001; update = update * lr",
    ),
    "lion-other-betas": (
        "m",
        f"update = interp(g, m, 0.95); update = sign(update); m = interp(g, m, 0.98); {_DECAY}",
    ),
    "lion-beta1-above-beta2": (
        "m",
        f"update = interp(g, m, 0.99); update = sign(update); m = interp(g, m, 0.9); {_DECAY}",
    ),
    "lion-beta1-outside": (
        "m",
        f"update = interp(g, m, 1.2); update = sign(update); m = interp(g, m, 0.99); {_DECAY}",
    ),
    "lion-beta2-outside": (
        "m",
        f"update = interp(g, m, 0.9); update = sign(update); m = interp(g, m, 1.01); {_DECAY}",
    ),
    "lion-equal-betas": (
        "m",
        f"update = interp(g, m, 0.9); update = sign(update); m = interp(g, m, 0.9); {_DECAY}",
    ),
    "nesterov-sign": (
        "m",
        "m = m * 0.9; m = m + g; update = m * 0.9; update = update + g; update = sign(update); "
        "lr = lr * 0.001; update = update * lr",
    ),
    "paper-program-8-linear": (
        "m v",
        "m = interp(g, v, 0.8999999761581421); v1 = m * m; "
        "v = interp(g, m, 1.109133005142212); lr = lr * 0.0002171761734643951; "
        "update = m * lr; v1 = sqrt(v1); update = update / v1; wd = lr * 0.4601978361606598; "
        "wd = wd * w; m = cosh(update); update = update + wd",
    ),
    "lion-soft-sign": (
        "m",
        "update = interp(g, m, 0.9); size = abs(update); update = update / size; "
        f"m = interp(g, m, 0.99); {_DECAY}",
    ),
}


def program(slots: str, statements: str) -> Program:
    """A program from the names of its slots and its statements, separated by semicolons."""
    names = slots.split()
    lines = [
        f"def train({', '.join(['w', 'g', *names, 'lr'])}):",
        *statements.split("; "),
        f"return {', '.join(['update', *names])}",
    ]
    return from_text("\n    ".join(lines) + "\n")


@cache
def centres() -> dict[str, Program]:
    """The programs that neighbours start from, by name."""
    written = {name: program(*parts) for name, parts in _WRITTEN.items()}
    return {name: zoo(name) for name in _FROM_ZOO} | written


def neighbours(count: int, seed: int) -> list[Program]:
    """Different valid programs, each one to six mutations away from a centre.

    The centres take turns; the number of edits is drawn, few more often than many. A
    longer list begins with the shorter one of the same seed.
    """
    starts = list(centres().values())
    found: dict[str, Program] = {}
    number = 0
    while len(found) < count:
        rng = child_rng(seed, number)
        child = starts[number % len(starts)]
        edits = min(rng.randint(1, MOST_EDITS), rng.randint(1, MOST_EDITS))
        for _ in range(edits):
            child = mutate(child, rng).program
        found.setdefault(to_text(child), child)
        number += 1
    return list(found.values())
