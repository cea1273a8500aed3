"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from evolve.errors import BadInput
from proxy_tasks.catalog import CATALOG, TaskError, resolve, resources

#: The sizes of tasks, by their names.
RUNGS = {"x1": 1, "x10": 10, "x100": 100}


def check_names(names: tuple[str, ...]) -> None:
    """Before any worker starts: that there are such tasks.

    Raises:
        BadInput: if there is one that is not.
    """
    for name in names:
        if name not in CATALOG:
            try:
                resolve(name)
            except TaskError as error:
                raise BadInput(str(error)) from None


def rung_of(rung: str, names: Sequence[str] = tuple(RUNGS)) -> int:
    """The size that a rung's name stands for, one of these.

    Raises:
        BadInput: if it is none.
    """
    if rung not in names:
        raise BadInput(f"--rung is '{rung}'; it must be one of {', '.join(names)}")
    return RUNGS[rung]


def whole_number(option: str, text: str) -> int:
    """The value of an option, above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise BadInput(f"{option} is '{text}'; it must be a whole number above 0")
    return int(text)


def worker_count(text: str, tasks: Iterable[str], in_flight: int | None = None) -> int:
    """How many workers are asked for; `auto` is as many as the cores of this machine have room for.

    Arguments:
        text: `auto` or a number.
        tasks: that workers train.
        in_flight: trainings that may be asked for at a time; None: any number.

    Raises:
        BadInput: if it is neither.
    """
    if text == "auto":
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        room = max((count or 1) // resources(tasks).cpus, 1)
        return room if in_flight is None else min(room, in_flight)
    if not text.isdecimal():
        raise BadInput(f"--workers is '{text}'; it must be auto, 0 or a whole number above 0")
    if in_flight is not None and int(text) > in_flight:
        print(
            f"warning: of {text} workers only {in_flight} can be busy; a new run may have "
            f"more with --in-flight {6 * int(text)}",
            file=sys.stderr,
        )
    return int(text)
