"""Runs that are killed, poisoned, interrupted or very long.

`make soak` runs the long form of these and of the others that carry the mark `promise`.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Tried
from fakes import config
from processes import descendants, eventually, evolve, finish, gone, start
from runs import BEGUN, EVALUATIONS, begin, compared, reached
from strategies import LONG, examples
from test_driver import search
from test_evaluation import evaluate
from test_pools import outcome

from evolve.budget import PROGRAMS, Budget
from evolve.errors import EvolveError
from evolve.search.log import FILE, RunLog
from evolve.summary import summarize
from evolve.workers import SerialPool, Setup
from proxy_tasks import status

HERE = Path(__file__).parent


@pytest.mark.promise(1)
def test_a_kill_before_any_statement_of_sql_changes_nothing(tried: Tried) -> None:
    command = [sys.executable, "killed.py", str(examples(8, 1000))]
    done = subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["wrong"] == [], done.stderr
    assert found["killed"] >= examples(8, 1000) and found["statements"] > 1000
    tried("kills between statements", found["killed"])


@pytest.mark.promise(1)
@pytest.mark.parametrize("workers", [0, 2] if LONG else [0])
def test_a_kill_at_any_moment_changes_nothing(
    folder: Path, reference: Path, workers: int, tried: Tried
) -> None:
    """By the clock: also while a worker trains, or starts."""
    name, kills, killed = f"kills {workers}", examples(2, 20), 0
    chance = random.Random(workers)
    process = begin(folder, name, "--budget", f"{EVALUATIONS}evals", "--workers", workers)
    for _ in range(kills):
        try:
            process.wait(chance.uniform(0.5, 4.0 if workers == 0 else 8.0))
        except subprocess.TimeoutExpired:
            family = descendants(process.pid)
            process.kill()
            finish(process)
            killed += 1
            assert gone(set(family) - set(descendants(os.getpid(), "gent")), 60)
        if (folder / name / FILE).exists() and budgeted(folder / name):
            process = start("resume", folder / name, "--workers", workers, "--quiet")
        else:
            shutil.rmtree(folder / name, ignore_errors=True)
            process = begin(folder, name, "--budget", f"{EVALUATIONS}evals", "--workers", workers)
    code, _, err = finish(process)
    assert (code, err) == (0, "")
    assert compared(folder / name) == compared(reference)
    tried("kills by the clock", killed)


def budgeted(run: Path) -> bool:
    try:
        return reached(run, lambda log: True)
    except EvolveError:
        return False


POISONED = """
tasks = ["tasks_that_fail:poisoned"]
start = "sgd"
seed = 3
population = 30
replicates = [1]
tune_start = false
in_flight = 8
objective = "loss"
hurdle_slack = [1e9, 1e9]
closing_share = 0.0
"""


@pytest.mark.promise(2)
def test_programs_that_end_their_worker_cost_themselves_alone(tmp_path: Path, tried: Tried) -> None:
    (tmp_path / "run.toml").write_text(POISONED)
    count, logs = examples(20, 200), []
    for workers in [0, 2] if LONG else [0]:
        run = tmp_path / str(workers)
        given = ["--config", tmp_path / "run.toml", "--budget", f"{count}evals", "--quiet"]
        process = start("run", *given, "--workers", workers, "--out", run, cwd=HERE)
        code, _, err = finish(process, 3000)
        assert (code, err) == (0, "")
        logs.append(compared(run))
        with RunLog.open(run) as log:
            trained = list(log.records("source IS NULL"))
        ends = Counter(record.outcome for record in trained)
        assert len(trained) == count and ends[status.CRASHED] and ends[status.FINISHED]
        tried("programs", count)
        tried("that ended their worker", ends[status.CRASHED])
    assert all(log == logs[0] for log in logs)
    chosen = (
        trained if LONG else [r for r in trained if r.outcome == status.CRASHED][:1] + trained[:8]
    )
    for record, answer in zip(chosen, alone([record.program for record in chosen]), strict=True):
        assert record.outcome == answer["outcome"]
        assert record.outcome == status.CRASHED or record.losses == answer["losses"]


def alone(programs: list[str]) -> Iterator[dict[str, Any]]:
    """What each comes to when it is the only request of its pool."""
    tasks = ["tasks_that_fail:poisoned"]
    request = {"program": programs[0], "tasks": tasks, "rung": 1, "seeds": [0]}
    with SerialPool(Setup(request, path=(str(HERE),))) as pool:
        for program in programs:
            yield outcome(pool, evaluate(program, tasks=tasks, seeds=[0]))


TWICE = """
import os, signal, sys, time
from evolve.library.interruption import Interruption

with Interruption("evolve resume runs/1").handled():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)  # it looks only now and then
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(60)
"""


@pytest.mark.promise(6)
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(second: int) -> None:
    command = [sys.executable, "-c", TWICE, str(int(second))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 128 + second
    assert done.stderr == "evolve: interrupted; go on with: evolve resume runs/1\n"


ONCE = """
import os, signal, time
from evolve.library import interruption

interruption._SOON = 0.1
one = interruption.Interruption("evolve resume runs/1")
with one.handled():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.5)  # algebra, say
    one.check()
"""


@pytest.mark.promise(6)
def test_a_signal_that_must_wait_is_answered_meanwhile() -> None:
    done = subprocess.run([sys.executable, "-c", ONCE], capture_output=True, text=True)
    said = "evolve: stopping at the next step; a second signal stops at once\n"
    assert done.stderr.startswith(said) and "interrupted; go on with" in done.stderr


ALGEBRA = """
import os, sys
from evolve.understand.child import ask
from primitives.zoo import zoo

ask("sleeper", zoo("sgd"), 60)
"""
SLEEPER = """
import time
from evolve.understand.child import read

read()
time.sleep(60)
"""


@pytest.mark.promise(3)
def test_algebra_ends_with_the_run_that_asked_for_it(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    parent = subprocess.Popen([sys.executable, "-c", ALGEBRA], cwd=tmp_path)
    try:
        assert eventually(lambda: descendants(parent.pid, "sleeper"))
        children = descendants(parent.pid, "sleeper")
    finally:
        parent.kill()
        parent.wait()
    assert gone(children)


def resident(pid: int) -> tuple[int, int] | None:
    """Memory of a process in KB, and its mapped regions; nothing of one that is ending."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        regions = Path(f"/proc/{pid}/maps").read_text().count("\n")
    except (FileNotFoundError, ProcessLookupError):
        return None
    size = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return (int(size[1]), regions) if size and regions else None


@pytest.mark.promise(11)
def test_the_memory_of_a_long_run_is_bounded(folder: Path, tried: Tried) -> None:
    """From a fifth of the programs on, of driver and worker."""
    count = examples(400, 5000)
    process = begin(folder, "long", "--budget", f"{count}evals", "--workers", 0, "--quiet")
    seen: list[tuple[int, dict[int, tuple[int, int]]]] = []
    while process.poll() is None:
        trained = trainings(folder / "long")
        if not seen or trained >= seen[-1][0] + count // 10:
            family = [process.pid, *descendants(process.pid)]
            sizes = {pid: resident(pid) for pid in family}
            seen.append((trained, {pid: size for pid, size in sizes.items() if size}))
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    code, _, err = finish(process)
    assert (code, err) == (0, "")
    whole = [(trained, each) for trained, each in seen if len(each) == 2]
    early = next(each for trained, each in whole if trained >= count // 5)
    trained, late = whole[-1]
    assert early.keys() == late.keys() and trained > count // 2
    for pid, (size, regions) in late.items():
        before, mapped = early[pid]
        assert size < before + 40_000, (before, size)
        assert regions < mapped + 200, (mapped, regions)
    tried("programs trained in one process", count)


def trainings(run: Path) -> int:
    if not reached(run, BEGUN):
        return 0
    with RunLog.open(run) as log:
        return int(summarize(log)["evaluated"])


@pytest.mark.promise(17)
def test_a_run_of_very_many_programs_can_be_read(
    tmp_path: Path, tried: Tried, capsys: pytest.CaptureFixture[str]
) -> None:
    count = examples(3000, 300_000)
    settings = config(population=200, in_flight=16)
    search(tmp_path / "run", settings, Budget(PROGRAMS, count))
    with RunLog.open(tmp_path / "run") as log:
        summary = summarize(log)
    assert summary["generated"] == count
    began = time.monotonic()
    code, out, err = evolve("inspect", tmp_path / "run")
    tried("ms to inspect it", round(1000 * (time.monotonic() - began)))
    assert (code, err) == (0, "") and f"{count:,} generated" in out
    began = time.monotonic()
    code, _, err = evolve("report", tmp_path / "run", "-o", tmp_path / "report.html")
    tried("ms to report it", round(1000 * (time.monotonic() - began)))
    assert (code, err) == (0, "")
    assert (tmp_path / "report.html").stat().st_size < 3_000_000
    tried("programs in one run", count)
    tried("MB of its file", (tmp_path / "run" / FILE).stat().st_size // 10**6)
