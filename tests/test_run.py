"""Whole runs in processes of their own: killed, interrupted, resumed, on any workers."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from processes import environment, eventually, evolve, finish, start
from runs import (
    BEFORE,
    BEGUN,
    EVALUATIONS,
    LATE,
    SEARCH,
    Moment,
    begin,
    compared,
    reached,
    stop,
    unfinished,
)
from strategies import LONG

from evolve.errors import quoted
from evolve.search.log import RunLog
from evolve.summary import summarize

UNWRITABLE = environment(HOME="/proc/1/nobody", XDG_CACHE_HOME="/proc/1/nobody/cache")


def test_the_reference_went_through_every_phase(reference: Path) -> None:
    with RunLog.open(reference) as log:
        summary = summarize(log)
    assert (summary["state"], summary["running"]) == ("finished", False)
    assert summary["evaluated"] == EVALUATIONS
    assert summary["heldout"] is None and summary["closed"], "there was no closing"
    assert summary["champion"]["fitness"] > 0


@pytest.mark.promise(4)
@pytest.mark.parametrize("workers", [1, 2, 4] if LONG else [1, 2])
def test_the_log_does_not_depend_on_the_workers(
    folder: Path, reference: Path, workers: int
) -> None:
    """Here also without a home folder that Ray or we could write to."""
    name = f"workers {workers}"
    budget = ["--budget", f"{EVALUATIONS}evals", "--workers", workers]
    code, _, err = finish(begin(folder, name, *budget, "--quiet", env=UNWRITABLE))
    assert (code, err) == (0, "")
    assert compared(folder / name) == compared(reference)


@pytest.mark.slow
@pytest.mark.promise(1)
def test_a_run_that_was_killed_goes_on_as_if_it_never_had(folder: Path, reference: Path) -> None:
    """And as if its workers had always been as many."""
    run = folder / "killed"
    process = begin(folder, "killed", "--budget", f"{EVALUATIONS}evals", "--workers", 0)
    resume_command = f"evolve: interrupted; go on with: evolve resume {run}\n"
    ends: list[tuple[Moment, int, int]] = [
        (BEFORE, signal.SIGKILL, 0),
        (BEGUN, signal.SIGKILL, 1),
        (SEARCH, signal.SIGINT, 0),
        (LATE, signal.SIGTERM, 0),
    ]
    for moment, how, next_workers in ends:
        code, err = stop(process, run, moment, how)
        assert unfinished(run), "the moment was missed"
        if how == signal.SIGKILL:
            assert code == -signal.SIGKILL
        else:
            assert (code, err) == (128 + how, resume_command)
        process = start("resume", run, "--workers", next_workers, "--quiet")
    code, out, err = finish(process)
    assert (code, err) == (0, "")
    assert "The best of them so far is #" in out
    assert compared(run) == compared(reference)
    with RunLog.open(run) as log:
        assert len(log.select("SELECT number FROM sessions")) == len(ends)  # BEFORE was before any


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    ("how", "workers", "delay"),
    [
        (signal.SIGINT, 0, 0.5),
        (signal.SIGTERM, 0, 1.5),
        (signal.SIGTERM, 1, 1.0),
    ],
)
def test_a_signal_while_workers_start(folder: Path, how: int, workers: int, delay: float) -> None:
    name = f"{how} {workers} {delay}"
    process = begin(folder, name, "--budget", "100000evals", "--workers", workers)

    def late_enough(log: RunLog, began: float = time.monotonic()) -> bool:
        return time.monotonic() - began > delay

    code, err = stop(process, folder / name, late_enough, how)
    assert code == 128 + how, err
    assert f"evolve resume {quoted(folder / name)}" in err


@pytest.fixture
def running(folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A run that goes on until the test ends."""
    run = folder / f"running {request.node.name}"
    process = begin(folder, run.name, "--budget", "100000evals", "--workers", 0)
    assert eventually(lambda: reached(run, SEARCH))
    yield run
    code, err = stop(process, run, SEARCH, signal.SIGTERM)
    assert code == 143 and f"evolve resume {quoted(run)}" in err


@pytest.mark.promise(10)
def test_a_running_run_is_busy_and_can_be_looked_at(running: Path) -> None:
    code, out, err = evolve("resume", running, "--workers", 0)
    assert (code, out) == (3, "")
    assert err == f"evolve: another process works on '{running}'; wait for it or stop it\n"
    previous = 0
    for _ in range(20):
        with RunLog.open(running) as log:
            summary = summarize(log)
        assert (summary["state"], summary["running"]) == ("unfinished", True)
        assert sum(summary["outcomes"].values()) == summary["evaluated"] >= previous
        previous = summary["evaluated"]
    code, out, _ = evolve("inspect", running)
    assert code == 0 and "champion" in out and out.startswith(f"{running}: going on")
    code, _, err = evolve("run", "--out", running, "--budget", "1evals", "--workers", 0)
    assert code == 2 and "exists already" in err


def test_a_budget_of_time_ends(folder: Path) -> None:
    code, _, err = finish(begin(folder, "timed", "--budget", "2s", "--workers", 0, "--quiet"))
    assert (code, err) == (0, "")
    with RunLog.open(folder / "timed") as log:
        summary = summarize(log)
    assert summary["state"] == "finished"
    assert summary["seconds"] >= 2


def test_an_added_budget_goes_on(folder: Path, reference: Path) -> None:
    run = folder / "added"
    shutil.copytree(reference, run)
    code, out, err = evolve("resume", run, "--workers", 0, "--budget", "30evals")
    assert (code, err) == (0, "")
    with RunLog.open(run) as log:
        assert summarize(log)["evaluated"] == EVALUATIONS + 30
        goes_on = [replace(record, fitness=None) for record in log.records()]
    with RunLog.open(reference) as log:  # later rows may tell more of a program's fitness
        programs = [replace(record, fitness=None) for record in log.records()]
    assert len(programs) > EVALUATIONS and goes_on[: len(programs)] == programs
    assert f"{EVALUATIONS + 30} of them trained" in out


OWN = '''
"""A user's task."""
from dataclasses import dataclass
import jax.numpy as jnp
import numpy as np
from proxy_tasks.task import Splits, Task

@dataclass(frozen=True, kw_only=True)
class Line(Task):
    name: str = "line"
    width: int = 4
    batch: int = 8
    steps: int = 50

    def splits(self):
        x = np.random.default_rng(0).standard_normal((96, self.width)).astype(np.float32)
        return Splits((x[:32],), (x[32:64],), (x[64:],))

    def init(self, key):
        return {"w": jnp.zeros(self.width)}

    def loss(self, params, batch):
        (x,) = batch
        print("a loss is traced")
        return jnp.mean((x @ params["w"] - x.sum(1)) ** 2)
'''


def test_a_users_task_from_the_working_directory(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tasks.py").write_text(OWN)
    (tmp_path / "start.txt").write_text(
        "def train(w, g, lr):\n    x = g * 0.01\n    update = x * lr\n    return update\n"
    )
    (tmp_path / "own.toml").write_text("tune_start = false\npopulation = 10\nstart = 'start.txt'\n")
    own = ["--tasks", "mine.tasks:Line,quadratic", "--config", "own.toml", "--budget", "25evals"]
    code, out, err = evolve("run", *own, "--workers", 0, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "that trains mine.tasks:Line, quadratic better than start.txt" in out
    assert "a loss is traced" in (tmp_path / "runs" / "1" / "workers.log").read_text()
    with RunLog.open(tmp_path / "runs" / "1") as log:
        summary = summarize(log)
    assert set(summary["provenance"]["data"]) == {"mine.tasks:Line", "quadratic"}
    assert summary["provenance"]["config"]["start"].startswith("def train(w, g, m, v, lr):")
