"""Sweeps that are kept in a run and shown in its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from evolve.judge.sweeps import BATCH, LR_DECAY
from evolve.programs import run_of
from evolve.search.log import RunLog
from evolve.summary import programs as count_of

#: What can be swept: the two grids of trainings, and the time of a step.
TIME = "time"
SWEEPS = (LR_DECAY, BATCH, TIME)
#: The kind of the event that keeps a sweep in a run.
SWEEP = "sweep"


@contextmanager
def kept(programs: Sequence[str]) -> Iterator[RunLog | None]:
    """The run, open for writing, that a sweep is kept in: the first PROGRAM that is a run folder.

    Raises:
        RunBusy: if a search goes on there.
    """
    runs = [folder for folder, number in map(run_of, programs) if folder and number is None]
    if not runs:
        yield None
        return
    with RunLog.open(runs[0], write=True) as log:
        yield log


def keep(log: RunLog, sweep: dict[str, Any]) -> None:
    """Record a sweep in a run; it is no part of what equal budgets must have in common."""
    with log.transaction():
        log.add_event(count_of(log), SWEEP, sweep, True)


def sweeps_of(log: RunLog) -> list[dict[str, Any]]:
    """The sweeps kept in a run since it last went on: of each kind, task and rung the latest."""
    here = count_of(log)
    found = {
        (data["sweep"], data["task"], data["rung"]): data
        for at, _, data in log.events(SWEEP)
        if at == here
    }
    return list(found.values())
