"""`evolve funnel`: champion and tuned start of a finished run at a larger rung."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from evolve.command.options import worker_count
from evolve.command.run import run_setup
from evolve.command.verdict import verdict
from evolve.errors import BadInput
from evolve.judge import ending
from evolve.judge.funnel import judge_outside
from evolve.judge.searched import Searched
from evolve.search.config import Config
from evolve.search.log import RunLog
from evolve.workers import open_pool

_RUNGS = {"x10": 10, "x100": 100}


def run(arguments: argparse.Namespace) -> None:
    """Compare at a rung, record it in the run's log and print it."""
    if arguments.rung not in _RUNGS:
        raise BadInput(f"--rung is '{arguments.rung}'; it must be one of {', '.join(_RUNGS)}")
    with RunLog.open(Path(arguments.run), write=True) as log:
        ending.require_finished(log)
        config = Config.from_json(log.meta("config"))
        workers = worker_count(arguments.workers, config)
        with open_pool(run_setup(log, config), workers) as pool:
            searched = Searched(log, pool, lambda doing: None)
            judge_outside(searched, _RUNGS[arguments.rung])
        found = ending.heldout(log, searched.untrained)
    assert found is not None
    compared = found["rungs"][arguments.rung]
    if arguments.json:
        print(json.dumps({"run": str(log.folder), "rung": arguments.rung, **compared}, indent=2))
    else:
        print(f"at {arguments.rung}: {verdict(compared['comparison'])}")
