"""Evaluations without training: answers are computed from a program's functional hash."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import numpy as np

from evolve.search.config import Config
from evolve.search.log import Record
from evolve.search.population import Draft
from evolve.search.probe import Stretch
from evolve.search.proposal import Proposer
from evolve.search.state import State, Step
from evolve.workers import Finished, Setup
from primitives.abstract import analyse
from primitives.text import from_text, to_text
from primitives.zoo import zoo
from proxy_tasks.status import CRASHED, FINISHED, NOT_FINITE, STOPPED

UNTRAINED = 2.0
STEPS = 100
ADAMW = to_text(zoo("adamw"))
SMALL = Config(
    start=ADAMW,
    tasks=("a",),
    population=8,
    tune_start=False,
    in_flight=4,
    judge_tasks=("a",),
    objective="loss",
    replicates=(2,),
    constants_share=0.0,
    elite_share=0.0,
    closing_share=0.0,
    on_edges=0.0,
    structure_tries=1000,
    probe=False,
    complexity_cost=0.0,
)
#: Shapes of the arrays of the recorded gradients that `stretch` makes up, and its steps.
SHAPES, STRETCH_STEPS = [(2, 3), (4,), (1,)], 6


def config(**changes: Any) -> Config:
    """A small configuration, of plain regularized evolution."""
    return replace(SMALL, **changes)


def untrained(config: Config) -> dict[str, list[float]]:
    return {task: [UNTRAINED] * config.replicates[-1] for task in config.tasks}


@cache
def stretch(seed: int = 0) -> dict[str, Any]:
    """Every element of three small arrays, as `proxy_tasks.stretch.record` would keep them."""
    rng = np.random.default_rng(seed)
    counts = [math.prod(shape) for shape in SHAPES]
    rows = rng.normal(size=(2, STRETCH_STEPS, sum(counts))).astype(np.float32)
    return {
        "weights": rows[0].tolist(),
        "gradients": (0.1 * rows[1]).tolist(),
        "rates": np.linspace(1.0, 0.5, STRETCH_STEPS).tolist(),
        "counts": counts,
        "kept": counts,
    }


def answer(request: dict[str, Any], salt: int = 0) -> dict[str, Any]:
    """What training might give: a function of the program's behaviour, seeds and hurdles.

    AdamW ends at 1.0 of 2.0. Other programs end near it; some fail.
    """
    program = from_text(request["program"])
    chance = Random(f"{analyse(program).functional_hash} {salt}")
    level, luck = chance.uniform(0.8, 1.15), chance.random()
    if request["program"] == ADAMW:
        level, luck = 1.0, 1.0
    if luck < 0.05:
        return {"outcome": CRASHED, "losses": {}, "steps": 0, "detail": "as told"}
    losses: dict[str, list[list[float]]] = {}
    steps = 0
    for task in request["tasks"]:
        limits = (request.get("hurdles") or {}).get(task, [9.0, 9.0])
        for index, seed in enumerate(request["seeds"]):
            shift = 0.001 * Random(f"{task} {seed} {request['split']}").random()
            if luck < 0.15 and index == 1:
                losses[task].append([])
                return {"outcome": NOT_FINITE, "losses": losses, "steps": steps + 7}
            marks = losses.setdefault(task, [])
            marks.append([])
            for k, loss in enumerate((level + 0.3 + shift, level + shift)):
                marks[-1].append(loss)
                steps += STEPS // 2
                if index == 0 and loss > limits[k]:
                    return {"outcome": STOPPED, "losses": losses, "steps": steps}
    return {"outcome": FINISHED, "losses": losses, "steps": steps}


Answer = Callable[[dict[str, Any]], dict[str, Any]]


def proposer(config: Config) -> Proposer:
    """What a worker would propose with."""
    return Proposer(config, [Stretch(stretch())])


class Fold:
    """A search without driver and pool: its steps in their order.

    Attributes:
        rows: as a log would hold them.
        taken: the steps taken, in order.
        drafted: each draft with its number.
    """

    def __init__(self, config: Config, answer: Answer = answer) -> None:
        self.config = config
        self.state = State(config, config.start, untrained(config))
        self.rows: list[Record] = []
        self.taken: list[Step] = []
        self.drafted: dict[int, Draft] = {}
        self._answer = answer
        self._proposer = proposer(config)

    def children(self, draft: Draft) -> list[dict[str, Any]]:
        """What a worker proposes."""
        return self._proposer.propose(draft.program, draft.constants, draft.seed)

    def step(self, evaluations: int) -> bool:
        """The next step; False when so many evaluations have been committed."""
        state = self.state
        if state.evaluated >= evaluations and not state.draining:
            state.drain()
        step = state.next_step()
        self.taken.append(step)
        if step is Step.NOTHING:
            return False
        if step is Step.COMMIT:
            head = state.pending[0]
            given = self._answer(self.request(head)) if head.source is None else None
            self.rows[head.number] = state.commit(given)
        elif step is Step.DRAFT:
            draft = state.draft()
            self.drafted[draft.number] = draft
        else:
            begun = {
                Step.BEGIN: state.begin,
                Step.MORE_SEEDS: state.more_seeds,
                Step.ACCEPT: lambda: state.accept(self.children(state.drafts[0])),
            }
            record = begun[step]()
            self.rows += [] if record is None else [record]
        return True

    def request(self, record: Record) -> dict[str, Any]:
        """What the driver would ask of a pool."""
        return {
            "program": record.program,
            "tasks": list(self.config.tasks),
            "seeds": self.state.seeds(record),
            "split": "validation",
            "hurdles": record.hurdles,
        }

    def run(self, evaluations: int) -> list[Record]:
        while self.step(evaluations):
            pass
        return self.rows

    def proposals(self) -> list[Record]:
        """The rows that are programs of their own, without the start."""
        return [r for r in self.rows if r.draft is not None]

    def restored(self, rows: list[Record] | None = None) -> Fold:
        """Another one that knows what a log with these rows, by default all, knows."""
        fold = Fold(self.config, self._answer)
        fold.rows = list(self.rows if rows is None else rows)
        fold.state.restore(fold.rows)
        return fold


def states(fold: Fold, evaluations: int = 60) -> Iterator[tuple[State, Step]]:
    """The state before each step of a fold that is at its beginning, and the step."""
    while True:
        spent = fold.state.evaluated >= evaluations
        if spent and not fold.state.draining:
            fold.state.drain()
        yield fold.state, fold.state.next_step()
        if not fold.step(evaluations):
            return


class FakePool:
    """A pool that answers at once, in the order that `choose` wants.

    Arguments:
        tasks: names of tasks.
        choose: gives the place, among so many waiting requests, of the one to answer.
        patience: answers given before it raises `Killed`; None for no end.
    """

    size = 1

    def __init__(
        self,
        config: Config,
        choose: Callable[[int], int] = lambda waiting: 0,
        patience: int | None = None,
        answer: Answer = answer,
    ) -> None:
        facts = {"fingerprint": "f", "weights": 1, "steps": STEPS, "flops": None}
        self.tasks: dict[str, Any] = {
            task: {**facts, "untrained": values} for task, values in untrained(config).items()
        }
        setup = {"program": ADAMW, "tasks": list(config.tasks), "rung": 1, "seeds": [0]}
        self.setup = Setup(setup)
        #: Trainings that were asked for.
        self.submitted: list[tuple[int, dict[str, Any], float]] = []
        self._waiting: list[tuple[int, dict[str, Any]]] = []
        self._proposer = proposer(config)
        self._choose, self._patience, self._answer = choose, patience, answer

    def submit(self, key: int, request: dict[str, Any], limit: float, first: bool = False) -> None:
        if request["action"] != "propose":
            self.submitted.append((key, request, limit))
        self._waiting.append((key, request))

    def next(self, seconds: float) -> Finished | None:
        if not self._waiting or not seconds:  # what was not waited for comes later
            return None
        if self._patience is not None:
            self._patience -= 1
            if self._patience < 0:
                raise Killed
        key, request = self._waiting.pop(self._choose(len(self._waiting)))
        return Finished(key, self._answered(request), 0.001)

    def _answered(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["action"] == "prepare":
            known = next(iter(self.tasks.values()))
            return {"tasks": {name: self.tasks.get(name, known) for name in request["tasks"]}}
        if request["action"] == "propose":
            asked = {name: value for name, value in request.items() if name != "action"}
            return {"children": self._proposer.propose(**asked)}
        return self._answer(request)


class Killed(BaseException):
    """The process ends here."""


def stretches(*seeds: int) -> Sequence[Stretch]:
    """Made up, for each seed."""
    return [Stretch(stretch(seed)) for seed in seeds]
