"""Pools: how they start and end, and their bookkeeping."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from processes import descendants, gone
from tasks_that_fail import HANG, HOLD, KILLED, PRINT, START
from test_evaluation import DESCENT, TROUBLE, evaluate, setting
from test_pools import HERE, LIMIT, collect, outcome

from evolve.errors import BadInput, PoolError
from evolve.workers import Pool, SerialPool, Setup, open_pool
from evolve.workers.base import Died, Worker
from proxy_tasks import status
from proxy_tasks.status import Answer, Request

#: Ray forks; JAX, which other tests imported into this process, warns of that.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")

PREPARE = {"program": DESCENT, "tasks": [TROUBLE], "rung": 1, "seeds": [0, 1]}
SETUP = Setup(PREPARE, path=(HERE,))


def workers() -> set[int]:
    return set(descendants(os.getpid(), "workers.worker"))


def test_close_ends_the_workers() -> None:
    others = workers()
    with SerialPool(SETUP) as pool:
        pids = workers() - others
        assert len(pids) == 1
        pool.submit(0, evaluate(setting(10 * HANG)), LIMIT)
        assert pool.next(0.5) is None
    assert gone(pids)
    assert pool.next(0.0) is None


def test_a_worker_that_dies_between_evaluations_is_replaced() -> None:
    """Nobody is blamed for it, and the request is done by the next worker, however often."""
    others = workers()
    with SerialPool(SETUP) as pool:
        for _ in range(2):
            (pid,) = workers() - others
            os.kill(pid, signal.SIGKILL)
            assert gone([pid])
            assert outcome(pool, evaluate(DESCENT))["outcome"] == status.FINISHED


@pytest.mark.promise(2)
def test_a_worker_that_is_killed_at_work_is_a_crash() -> None:
    others = workers()
    with SerialPool(SETUP) as pool:
        (pid,) = workers() - others
        pool.submit(0, evaluate(setting(10 * HANG)), LIMIT)
        assert pool.next(0.5) is None
        os.kill(pid, signal.SIGKILL)
        answer = collect(pool, 1)[0].answer
        assert answer["outcome"] == status.CRASHED
        assert answer["detail"] == "the worker process ended with signal SIGKILL"


class _Told(Exception):
    pass


def _tell(number: int, frame: object) -> None:
    raise _Told(number)


def test_a_signal_while_ray_starts_is_handled_when_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    from evolve.workers import ray

    done: list[str] = []

    def init(**options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)  # the main thread looks at the signal meanwhile
        done.append("init")

    monkeypatch.setattr(ray.ray, "init", init)
    monkeypatch.setattr(ray.ray, "shutdown", lambda: done.append("shutdown"))
    before = signal.signal(signal.SIGTERM, _tell)
    try:
        with pytest.raises(_Told, match=str(int(signal.SIGTERM))):
            ray.RayPool(SETUP, 1)
        assert done == ["init", "shutdown"]
        assert signal.getsignal(signal.SIGTERM) is _tell
    finally:
        signal.signal(signal.SIGTERM, before)


def test_no_signal_is_lost_while_ray_starts() -> None:
    """The second of them ends a run at once."""
    from evolve.workers import ray

    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        with ray._signals_at_the_end():
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            assert received == []
        assert received == [signal.SIGINT] * 2
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("count", [0, 1])
def test_a_bad_task_is_bad_input(count: int) -> None:
    request = {**PREPARE, "tasks": ["tasks_that_fail:raises_in_init"]}
    message = "the task 'tasks_that_fail:raises_in_init' raised RuntimeError: no such table"
    others = workers()
    with pytest.raises(BadInput, match=message), open_pool(Setup(request, (HERE,)), count):
        pass
    assert workers() == others


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "a:99999999", "nowhere"])
def test_an_address_without_a_cluster_is_bad_input(address: str) -> None:
    with pytest.raises(BadInput, match=f"no Ray cluster answers at '{address}' .*; check --addr"):
        open_pool(SETUP, 1, address)


# The bookkeeping, without processes -----------------------------------------------------


class Scripted:
    """A worker that answers as it is told, one answer (or one list of them) for each batch."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers
        self.batches: list[list[Request]] = []
        self.killed = False

    def send(self, requests: list[Request]) -> None:
        self.batches.append(requests)

    def receive(self) -> list[Answer] | Died | None:
        answer = self.answers.pop(0) if self.answers else None
        return [answer] if isinstance(answer, dict) else answer

    def kill(self) -> None:
        self.killed = True


class ScriptedPool(Pool):
    def __init__(self, *scripts: list[Any], size: int = 1) -> None:
        super().__init__(Setup({}), size)
        self.scripts = list(scripts)
        self.workers: list[Scripted] = []

    def _new_worker(self) -> Worker:
        self.workers.append(Scripted(self.scripts.pop(0)))
        return self.workers[-1]

    def _wait(self, workers: list[Worker], seconds: float) -> list[Worker]:
        time.sleep(min(seconds, 0.001))
        return workers


READY = {"tasks": {}}
LOST = Died("the node went away", infrastructure=True)


OF_JAX = {
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_ENABLE_X64": "1",
    "JAX_DISABLE_JIT": "1",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
}


@pytest.mark.promise(5)
@pytest.mark.parametrize("count", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_no_variable_of_jax_changes_a_score(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup({**PREPARE, "tasks": ["quadratic"]}, path=(HERE,))
    request = evaluate(DESCENT, tasks=["quadratic"])
    with SerialPool(setup) as pool:
        told, plain = pool.tasks, outcome(pool, request)
    assert plain["outcome"] == status.FINISHED
    for name, value in OF_JAX.items():
        monkeypatch.setenv(name, value)
    with open_pool(setup, count) as pool:
        assert (pool.tasks, outcome(pool, request)) == (told, plain)


def test_a_lost_worker_is_replaced_and_its_request_done_again() -> None:
    with ScriptedPool([READY, LOST], [READY, {"outcome": "finished"}]) as pool:
        pool.submit(5, {}, LIMIT)
        finished = pool.next(1.0)
        assert finished is not None and finished.answer == {"outcome": "finished"}
        assert pool.workers[0].killed and not pool.workers[1].killed
    assert pool.workers[1].killed


def test_a_request_that_loses_two_workers_stops_the_run() -> None:
    with (
        pytest.raises(PoolError, match=r"a worker was lost: the node went away \(2 times"),
        ScriptedPool([READY, LOST], [READY, LOST], []) as pool,
    ):
        pool.submit(5, {}, LIMIT)
        pool.next(1.0)
    assert all(worker.killed for worker in pool.workers)


def test_workers_that_do_not_start_are_tried_twice() -> None:
    with ScriptedPool([Died("exit code 1")], [READY]) as pool:
        assert pool.tasks == {}
    with (
        pytest.raises(PoolError, match="a worker did not start: exit code 1"),
        ScriptedPool([Died("exit code 1")], [Died("exit code 1")]),
    ):
        pass


def test_a_lost_machine_may_take_many_workers_that_start() -> None:
    """Two of two, while another works; what counts is how many fail in a row."""
    scripts = [[READY, {"outcome": "finished"}], [Died("gone")], [Died("gone")], [READY], [READY]]
    with ScriptedPool(*scripts, size=3) as pool:
        assert pool.next(0.05) is None
        assert len(pool.workers) == 5 and all(seat.ready for seat in pool._seats)


def test_an_answer_that_comes_late_is_taken_if_it_is_there_before_anyone_looks() -> None:
    with ScriptedPool([READY, {"outcome": "finished"}]) as pool:
        pool.submit(1, {}, 0.01)
        time.sleep(0.05)
        finished = pool.next(1.0)
        assert finished is not None and finished.answer == {"outcome": "finished"}


def test_memory_that_the_machinery_saw_run_out_is_told_from_a_crash() -> None:
    died = [Died("a", out_of_memory=True)], [READY, Died("b")], [READY]
    with ScriptedPool([READY, *died[0]], *died[1:]) as pool:
        pool.submit(1, {}, LIMIT)
        pool.submit(2, {}, LIMIT)
        answers = [pool.next(1.0), pool.next(1.0)]
        outcomes = [a.answer["outcome"] for a in answers if a is not None]
        assert outcomes == [status.OUT_OF_MEMORY, status.CRASHED]


def batches(*reports: Any) -> ScriptedPool:
    """Twelve requests for one worker, which reports so on its batches."""
    pool = ScriptedPool([READY, *reports])
    pool.__enter__()
    for key in range(12):
        pool.submit(key, {"key": key}, 0.01)
    return pool


def test_requests_go_in_batches_while_many_wait() -> None:
    pool = batches(*([{"of": k} for k in keys] for keys in ((0, 1, 2, 3), (4, 5, 6), (7, 8))))
    done = [pool.next(0.1) for _ in range(8)]
    assert [(f.key, f.answer) for f in done if f] == [(key, {"of": key}) for key in range(8)]
    sizes = [len(batch) for batch in pool.workers[0].batches]
    assert sizes == [1, 4, 3, 2, 1]


@pytest.mark.parametrize("report", [Died("gone"), LOST, None], ids=["died", "lost", "late"])
def test_the_requests_of_a_batch_that_fails_are_tried_one_by_one(report: Any) -> None:
    pool = batches(*([report] if report else []))
    alone = [{"of": 0}, {"of": 1}, {"of": 2}, Died("it was 3")]
    together = [[{"of": key} for key in keys] for keys in ((4, 5, 6), (7, 8))]
    pool.scripts = [[READY, *alone], [READY, *together]]
    done = [pool.next(1.0) for _ in range(8)]
    answers = [f.answer for f in done if f]
    assert [f.key for f in done if f] == list(range(8))
    assert answers[3] == {"outcome": "crashed", "losses": {}, "steps": 0, "detail": "it was 3"}
    assert answers[:3] + answers[4:] == [{"of": key} for key in (0, 1, 2, 4, 5, 6, 7)]
    sizes = [len(batch) for batch in pool.workers[1].batches + pool.workers[2].batches]
    assert sizes == [1, 1, 1, 1, 1, 1, 3, 2, 1]


def test_a_worker_can_be_replaced_where_its_log_is_gone(tmp_path: Path) -> None:
    """The driver tells that somebody removed the run, when it writes next."""
    folder = tmp_path / "run"
    folder.mkdir()
    with SerialPool(SETUP._replace(log=str(folder / "workers.log"))) as pool:
        shutil.rmtree(folder)
        assert outcome(pool, evaluate(setting(10 * KILLED)))["outcome"] == status.CRASHED
        assert outcome(pool, evaluate(DESCENT))["outcome"] == status.FINISHED


def test_what_a_task_starts_ends_with_its_worker() -> None:
    with SerialPool(SETUP) as pool:
        assert outcome(pool, evaluate(setting(10 * START)))["outcome"] == status.DIVERGED
        family = descendants(os.getpid(), "sleep 3600")
        assert family
    assert gone(family)


def test_the_log_of_what_workers_print_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "workers.log"
    with SerialPool(SETUP._replace(log=str(log))) as pool:
        log.write_bytes(b"x" * 10_000_001)
        assert outcome(pool, evaluate(setting(10 * PRINT)))["outcome"] == status.DIVERGED
        assert b"to the log" in log.read_bytes()
        assert log.stat().st_size < 10_000
        log.unlink()  # nobody needs it
        assert outcome(pool, evaluate(DESCENT))["outcome"] == status.FINISHED


DRIVER = """
import sys, time
from evolve.workers import SerialPool
from test_evaluation import DESCENT, evaluate, setting
from test_pool_ends import SETUP, outcome
with SerialPool(SETUP) as pool:
    outcome(pool, evaluate(DESCENT))  # all is compiled
    pool.submit(0, evaluate(setting(10 * int(sys.argv[1]))), 600.0)
    assert pool.next(1.0) is None
    print("hanging", flush=True)
    time.sleep(60)
"""


@pytest.mark.promise(3)
@pytest.mark.parametrize("trouble", [HANG, HOLD], ids=["native loop", "sleep that holds the GIL"])
def test_a_hanging_worker_does_not_outlive_a_driver_that_was_killed(trouble: int) -> None:
    command = [sys.executable, "-c", DRIVER, str(trouble)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "hanging\n"
        family = descendants(driver.pid)
        assert len(family) == 1
        driver.kill()
    assert gone(family)
