"""What every pool does: queue requests, keep workers busy, enforce time limits.

A pool has workers that evaluate one request after another. While many wait, a
worker is given a few at once, since every message costs the driver time; those that
others wait for come first, and apart from the rest, so that they are answered soon. When
such a batch does not end, its requests are tried again one by one; whatever
then happens to a worker becomes the outcome of the request it was on. Only
faults of the machinery (a worker that dies while starting, a lost node) are
tried once more.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from evolve.errors import BadInput, PoolError
from proxy_tasks.given import packed
from proxy_tasks.status import CRASHED, OUT_OF_MEMORY, TIMED_OUT, Answer, Request
from proxy_tasks.task import Resources

#: Seconds a worker may take to start, to import JAX and to compile every task.
START_LIMIT = 600.0
_ATTEMPTS = 2
#: The most requests that a worker is given at once, and the most of those that come first.
_BATCH, _FIRST = 4, 16


class Setup(NamedTuple):
    """What a worker needs to know before its first request.

    Attributes:
        request: a `prepare` request, see `proxy_tasks.evaluation`.
        evaluator: what answers requests, a class as `module:name`.
        path: entries for the module search path, so that a user's tasks are found.
        log: a file for what workers print; None discards it.
    """

    request: Request
    path: tuple[str, ...] = ()
    log: str | None = None
    evaluator: str = "proxy_tasks.evaluation:Evaluator"
    resources: Resources = Resources()


#: The environment of a worker, which must be set before JAX is imported there. One XLA thread per
#: worker: needed for bit-identical results as well as for speed.
ENVIRONMENT = {
    "PJRT_NPROC": "1",
    "NPROC": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "OMP_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


#: Variables that begin so change what JAX computes, but for those of its caches.
_OF_JAX, _OF_CACHES = "JAX_", "CACHE"


def settle_environment() -> None:
    """In a worker, before JAX is imported: nothing in a user's environment changes a score."""
    for name in [name for name in os.environ if name.startswith(_OF_JAX)]:
        if name not in ENVIRONMENT and _OF_CACHES not in name:
            del os.environ[name]


class Died(NamedTuple):
    """A worker's end: what is known of it, and whether the candidate can be blamed."""

    detail: str
    out_of_memory: bool = False
    infrastructure: bool = False


class Worker(Protocol):
    """A process, here or elsewhere, that answers one batch of requests at a time."""

    def send(self, requests: list[Request]) -> None:
        """Begin a batch."""

    def receive(self) -> list[Answer] | Died | None:
        """The answers, or how the worker died, or None if there is nothing yet."""

    def kill(self) -> None:
        """End the worker at once, whatever it does."""


class Finished(NamedTuple):
    """An evaluation that ended: its key, its answer, its seconds (in a batch their mean)."""

    key: int
    answer: Answer
    seconds: float


class _Job(NamedTuple):
    key: int
    request: Request
    limit: float
    first: bool
    alone: bool = False


@dataclass
class _Seat:
    """A place for a worker, with what it works on."""

    worker: Worker
    deadline: float
    ready: bool = False
    batch: list[_Job] = field(default_factory=list)
    began: float = 0.0

    @property
    def idle(self) -> bool:
        return self.ready and not self.batch


class Pool(ABC):
    """Evaluates requests on workers; use it as a context manager.

    Raises:
        BadInput: while starting, if a task cannot be used.
        PoolError: if the machinery fails twice in the same place.
    """

    def __init__(self, setup: Setup, size: int) -> None:
        self.setup = setup
        self.size = size
        self._waiting: deque[_Job] = deque()
        self._first: deque[_Job] = deque()
        self._seats: list[_Seat] = []
        self._faults: dict[int | None, int] = {}
        self._done: deque[Finished] = deque()
        self.tasks: dict[str, Any] = {}

    @abstractmethod
    def _new_worker(self) -> Worker:
        """Start a worker."""

    @abstractmethod
    def _wait(self, workers: list[Worker], seconds: float) -> list[Worker]:
        """Those of the workers that have something, after some seconds at the latest."""

    def __enter__(self) -> Pool:
        try:
            for _ in range(self.size):  # one by one, so that `close` finds those started
                self._seats.append(self._seat())
            while not any(seat.ready for seat in self._seats):  # the others join later
                self._turn(1.0)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers; what they were on is lost."""
        for seat in self._seats:
            seat.worker.kill()
        self._seats = []

    def submit(self, key: int, request: Request, limit: float, first: bool = False) -> None:
        """Queue a request, before those that are not to come first; `next` hands them out.

        Its `limit` is in seconds from when a worker begins it.
        """
        (self._first if first else self._waiting).append(_Job(key, request, limit, first))

    def next(self, seconds: float) -> Finished | None:
        """An evaluation that ended, waiting up to some seconds for one."""
        deadline = time.monotonic() + seconds
        self._assign()
        while not self._done:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._turn(left)
        return self._done.popleft()

    def _seat(self) -> _Seat:
        worker = self._new_worker()
        worker.send([{"action": "prepare", **_with_tasks(self.setup.request)}])
        return _Seat(worker, deadline=time.monotonic() + START_LIMIT)

    def _assign(self) -> None:
        for seat in self._seats:
            if not (self._waiting or self._first):
                return
            if seat.idle:
                seat.batch = self._next_batch()
                seat.began = time.monotonic()
                seat.deadline = seat.began + sum(job.limit for job in seat.batch)
                seat.worker.send([job.request for job in seat.batch])

    def _next_batch(self) -> list[_Job]:
        """At most half of this worker's share of what waits, so that none idles at the end."""
        queue, most = (self._first, _FIRST) if self._first else (self._waiting, _BATCH)
        batch = [queue.popleft()]
        size = most if batch[0].first else min(most, len(queue) // (2 * self.size))
        while queue and len(batch) < size and not (batch[0].alone or queue[0].alone):
            batch.append(queue.popleft())
        return batch

    def _turn(self, seconds: float) -> None:
        """Wait a little, then look at the workers that have something or are late."""
        busy = [seat for seat in self._seats if not seat.idle]
        now = time.monotonic()
        nearest = min((seat.deadline for seat in busy), default=now + seconds)
        limit = max(0.0, min(seconds, nearest - now))
        ready = {id(worker) for worker in self._wait([seat.worker for seat in busy], limit)}
        now = time.monotonic()
        for index, seat in enumerate(self._seats):
            if not seat.idle and (id(seat.worker) in ready or now >= seat.deadline):
                self._look(index, seat)
        self._assign()

    def _look(self, index: int, seat: _Seat) -> None:
        answers = seat.worker.receive()
        if answers is None and time.monotonic() < seat.deadline:
            return
        if not seat.ready:
            self._started(index, seat, answers)
        elif isinstance(answers, list):
            self._ended(seat, answers)
        else:
            self._failed(seat, answers)
            self._replace(index)

    def _started(self, index: int, seat: _Seat, answers: list[Answer] | Died | None) -> None:
        if isinstance(answers, list):
            (answer,) = answers
            if "tasks" not in answer:
                raise BadInput(answer.get("error") or answer["detail"])
            seat.ready = True
            self._faults.pop(None, None)
            self.tasks = answer["tasks"]
            return
        if answers is None and any(other.ready for other in self._seats):
            seat.deadline = time.monotonic() + START_LIMIT  # a cluster may have no room yet
            return
        detail = answers.detail if answers else f"it was not ready after {START_LIMIT:g} s"
        self._count_fault(None, f"a worker did not start: {detail}")
        self._replace(index)

    def _ended(self, seat: _Seat, answers: list[Answer]) -> None:
        seconds = (time.monotonic() - seat.began) / len(seat.batch)
        for job, answer in zip(seat.batch, answers, strict=True):
            self._faults.pop(job.key, None)  # another request may have the same key
            self._done.append(Finished(job.key, answer, seconds))
        seat.batch = []

    def _failed(self, seat: _Seat, died: Died | None) -> None:
        """The worker died, or has worked for too long."""
        if len(seat.batch) > 1:  # nobody knows which one it was
            queue = self._first if seat.batch[0].first else self._waiting
            queue.extendleft(job._replace(alone=True) for job in reversed(seat.batch))
            return
        (job,) = seat.batch
        if died is None:
            self._ended(seat, [_failure(TIMED_OUT, f"killed after {job.limit:g} s")])
        elif died.infrastructure:
            self._count_fault(job.key, f"a worker was lost: {died.detail}")
            (self._first if job.first else self._waiting).appendleft(job)
        else:
            outcome = OUT_OF_MEMORY if died.out_of_memory else CRASHED
            self._ended(seat, [_failure(outcome, died.detail)])

    def _count_fault(self, key: int | None, what: str) -> None:
        """Of a request, or of workers that do not start: a lost machine may take many at once."""
        self._faults[key] = self._faults.get(key, 0) + 1
        if self._faults[key] >= _ATTEMPTS * (self.size if key is None else 1):
            raise PoolError(
                f"{what} ({self._faults[key]} times; see the workers' log {self.setup.log or ''})"
            )

    def _replace(self, index: int) -> None:
        self._seats[index].worker.kill()
        self._seats[index] = self._seat()


def time_limit(facts: Mapping[str, Any], tasks: Iterable[str], seeds: int, least: float) -> float:
    """Seconds after which trainings count as hanging: what the tasks say.

    Arguments:
        facts: of each task, as `prepare` answers.
        tasks: that are trained, on so many `seeds` each.
        least: where a task says nothing.
    """
    limits = [facts[task].get("limit") for task in tasks]
    told = seeds * sum(limit for limit in limits if limit is not None)
    return max(told, least) if None in limits else told


def _with_tasks(request: Request) -> Request:
    """With the tasks that a worker cannot import."""
    given = packed(request.get("tasks", ()))
    return {**request, "given": given} if given else request


def _failure(outcome: str, detail: str) -> Answer:
    return {"outcome": outcome, "losses": {}, "steps": 0, "detail": detail}
