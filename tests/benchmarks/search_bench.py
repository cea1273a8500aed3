"""Proposing, driving and evaluating: what a search does per second, and what it keeps."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evolve.command.run import configured
from evolve.search.budget import PROGRAMS, Budget
from evolve.search.config import Config
from evolve.search.driver import Driver
from evolve.search.log import RunLog
from evolve.search.mutation import child_rng, mutate
from evolve.search.session import worker_setup
from evolve.workers import Pool, Setup, open_pool
from evolve.workers.ray import RayPool
from evolve.workers.serial import ChildProcess, SerialPool
from primitives.abstract import analyse
from primitives.program import Program
from primitives.zoo import zoo
from tests.benchmarks import free
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


def _config(**changes: Any) -> Config:
    """That of `evolve run`, but for these settings."""
    return configured(changes)


def _setup() -> Setup:
    return worker_setup(_config())


def _request() -> dict[str, Any]:
    """Two trainings of AdamW."""
    return {
        "action": "evaluate",
        "split": "validation",
        "program": _config().start,
        "tasks": [TASK],
        "rung": 1,
        "seeds": [0, 1],
    }


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


def driver_per_child() -> None:
    """Milliseconds of the driver's CPU for a trained child, where trainings are free."""
    for size in (1_000, 3_000):
        spent = []
        for repeat in range(3):
            with free.search(seed=200 + repeat) as (driver, _):
                free.run(driver, size - 200)
                before, cpu = driver.evolution.evaluated, time.process_time()
                free.run(driver, 200)
                trained = driver.evolution.evaluated - before
                spent.append(1000 * (time.process_time() - cpu) / trained)
        report("driver_milliseconds_per_trained_child", spent, after=size)


def cheap_run(evaluations: int = 1_500) -> None:
    """A run of `evolve run` on a task that costs next to nothing: trained for each CPU second."""
    config = _config(tasks=["tests.benchmarks.tasks:cheap"], seed=300)
    with _run(config, workers=1) as driver:
        driver.add_budget(Budget("evals", evaluations))
        cpu = time.process_time()
        driver.search()
        spent = time.process_time() - cpu
        report("trained_per_driver_second", [driver.evolution.evaluated / spent])


def simulated_cluster(seconds: float = 30.0) -> None:
    """Share of the time that seats are busy whose trainings take 60 ms on average."""
    for seats in (4, 16, 64, 256):
        with free.search(seats, 0.06, seed=400, look_ahead=2 * seats) as (driver, pool):
            free.run(driver, 700)  # the start is tuned
            busy, began = pool.busy_seconds, time.monotonic()
            driver.add_budget(Budget("seconds", seconds))
            driver.search()
            wall = time.monotonic() - began
            report("seats_busy", [(pool.busy_seconds - busy) / (wall * seats)], seats=seats)


def search_run(programs: int = 20_000) -> None:
    """One run from AdamW: the driver's share, programs per evaluation, and flat memory."""
    samples: list[tuple[int, dict[str, float]]] = []
    with _run(_config(seed=100), workers=2, observe=_sampler(samples)) as driver:
        driver.add_budget(Budget(PROGRAMS, programs))
        cpu, began = time.process_time(), time.perf_counter()
        driver.search()
        wall = time.perf_counter() - began
        # The share of the cores' time that goes to the driver, where each worker has a core.
        share = (time.process_time() - cpu) / wall
        size = driver.pool.size
        report("driver_share", [share / size], of_one_core=share, workers=size)
        report("programs_per_evaluation", [driver.evolution.proposed / driver.evolution.evaluated])
        report("evaluations_per_second", [driver.evolution.evaluated / wall])
    _report_memory(samples, "driver")


@contextmanager
def _run(
    config: Config, workers: int, observe: Callable[[Driver], None] = lambda driver: None
) -> Iterator[Driver]:
    """A search as `evolve run` sets it up."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RunLog.create(Path(folder) / "run", {"config": config.to_json()}) as log,
        open_pool(worker_setup(config), workers) as pool,
    ):
        yield Driver(log, pool, observe)


def worker_memory(evaluations: int = SETTLED + 2000) -> None:
    """Memory and mapped regions of a worker over 2,000 distinct programs."""
    samples: list[tuple[int, dict[str, float]]] = []
    with _run(_config(seed=101), workers=0) as driver:
        assert isinstance(driver.pool, SerialPool)
        worker = driver.pool._seats[0].worker
        assert isinstance(worker, ChildProcess)
        driver._observe = _sampler(samples, worker._process.pid)
        driver.add_budget(Budget("evals", evaluations))
        driver.search()
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
