"""Runs that are killed before a statement of SQL, each in a process of its own.

A run is its log, so there is no other moment at which it could lose anything. Called with the
number of places; prints as JSON how many there are and at which the outcome was another.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakes import FakePool, config
from test_closing import PLENTY, _named_by_length, go_on

from evolve import closing
from evolve.budget import EVALUATIONS, Budget
from evolve.judge import tuning
from evolve.search import run_file
from evolve.search.log import RunLog
from evolve.understand import chain, naming

SETTINGS = config(closing_share=PLENTY)
BUDGET = Budget(EVALUATIONS, 25)


def quick() -> None:
    """No algebra, and a small tournament."""
    chain.found_by_child = lambda program, seconds: []
    naming.identify = _named_by_length  # type: ignore[assignment]
    closing.PLANS = (closing.Plan(4, (1, 1), 1), closing.PLANS[-1])
    tuning.FIRST = 16


def statements(folder: Path, kill_at: int | None = None, budget: Budget | None = BUDGET) -> int:
    """Go on with a run, in this process, and count the statements; killed before one of them."""
    count = 0
    configure = run_file.configure

    def traced(connection: Any) -> None:
        configure(connection)
        connection.set_trace_callback(counted)

    def counted(statement: str) -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    run_file.configure = traced
    try:
        go_on(folder, FakePool(SETTINGS), budget)
    finally:
        run_file.configure = configure
    return count


def in_child(work: Callable[[], Any]) -> int:
    """How a child process ends that does some work."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        work()
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)


def create(folder: Path) -> Path:
    RunLog.create(folder, {"config": SETTINGS.to_json(), "provenance": {}}).close()
    return folder


def compared(folder: Path) -> list[tuple[Any, ...]]:
    with RunLog.open(folder) as log:
        return log.compared()


def begun(folder: Path) -> bool:
    with RunLog.open(folder) as log:
        return bool(log.events("budget"))


def main(places: int) -> None:
    # JAX has threads, but nothing here waits for one: nothing is trained.
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
    quick()
    with tempfile.TemporaryDirectory() as parent:
        whole = create(Path(parent) / "whole")
        count = statements(whole)
        wanted, wrong = compared(whole), []
        step = max(1, count // places)
        tried = range(1 + count % step, count + 1, step)
        for place in tried:
            folder = create(Path(parent) / str(place))
            end = in_child(lambda folder=folder, place=place: statements(folder, place))
            if end != -signal.SIGKILL:
                wrong.append([place, end])
                continue
            budget = None if begun(folder) else BUDGET
            statements(folder, budget=budget)
            if compared(folder) != wanted:
                wrong.append([place, "differs"])
    print(json.dumps({"statements": count, "killed": len(tried), "wrong": wrong}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
