"""What every session of a search begins with: one function, for runs, studies and benchmarks."""

from __future__ import annotations

import os
import sys
from itertools import count

from evolve.search.config import Config
from evolve.workers import Setup
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text

#: What an optimizer may keep from step to step, whatever the search starts from (arXiv
#: 2302.06675, section 2.1: `m` and `v` in the signature). Mutations add no slot of their own.
SLOTS = 2


def with_slots(program: Program) -> Program:
    """With slots that lie idle, up to `SLOTS`: SGD keeps no momentum, but a child of it may."""
    slots = list(program.slots)
    taken = {*slots, *(statement.target for statement in program.statements)}
    names = (f"{letter}{number or ''}" for number in count() for letter in "mv")
    while len(slots) < SLOTS:
        slots.append(next(name for name in names if name not in taken))
    return Program(program.statements, tuple(slots))


def worker_setup(config: Config, log: str | None = None) -> Setup:
    """What the workers of a run need to know.

    Arguments:
        config: of the run.
        log: a file for what workers print; None discards it.
    """
    start = from_text(config.start)
    slots = len(analyse(start).slots)
    return Setup(
        request={
            "program": config.start,
            "tasks": list(config.tasks),
            "rung": 1,
            "seeds": list(range(config.replicates[-1])),
            "shares": [config.share(number, slots) for number in range(len(start.slots) + 2)],
            "stretch": config.stretches,
        },
        path=search_path(),
        log=log,
    )


def search_path() -> tuple[str, ...]:
    """Where workers look for modules: a user's task may lie in the working directory."""
    return (os.getcwd(), *(entry for entry in sys.path if entry))
