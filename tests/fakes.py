"""Evaluations without training: answers are computed from a program's functional hash."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from evolve.search.config import Config
from evolve.search.evolution import Evolution
from evolve.search.log import Record
from evolve.search.stretches import Stretch
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
    patience=40,
    tuning_evaluations=6,
    tuning_population=4,
    look_ahead=4,
    finalists=2,
    judge_seeds=2,
    objective="loss",
    replicates=(2,),
    constants_share=0.0,
    elite_share=0.0,
    closing_share=0.0,
    on_edges=0.0,
    complexity_cost=0.0,
    statement_price=0.0,
)


def config(**changes: Any) -> Config:
    """A small configuration, of plain regularized evolution."""
    return replace(SMALL, **changes)


def untrained(config: Config) -> dict[str, list[float]]:
    return {task: [UNTRAINED] * config.replicates[-1] for task in config.tasks}


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


def request(evolution: Evolution, record: Record) -> dict[str, Any]:
    """What the driver would ask of a pool."""
    return {
        "program": record.program,
        "tasks": list(evolution.config.tasks),
        "seeds": evolution.seeds(record),
        "split": "validation",
        "hurdles": record.hurdles,
    }


class Fold:
    """A search without driver and pool: proposals and commits in the canonical order."""

    def __init__(
        self, config: Config, answer: Answer = answer, stretches: Sequence[Stretch] = ()
    ) -> None:
        self.evolution = Evolution(config, untrained(config), stretches)
        self.rows: list[Record] = []
        self.answer = answer

    def step(self, evaluations: int) -> bool:
        """One proposal or commit; False when so many evaluations have been committed."""
        spent = self.evolution.evaluated >= evaluations
        record = None if spent else self.evolution.propose()
        if record is not None:
            self.rows.append(record)
            return True
        if not self.evolution.pending:
            return False
        head = self.evolution.pending[0]
        asked = request(self.evolution, head)
        given = self.answer(asked) if head.source is None else None
        self.rows[head.number] = self.evolution.commit(given)
        return True

    def run(self, evaluations: int) -> list[Record]:
        while self.step(evaluations):
            pass
        return self.rows

    @staticmethod
    def restored(config: Config, rows: list[Record], stretches: Sequence[Stretch] = ()) -> Fold:
        fold = Fold(config, stretches=stretches)
        fold.rows = list(rows)
        fold.evolution.restore(rows)
        return fold


def states(fold: Fold, evaluations: int = 60) -> Iterator[tuple[Evolution, Record | None]]:
    """The state before each step, with the record that the step proposed, if it did.

    The fold must be at its beginning: the states are those of its twin, a step behind.
    """
    twin = Fold(fold.evolution.config, fold.answer)
    while fold.step(evaluations):
        count = len(twin.rows)
        yield twin.evolution, fold.rows[count] if len(fold.rows) > count else None
        twin.step(evaluations)
    assert twin.rows == fold.rows


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
        self.submitted: list[tuple[int, dict[str, Any], float]] = []
        self._waiting: list[tuple[int, dict[str, Any]]] = []
        self._choose, self._patience, self._answer = choose, patience, answer

    def submit(self, key: int, request: dict[str, Any], limit: float) -> None:
        self.submitted.append((key, request, limit))
        self._waiting.append((key, request))

    def next(self, seconds: float) -> Finished | None:
        if self._patience is not None:
            self._patience -= 1
            if self._patience < 0:
                raise Killed
        key, request = self._waiting.pop(self._choose(len(self._waiting)))
        if request.get("action") == "prepare":
            return Finished(key, {"tasks": self.tasks}, 0.001)
        return Finished(key, self._answer(request), 0.001)


class Killed(BaseException):
    """The process ends here."""
