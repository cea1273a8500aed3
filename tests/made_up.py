"""Trainings without training: losses follow from what a program has, with noise by seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from evolve.judge.tournament import CHOOSING, Judge, Structure, Tournament
from evolve.judge.trials import Trials
from evolve.workers import Finished, Setup
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text
from primitives.zoo import zoo

UNTRAINED = 2.0
Loss = Callable[[Program], float]


class MadeUp:
    """A pool whose losses are made up.

    Arguments:
        loss: of a program; or one for each task, by name.
        noise: the standard deviation of what is a program's own luck with a seed.

    Attributes:
        asked: every request.
    """

    def __init__(self, loss: Loss | dict[str, Loss], noise: float = 0.002) -> None:
        self._losses = loss if isinstance(loss, dict) else {"a": loss}
        self._noise = noise
        self._done: list[Finished] = []
        self.asked: list[dict[str, Any]] = []
        self.setup = Setup({"tasks": list(self._losses)})
        facts = {"untrained": [UNTRAINED], "steps": 1, "fingerprint": "f", "weights": 1}
        self.tasks: dict[str, Any] = dict.fromkeys(self._losses, facts)

    @property
    def trained(self) -> list[Program]:
        return [from_text(request["program"]) for request in self.asked]

    def submit(self, key: int, request: dict[str, Any], limit: float) -> None:
        if request["action"] == "prepare":
            tasks = {task: self.tasks[task] for task in request["tasks"]}
            self._done.append(Finished(key, {"tasks": tasks}, 0.0))
            return
        self.asked.append(request)
        (seed,), (task,) = request["seeds"], request["tasks"]
        of = from_text(request["program"])
        luck = Random(f"{seed}").gauss(0, 0.05) + Random(f"{seed}{of}").gauss(0, self._noise)
        value = self._losses[task](of) + luck
        answer = {"outcome": "finished", "losses": {task: [[value, value]]}, "steps": 1}
        if value > UNTRAINED:
            answer = {"outcome": "diverged", "losses": {}, "steps": 1}
        self._done.append(Finished(key, answer, 0.0))

    def next(self, seconds: float) -> Finished | None:
        return self._done.pop() if self._done else None


def tournament(pool: MadeUp, baseline: Program | None = None) -> Tournament:
    """On the tasks of a pool."""
    start = baseline or zoo("adamw")
    trials = {task: Trials(pool, CHOOSING, tasks=[task]) for task in pool.tasks}  # type: ignore[arg-type]
    return Tournament({task: Judge(of, start) for task, of in trials.items()})


def entrant(program: Program, tasks: tuple[str, ...] = ("a",), **origin: Any) -> Structure:
    """A structure that begins with a program's constants."""
    return Structure(program, {task: [program] for task in tasks}, origin)


def needs(**worth: float) -> Loss:
    """A loss that is higher by so much when a function, or every slot, is missing."""

    def loss(of: Program) -> float:
        analysis = analyse(of)
        present = {s.function for s in of.statements} | ({"memory"} if analysis.slots else set())
        return 1.0 + sum(value for name, value in worth.items() if name not in present)

    return loss


def lions(decay: float) -> Loss:
    """A loss that is higher without signs, memory, two averages, or the decay."""

    def loss(of: Program) -> float:
        analysis = analyse(of)
        functions = [analysis.nodes[n].function for n in analysis.live_nodes()]
        averages = 0.2 * max(0, 2 - functions.count("interp"))
        return needs(sign=0.3, memory=0.3)(of) + averages + decay * ("w" not in functions)

    return loss
