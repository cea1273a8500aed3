"""Proposing, driving and evaluating: what a search does per second, and what it keeps."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evolve.search.budget import PROGRAMS, Budget
from evolve.search.config import Config
from evolve.search.driver import Driver
from evolve.search.log import RunLog
from evolve.search.mutation import child_rng, mutate
from evolve.search.pool import Pool, Setup, open_pool
from evolve.search.pool.ray import RayPool
from evolve.search.pool.serial import ChildProcess, SerialPool
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import to_text
from primitives.zoo import zoo
from tests.benchmarks.measure import report

TASK = "text_transformer"
STATEMENTS, LIVE = 25, range(7, 10)
#: After so many programs the start is tuned, and models of every size have been compiled.
SETTLED = 1500


def _grown_programs(count: int) -> list[Program]:
    """Programs of 25 statements, about two thirds of them dead, grown from AdamW."""
    found: list[Program] = []
    number = 0
    while len(found) < count:
        program = zoo("adamw")
        while len(program.statements) < STATEMENTS:
            mutant = mutate(program, child_rng(0, number))
            number += 1
            if mutant.analysis.statements in LIVE:
                program = mutant.program
        found.append(program)
    return found


def propose_per_second() -> None:
    """Mutate until valid, analyse, hash and look up: children per second on one core."""
    parents = _grown_programs(50)
    live = sum(analyse(p).statements for p in parents) / len(parents)
    rates = []
    for repeat in range(10):
        cache: dict[str, int] = {}
        began = time.perf_counter()
        for i in range(2000):
            child = mutate(parents[i % len(parents)], child_rng(repeat, i))
            cache.setdefault(child.analysis.functional_hash, i)
        rates.append(2000 / (time.perf_counter() - began))
    report("propose_per_second", rates, statements=STATEMENTS, live=live)


def _setup() -> Setup:
    request = {"program": to_text(zoo("adamw")), "tasks": [TASK], "rung": 1, "seeds": [0, 1]}
    return Setup(request, path=tuple(p for p in (os.getcwd(), *sys.path) if p))


def _request() -> dict[str, Any]:
    return {"action": "evaluate", "split": "validation", **_setup().request}


def _pool_rate(pool: Pool, busy: int, count: int) -> float:
    """Evaluations per second with so many requests in flight."""
    began = time.perf_counter()
    for key in range(busy):
        pool.submit(key, _request(), 60.0)
    for key in range(busy, count + busy):
        assert pool.next(60.0) is not None
        if key < count:
            pool.submit(key, _request(), 60.0)
    return count / (time.perf_counter() - began)


def _bare_rate(workers: list[ChildProcess], count: int) -> float:
    """Evaluations per second of bare processes, without any pool."""
    began = time.perf_counter()
    for worker in workers:
        worker.send([_request()])
    done = 0
    while done < count:
        for worker in workers:
            if worker.receive() is not None:
                done += 1
                worker.send([_request()])
        time.sleep(0.0005)
    rate = done / (time.perf_counter() - began)
    for worker in workers:
        while worker.receive() is None:
            time.sleep(0.0005)
    return rate


def workers_2_over_1() -> None:
    """Evaluations per second of two Ray workers over one, and over two bare processes."""
    bare = [ChildProcess(_setup()) for _ in range(2)]
    for worker in bare:
        worker.send([{"action": "prepare", **_setup().request}])
    for worker in bare:
        while worker.receive() is None:
            time.sleep(0.01)
    ratios, shares, scaling = [], [], []
    with RayPool(_setup(), 2) as pool:
        _pool_rate(pool, 2, 4)
        _bare_rate(bare, 4)
        for _ in range(10):
            one, two = _pool_rate(pool, 1, 20), _pool_rate(pool, 2, 40)
            both, single = _bare_rate(bare, 40), _bare_rate(bare[:1], 20)
            ratios.append(two / one)
            shares.append(two / both)
            scaling.append(both / single)
    for worker in bare:
        worker.kill()
    report("workers_2_over_1", ratios)
    report("workers_2_over_two_bare_processes", shares)
    report("two_bare_processes_over_one", scaling)


def search_run(programs: int = 20_000) -> None:
    """One run from AdamW: the driver's share, programs per evaluation, and flat memory."""
    samples: list[tuple[int, dict[str, float]]] = []
    config = Config(start=to_text(zoo("adamw")), seed=100)
    with (
        tempfile.TemporaryDirectory() as folder,
        RunLog.create(Path(folder) / "run", {"config": config.to_json()}) as log,
        open_pool(_setup(), 2) as pool,
    ):
        driver = Driver(log, pool, _sampler(samples))
        driver.add_budget(Budget(PROGRAMS, programs))
        cpu, began = time.process_time(), time.perf_counter()
        driver.run()
        wall = time.perf_counter() - began
        # The share of the cores' time that goes to the driver, where each worker has a core.
        share = (time.process_time() - cpu) / wall
        report("driver_share", [share / pool.size], of_one_core=share, workers=pool.size)
        report("programs_per_evaluation", [driver.evolution.proposed / driver.evolution.evaluated])
        report("evaluations_per_second", [driver.evolution.evaluated / wall])
    _report_memory(samples, "driver")


def worker_memory(evaluations: int = SETTLED + 2000) -> None:
    """Memory and mapped regions of a worker over 2,000 distinct programs."""
    samples: list[tuple[int, dict[str, float]]] = []
    config = Config(start=to_text(zoo("adamw")), seed=101)
    with (
        tempfile.TemporaryDirectory() as folder,
        RunLog.create(Path(folder) / "run", {"config": config.to_json()}) as log,
        SerialPool(_setup()) as pool,
    ):
        worker = pool._seats[0].worker
        assert isinstance(worker, ChildProcess)
        driver = Driver(log, pool, _sampler(samples, worker._process.pid))
        driver.add_budget(Budget("evals", evaluations))
        driver.run()
    _report_memory(samples, "worker")


def _sampler(
    samples: list[tuple[int, dict[str, float]]], pid: int | None = None
) -> Callable[[Driver], None]:
    def observe(driver: Driver) -> None:
        evaluated = driver.evolution.evaluated
        if not samples or evaluated >= samples[-1][0] + 50:
            samples.append((evaluated, _memory(pid or os.getpid())))

    return observe


def _memory(pid: int) -> dict[str, float]:
    """Resident mebibytes and mapped regions of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    kibibytes = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmRSS"))
    regions = len(Path(f"/proc/{pid}/maps").read_text().splitlines())
    return {"mebibytes": kibibytes / 1024, "regions": float(regions)}


def _report_memory(samples: list[tuple[int, dict[str, float]]], process: str) -> None:
    """Growth from a settled state to the last program trained."""
    first = next((s for s in samples if s[0] >= SETTLED), samples[0])
    last = samples[-1]
    for what in ("mebibytes", "regions"):
        growth = last[1][what] - first[1][what]
        facts = {"from": first[1][what], "to": last[1][what], "programs": last[0] - first[0]}
        report(f"{process}_{what}_growth", [growth], **facts)
