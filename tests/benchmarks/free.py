"""A pool whose workers cost the driver nothing, so that what is left is the driver.

The search around it is the one of `evolve run`: its settings, its tasks, its recorded stretches of
gradients. Children are proposed as a worker does it; only the losses are made up, from what a
program computes.
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

from evolve.budget import Budget
from evolve.search.config import Config
from evolve.search.driver import Driver, worker_setup
from evolve.search.log import RunLog
from evolve.search.probe import Stretch
from evolve.search.proposal import Proposer
from evolve.session import configured
from evolve.workers import Finished, SerialPool, Setup
from primitives.abstract import analyse
from primitives.text import from_text
from proxy_tasks.status import DIVERGED, FINISHED, STOPPED

#: How children of a real search end, about (the study's eight runs).
_DIVERGED, _STOPPED = 0.05, 0.2


class FreePool:
    """Answers as so many workers would whose trainings take some time, in simulated time.

    The clock goes on with the driver's own CPU time, without what the workers' part costs
    this process, and jumps over what the driver waits. So it tells how busy workers would be
    on a machine that has a core for the driver.

    Arguments:
        tasks: what a real pool tells of them.
        config: of the search.
        seats: how many workers there are.
        seconds: how long a training takes on average (exponential from half of that on).
        look: whether children are chosen as workers do; else they are taken as they come, which
            is the same to the driver, and a hundred times cheaper here.
    """

    def __init__(
        self,
        tasks: dict[str, Any],
        config: Config,
        setup: Setup,
        seats: int,
        seconds: float,
        look: bool = True,
    ) -> None:
        self.tasks, self.setup, self.size = tasks, setup, seats
        stretches = [Stretch(facts["stretch"]) for facts in tasks.values() if facts["stretch"]]
        stretches = stretches if look else []
        self._proposer = Proposer(config, stretches)
        self._seconds = seconds
        self._first: deque[tuple[int, dict[str, Any]]] = deque()
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self._busy: list[tuple[float, int, Finished]] = []
        self._random = Random(0)
        self._began = time.process_time()
        self._waited = 0.0
        self.apart = 0.0  # CPU seconds of the workers' part
        self.training_seconds = self.proposing_seconds = 0.0

    @property
    def busy_seconds(self) -> float:
        """Simulated time that seats were busy, together."""
        return self.training_seconds + self.proposing_seconds

    @property
    def driver_seconds(self) -> float:
        """CPU time of the driver itself."""
        return time.process_time() - self._began - self.apart

    @property
    def now(self) -> float:
        """The simulated time."""
        return self.driver_seconds + self._waited

    def submit(self, key: int, request: dict[str, Any], limit: float, first: bool = False) -> None:
        (self._first if first else self._waiting).append((key, request))
        self._assign()

    def _assign(self) -> None:
        while (self._first or self._waiting) and len(self._busy) < self.size:
            key, request = (self._first or self._waiting).popleft()
            began, now = time.process_time(), self.now
            if request["action"] == "propose":
                asked = {name: value for name, value in request.items() if name != "action"}
                answered = {"children": self._proposer.propose(**asked)}
                long = time.process_time() - began
                self.proposing_seconds += long
            else:
                answered = answer(self.tasks, request)
                long = self._seconds * (0.5 + 0.5 * self._random.expovariate(1.0))
                self.training_seconds += long
            heapq.heappush(self._busy, (now + long, key, Finished(key, answered, long)))
            self.apart += time.process_time() - began

    def next(self, seconds: float) -> Finished | None:
        if not self._busy:
            return None
        left = self._busy[0][0] - self.now
        self._waited += max(0.0, min(left, seconds))
        if left > seconds:
            return None
        _, _, finished = heapq.heappop(self._busy)
        self._assign()
        return finished


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
    seats: int = 2, seconds: float = 0.0, look: bool = True, **changes: Any
) -> Iterator[tuple[Driver, FreePool]]:
    """The default search on a free pool; `changes` are of settings, and of nothing else."""
    config = configured(changes)
    with (
        tempfile.TemporaryDirectory() as folder,
        RunLog.create(Path(folder) / "run", {"config": config.to_json()}) as log,
    ):
        setup = worker_setup(config, os.devnull)
        pool = FreePool(prepared(config, setup), config, setup, seats, seconds, look)
        yield Driver(log, pool), pool  # type: ignore[arg-type]


def run(driver: Driver, evaluations: int) -> None:
    """Search until so many programs have been trained; nothing is judged."""
    driver.add_budget(Budget("evals", evaluations))
    driver.search()
