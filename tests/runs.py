"""Small runs in processes of their own, and moments of them at which something is done to them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import descendants, eventually, finish, gone, start

from evolve.errors import BadInput
from evolve.search.log import RunLog

SETTINGS = """
tasks = ["quadratic"]
seed = 3
population = 30
tune_start = false
in_flight = 8
closing_share = 0.0
"""
EVALUATIONS = 200


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs")
    (path / "run.toml").write_text(SETTINGS)
    return path


def begin(folder: Path, name: str, *more: object, **options: Any) -> subprocess.Popen[str]:
    config = ["--config", folder / "run.toml", "--out", folder / name]
    return start("run", *config, *(more or ["--budget", f"{EVALUATIONS}evals"]), **options)


def compared(run: Path) -> list[tuple[Any, ...]]:
    with RunLog.open(run) as log:
        return log.compared()


@pytest.fixture(scope="session")
def reference(folder: Path) -> Path:
    """A run that nothing disturbed."""
    budget = ["--budget", f"{EVALUATIONS}evals", "--workers", 0]
    code, out, err = finish(begin(folder, "reference", *budget))
    assert (code, err) == (0, "")
    assert f"evolve resume {folder / 'reference'} --budget 30m" in out
    return folder / "reference"


Moment = Callable[[RunLog], bool]


def count(query: str, least: int) -> Moment:
    return lambda log: log.select(f"SELECT count(*) FROM {query}")[0][0] >= least


BEFORE: Moment = lambda log: True  # noqa: E731
BEGUN = count("programs WHERE outcome IS NOT NULL", 5)
SEARCH = count("programs WHERE outcome IS NOT NULL", 70)
LATE = count("programs WHERE outcome IS NOT NULL", 140)


def reached(run: Path, moment: Moment) -> bool:
    try:
        with RunLog.open(run) as log:
            return moment(log)
    except BadInput:  # it is not there yet
        return False


def stop(process: subprocess.Popen[str], run: Path, moment: Moment, how: int) -> tuple[int, str]:
    """Wait for a moment of a run, then send a signal; what it printed to standard error."""
    try:
        assert eventually(lambda: reached(run, moment) or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        # Ray's own agents look for their parent now and then, and end within a minute.
        family = set(descendants(process.pid)) - set(descendants(process.pid, "gent"))
        if how == signal.SIGINT:  # as a terminal does: to all
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        code, _, err = finish(process, 60)
    finally:
        process.kill()
    assert gone(family, 30), "workers outlive their driver"
    return code, err


def unfinished(run: Path) -> bool:
    with RunLog.open(run) as log:
        return not log.events("finished")
