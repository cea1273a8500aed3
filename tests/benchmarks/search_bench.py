"""Proposing, driving and evaluating: what a search does per second, and what it keeps."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evolve.budget import PROGRAMS, Budget
from evolve.judge.tuning import shipped
from evolve.search.config import Config
from evolve.search.driver import Driver, worker_setup
from evolve.search.log import RunLog
from evolve.search.mutation import child_rng, mutate
from evolve.session import configured
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
#: After so many programs models of every size have been compiled.
SETTLED = 500


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


def driver_rate() -> None:
    """Children trained for each second of the driver's CPU, where workers cost it nothing."""
    rates = []
    for repeat in range(5):
        with free.search(seed=200 + repeat) as (driver, pool):
            free.run(driver, 200)
            before, spent = driver.state.evaluated, pool.driver_seconds
            free.run(driver, 2_000)
            trained = driver.state.evaluated - before
            rates.append(trained / (pool.driver_seconds - spent))
    report("trained_per_driver_second", rates)


def cheap_run(evaluations: int = 6_000) -> None:
    """The same in a whole run, with Ray, on a task that costs next to nothing."""
    config = _config(tasks=["tests.benchmarks.tasks:cheap"], seed=300, tune_start=False)
    with _run(config, workers=1) as driver:
        driver.add_budget(Budget("evals", evaluations))
        cpu = time.process_time()
        driver.search()
        spent = time.process_time() - cpu
        report("trained_per_driver_second_in_a_run", [driver.state.evaluated / spent])


def simulated_cluster(evaluations_of_a_seat: int = 40) -> None:
    """Share of the time that seats are busy whose trainings take 60 ms on average."""
    for seats in (4, 16, 64, 256):
        changes = {"seed": 400, "in_flight": max(16, 6 * seats)}
        with free.search(seats, 0.06, **changes) as (driver, pool):
            free.run(driver, 10 * seats)
            busy, began = pool.busy_seconds, pool.now
            free.run(driver, evaluations_of_a_seat * seats)
            share = (pool.busy_seconds - busy) / (seats * (pool.now - began))
            report("seats_busy", [share], seats=seats, in_flight=changes["in_flight"])


def long_run(most: int = 300_000) -> None:
    """What a trained child costs the driver, and what it remembers, as the log grows."""
    costs: dict[int, float] = {}
    with free.search(seed=500, look=False) as (driver, pool):
        for size in (10_000, 30_000, 100_000, most):
            driver.add_budget(Budget(PROGRAMS, size - 2_000 - driver.state.generated))
            driver.search()
            before, spent = driver.state.evaluated, pool.driver_seconds
            driver.add_budget(Budget(PROGRAMS, 2_000))
            driver.search()
            trained = driver.state.evaluated - before
            costs[size] = (pool.driver_seconds - spent) / trained
            report("driver_milliseconds_per_trained_child", [1000 * costs[size]], programs=size)
            report("driver_mebibytes", [_memory(os.getpid())["mebibytes"]], programs=size)
        report("cost_at_the_end_over_10K", [costs[most] / costs[10_000]], programs=most)


def search_run(programs: int = 1_000) -> None:
    """One run from AdamW: the driver's share, programs per evaluation, and its memory."""
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
        report("programs_per_evaluation", [driver.state.generated / driver.state.evaluated])
        report("evaluations_per_second", [driver.state.evaluated / wall])
    _report_memory(samples, "driver")


@contextmanager
def _run(
    config: Config, workers: int, observe: Callable[[Driver], None] = lambda driver: None
) -> Iterator[Driver]:
    """A search as `evolve run` sets it up; for tasks of its own the start is not tuned."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RunLog.create(Path(folder) / "run", {"config": config.to_json()}) as log,
        open_pool(worker_setup(config), workers) as pool,
    ):
        driver = Driver(log, pool, observe)
        if config.tune_start:
            tuned = shipped(pool.tasks, 1, config.start)
            assert tuned is not None
            driver.begin_with({"program": tuned.program})
        yield driver


def worker_memory(evaluations: int = SETTLED + 2_000) -> None:
    """Memory and mapped regions of a worker over 2,000 distinct programs."""
    samples: list[tuple[int, dict[str, float]]] = []
    with _run(_config(seed=101), workers=0) as driver:
        assert isinstance(driver.pool, SerialPool)
        driver._observe = _sampler(samples, driver.pool.process_ids[0])
        driver.add_budget(Budget("evals", evaluations))
        driver.search()
    _report_memory(samples, "worker")


def _sampler(
    samples: list[tuple[int, dict[str, float]]], pid: int | None = None
) -> Callable[[Driver], None]:
    def observe(driver: Driver) -> None:
        evaluated = driver.state.evaluated
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
