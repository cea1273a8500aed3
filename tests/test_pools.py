"""One conformance suite for every pool; each is started once for all of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tasks_that_fail import ABORT, EXIT, HANG, HOLD, KILLED, MEMORY, NAN, PRINT, RAISE, SEGFAULT
from test_evaluation import DESCENT, TROUBLE, evaluate, setting

from evolve.workers import Finished, Pool, SerialPool, Setup, open_pool
from primitives.text import to_text
from primitives.zoo import zoo
from proxy_tasks import status

#: Ray forks; JAX, which other tests imported into this process, warns of that.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")

HERE = str(Path(__file__).parent)
PREPARE = {"program": DESCENT, "tasks": [TROUBLE, "quadratic"], "rung": 1, "seeds": [0, 1]}
SETUP = Setup(PREPARE, path=(HERE,))
LIMIT, HANGING_LIMIT = 60.0, 1.5


@pytest.fixture(
    scope="module",
    params=[0, pytest.param(1, marks=pytest.mark.slow), 2],
    ids=["serial", "ray 1", "ray 2"],
)
def pool(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pool]:
    log = tmp_path_factory.mktemp("pool") / "workers.log"
    with open_pool(SETUP._replace(log=str(log)), request.param) as started:
        yield started


def gather(pool: Pool, requests: dict[int, dict[str, Any]]) -> dict[int, Finished]:
    for key, request in requests.items():
        pool.submit(key, request, LIMIT)
    return collect(pool, len(requests))


def collect(pool: Pool, count: int) -> dict[int, Finished]:
    deadline = time.monotonic() + 300
    done: dict[int, Finished] = {}
    while len(done) < count:
        assert time.monotonic() < deadline, f"only {sorted(done)} came"
        finished = pool.next(1.0)
        if finished is not None:
            assert finished.key not in done
            done[finished.key] = finished
    assert pool.next(0.0) is None
    return done


def outcome(pool: Pool, request: dict[str, Any]) -> dict[str, Any]:
    pool.submit(0, request, LIMIT)
    return collect(pool, 1)[0].answer


PROGRAMS = [to_text(zoo(name)) for name in ("adamw", "lion", "sgd")] + [DESCENT]
#: What the first pool gave.
FIRST: dict[str, Any] = {}


@pytest.mark.promise(5)
def test_pools_give_the_same_bits(pool: Pool) -> None:
    requests = {
        number: evaluate(program, tasks=["quadratic", TROUBLE], hurdles={"quadratic": [0.6, 0.5]})
        for number, program in enumerate(PROGRAMS + PROGRAMS[::-1] + PROGRAMS)
    }
    done = gather(pool, requests)
    answers = [done[number].answer for number in sorted(done)]
    assert answers[:4] == answers[4:8][::-1] == answers[8:]
    assert {answer["outcome"] for answer in answers} >= {status.FINISHED}
    FIRST.setdefault("answers", answers)
    assert answers == FIRST["answers"]


def test_pools_describe_the_tasks_alike(pool: Pool) -> None:
    assert list(pool.tasks) == [TROUBLE, "quadratic"]
    quadratic = pool.tasks["quadratic"]
    assert (quadratic["weights"], quadratic["steps"]) == (132, 300)
    FIRST.setdefault("tasks", pool.tasks)
    assert pool.tasks == FIRST["tasks"]


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    ("program", "expected", "detail"),
    [
        (DESCENT, status.FINISHED, None),
        (setting(10 * NAN), status.NOT_FINITE, None),
        (setting(3), status.DIVERGED, None),
        (setting(10 * MEMORY), status.OUT_OF_MEMORY, "MemoryError: no room"),
        (setting(10 * RAISE), status.FAILED, "ValueError: out of order"),
        (setting(10 * EXIT), status.CRASHED, ""),
        (setting(10 * SEGFAULT), status.CRASHED, ""),
        (setting(10 * ABORT), status.CRASHED, ""),
        (setting(10 * KILLED), status.CRASHED, ""),
    ],
    ids=[
        "finished",
        "not_finite",
        "diverged",
        "out_of_memory",
        "failed",
        "exit",
        "segfault",
        "abort",
        "killed",
    ],
)
def test_every_outcome_is_recorded_and_the_pool_goes_on(
    pool: Pool, program: str, expected: str, detail: str | None
) -> None:
    answer = outcome(pool, evaluate(program))
    assert answer["outcome"] == expected
    assert ("detail" in answer) == (detail is not None)
    assert (detail or "") in answer.get("detail", "")
    assert isinstance(answer["losses"], dict) and answer["steps"] >= 0
    assert outcome(pool, evaluate(DESCENT))["outcome"] == status.FINISHED


def test_a_hurdle_stops_a_training(pool: Pool) -> None:
    answer = outcome(pool, evaluate(DESCENT, hurdles={TROUBLE: [0.1, 0.1]}))
    assert answer["outcome"] == status.STOPPED


@pytest.mark.promise(3)
def test_the_time_limit_is_from_when_an_evaluation_begins(pool: Pool) -> None:
    """Waiting in the queue behind a hanging one does not count, nor does a new worker's start."""
    hanging = {key: setting(10 * (HANG, HOLD)[key % 2]) for key in range(pool.size)}
    for key, program in hanging.items():
        pool.submit(key, evaluate(program), HANGING_LIMIT)
    for key in range(10, 14):
        pool.submit(key, evaluate(DESCENT), HANGING_LIMIT)
    time.sleep(HANGING_LIMIT + 0.2)  # a driver that is late
    done = collect(pool, pool.size + 4)
    for key, finished in done.items():
        expected = status.TIMED_OUT if key in hanging else status.FINISHED
        assert finished.answer["outcome"] == expected
        if key in hanging:
            assert finished.seconds >= HANGING_LIMIT
            assert finished.answer["detail"] == "killed after 1.5 s"


def test_what_a_task_prints_is_no_answer(pool: Pool) -> None:
    printing = outcome(pool, evaluate(setting(10 * PRINT)))
    quiet = outcome(pool, evaluate(setting(0.9)))
    assert printing["outcome"] == status.DIVERGED  # that of its own training
    assert printing["losses"] != {}
    assert quiet["outcome"] == status.FINISHED
    if isinstance(pool, SerialPool):
        log = Path(pool.setup.log or "").read_text()
        assert "to the log" in log and '{"tasks": {}}' in log


def test_requests_wait_for_a_free_worker(pool: Pool) -> None:
    done = gather(pool, {key: evaluate(DESCENT) for key in range(40)})
    assert sorted(done) == list(range(40))
    assert len({str(finished.answer) for finished in done.values()}) == 1
    assert all(finished.seconds > 0 for finished in done.values())
