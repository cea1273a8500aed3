"""A pool whose trainings are free, so that what is left is the driver.

The search around it is the one of `evolve run`: its settings, its tasks, its recorded stretches of
gradients. Only the losses are made up, from what a program computes.
"""

from __future__ import annotations

import heapq
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from evolve.command.run import configured
from evolve.search.budget import Budget
from evolve.search.config import Config
from evolve.search.driver import Driver
from evolve.search.log import RunLog
from evolve.search.session import worker_setup
from evolve.workers import Finished, SerialPool, Setup
from primitives.abstract import analyse
from primitives.text import from_text
from proxy_tasks.status import DIVERGED, FINISHED, STOPPED

#: How children of a real search end, about (the study's eight runs).
_DIVERGED, _STOPPED = 0.05, 0.2


class FreePool:
    """Answers at once, or as many seats would whose trainings take some time.

    Arguments:
        tasks: what a real pool tells of them.
        seats: how many trainings go on at a time; None for no limit.
        seconds: how long one takes on average (exponential from half of that on).
    """

    def __init__(
        self, tasks: dict[str, Any], setup: Setup, seats: int | None = None, seconds: float = 0.0
    ) -> None:
        self.tasks, self.setup, self.size = tasks, setup, seats or 1
        self._seats, self._seconds = seats, seconds
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self._busy: list[tuple[float, int, dict[str, Any]]] = []
        self._random = Random(0)
        self.busy_seconds = 0.0

    def submit(self, key: int, request: dict[str, Any], limit: float) -> None:
        self._waiting.append((key, request))
        self._assign()

    def _assign(self) -> None:
        while self._waiting and (self._seats is None or len(self._busy) < self._seats):
            key, request = self._waiting.popleft()
            long = self._seconds * (0.5 + 0.5 * self._random.expovariate(1.0))
            self.busy_seconds += long
            heapq.heappush(self._busy, (time.monotonic() + long, key, request))

    def next(self, seconds: float) -> Finished | None:
        if not self._busy:
            return None
        left = self._busy[0][0] - time.monotonic()
        if left > 0:
            time.sleep(min(left, seconds))
            if left > seconds:
                return None
        _, key, request = heapq.heappop(self._busy)
        self._assign()
        return Finished(key, answer(self.tasks, request), self._seconds)


def answer(tasks: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Losses that depend on what a program computes and on the seed, near the start's."""
    program = request["program"]
    chance = Random(analyse(from_text(program)).functional_hash)
    level, luck = chance.gauss(0.02, 0.03), chance.random()
    losses: dict[str, list[list[float]]] = {}
    steps = 0
    for name in request["tasks"]:
        untrained, limits = tasks[name]["untrained"], (request.get("hurdles") or {}).get(name)
        for place, seed in enumerate(request["seeds"]):
            marks = losses.setdefault(name, [])
            if luck < _DIVERGED:
                marks.append([])
                return {"outcome": DIVERGED, "losses": losses, "steps": steps + 10}
            noise = 0.01 * Random(f"{seed}").gauss(0.0, 1.0)
            end = untrained[seed % len(untrained)] * (0.62 + 0.38 * (level + noise))
            marks.append([end + 0.2, end])
            steps += tasks[name]["steps"]
            above = limits and any(x > y for x, y in zip(marks[-1], limits, strict=True))
            if place == 0 and limits and (above or luck < _DIVERGED + _STOPPED):
                marks[-1] = marks[-1][:1]
                return {"outcome": STOPPED, "losses": losses, "steps": steps // 4}
    return {"outcome": FINISHED, "losses": losses, "steps": steps}


_PREPARED: dict[str, dict[str, Any]] = {}


def prepared(config: Config, setup: Setup) -> dict[str, Any]:
    """What a real worker tells of the tasks."""
    key = str(config.tasks)
    if key not in _PREPARED:
        with SerialPool(setup) as pool:
            _PREPARED[key] = pool.tasks
    return _PREPARED[key]


@contextmanager
def search(
    seats: int | None = None, seconds: float = 0.0, **changes: Any
) -> Iterator[tuple[Driver, FreePool]]:
    """The default search on a free pool; `changes` are of settings, and of nothing else."""
    config = configured(changes)
    with (
        tempfile.TemporaryDirectory() as folder,
        RunLog.create(Path(folder) / "run", {"config": config.to_json()}) as log,
    ):
        setup = worker_setup(config, os.devnull)
        pool = FreePool(prepared(config, setup), setup, seats, seconds)
        yield Driver(log, pool, lambda driver: None), pool  # type: ignore[arg-type]


def run(driver: Driver, evaluations: int) -> None:
    """Search until so many programs have been trained; nothing is judged."""
    driver.add_budget(Budget("evals", evaluations))
    driver.search()
