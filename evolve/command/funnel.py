"""`evolve funnel`: champion and tuned start of a finished run at a larger rung."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from evolve.errors import BadInput, quoted
from evolve.judge import ending, heldout
from evolve.judge.searched import Searched
from evolve.library.options import rung_of, worker_count
from evolve.library.verdict import compared
from evolve.search.config import Config
from evolve.search.log import RunLog
from evolve.session import run_setup
from evolve.workers import open_pool
from primitives.text import from_text


def run(arguments: argparse.Namespace) -> None:
    """Compare at a rung, record it in the run's log and print it."""
    rung = rung_of(arguments.rung, ("x10", "x100"))
    with RunLog.open(Path(arguments.run), write=True) as log:
        programs = _champion(log)
        config = Config.from_json(log.meta("config"))
        workers = worker_count(arguments.workers, config.tasks)
        with open_pool(run_setup(log, config), workers) as pool:
            searched = Searched(log, pool, lambda doing: None)
            for task, text in programs.items():
                data = heldout.compare(searched, task, rung, from_text(text), outside=True)
                with log.transaction():
                    # Not of the budget, so not of what equal budgets must have in common.
                    log.add_event(searched.here, ending.RUNG, data, True)
        rows = [row for row in ending.heldout(log) or [] if row["rung"] == arguments.rung]
    if arguments.json:
        print(json.dumps({"run": str(log.folder), "heldout": rows}, indent=2))
    else:
        print("\n".join(compared(row) for row in rows))


def _champion(log: RunLog) -> dict[str, str]:
    """The champion with its constants on each task.

    Raises:
        BadInput: if there is none, or nothing to compare it with.
    """
    ending.require_finished(log)
    found = ending.stage(log, ending.TOURNAMENT)
    if found is None or ending.stage(log, ending.COMPARISONS) is None:
        raise BadInput(
            f"'{log.folder}' was not judged to its end; "
            f"'evolve resume {quoted(log.folder)}' does it"
        )
    if ending.is_start(log):
        raise BadInput(
            f"the champion of '{log.folder}' is the tuned start itself, so there is nothing "
            f"to compare; 'evolve resume {quoted(log.folder)} --budget 30m' searches on"
        )
    programs: dict[str, str] = found["champion"]["programs"]
    return programs
