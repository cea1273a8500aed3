"""Evaluate one program on tasks and seeds: what a worker does all day.

Requests and answers are plain data (JSON), so they cross any process boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from primitives import machine
from primitives.abstract import analyse
from primitives.text import from_text
from proxy_tasks.catalog import TaskError, resolve
from proxy_tasks.given import unpack
from proxy_tasks.status import FAILED, FINISHED, OUT_OF_MEMORY, Answer
from proxy_tasks.stretch import record
from proxy_tasks.training import DIVERGENCE, Trainer, default_marks


class Evaluator:
    """Trains programs; keeps every task compiled that it has met."""

    #: What requests may ask for; each is a method.
    ACTIONS: tuple[str, ...] = ("prepare", "evaluate")

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, int, float], Any] = {}
        self._trainers: dict[tuple[str, int, int], Trainer] = {}
        self._untrained: dict[tuple[Trainer, int, str], float] = {}

    def trainer(self, name: str, rung: int, share: float = 1.0) -> Trainer:
        """The trainer of a task at a rung, with so many times the weights.

        Raises:
            TaskError: if the task cannot be used.
        """
        size = (name, rung, share)
        if size not in self._sizes:
            task = resolve(name)
            task = task.at(rung) if rung > 1 else task
            self._sizes[size] = task if share == 1 else task.holding(share * task.weights())
        task = self._sizes[size]
        key = (name, rung, task.width)
        if key not in self._trainers:
            self._trainers[key] = Trainer(task)
        return self._trainers[key]

    def prepare(self, request: dict[str, Any]) -> Answer:
        """Compile every task and describe it.

        `request`: `program`, `tasks`, `rung`, `seeds`, and maybe `shares` of weights, and `given`:
        tasks that cannot be imported, as `proxy_tasks.given` packs them.
        The answer has `tasks`: for each name its `weights`, `steps`, `flops`,
        `fingerprint`, `untrained`, the validation loss before training for each
        seed, `widths`, one for each share, and, if `stretch` was asked for, a
        stretch of gradients; or `error`, a sentence.
        """
        code = machine.assemble(analyse(from_text(request["program"])))
        unpack(request.get("given", {}))
        tasks = {}
        for name in request["tasks"]:
            try:
                tasks[name] = self._describe(name, request, code)
            except TaskError as error:
                return {"error": str(error)}
            except (Exception, SystemExit) as error:  # a user's task may raise anything
                kind = type(error).__name__
                return {"error": f"the task '{name}' raised {kind}: {_gist(error)}"}
        return {"tasks": tasks}

    def _describe(self, name: str, request: dict[str, Any], code: machine.Code) -> Answer:
        trainer = self.trainer(name, request["rung"])
        untrained = [self._untrained_loss(trainer, s, "validation", code) for s in request["seeds"]]
        if not np.all(np.isfinite(untrained)):
            raise TaskError(
                f"the task '{name}' has the loss {untrained[0]} before training; "
                "its loss must be a finite number"
            )
        sizes = [self.trainer(name, request["rung"], x) for x in request.get("shares", [])]
        return {
            "weights": sum(trainer.layout.counts),
            "steps": trainer.task.steps,
            "flops": trainer.task.flops(),
            "fingerprint": trainer.task.fingerprint(),
            "untrained": untrained,
            "widths": [size.task.width for size in sizes],
            "stretch": record(trainer) if request.get("stretch") else None,
        }

    def _untrained_loss(self, trainer: Trainer, seed: int, split: str, code: machine.Code) -> float:
        key = (trainer, seed, split)
        if key not in self._untrained:
            self._untrained[key] = trainer.untrained(code, seed, split)
        return self._untrained[key]

    def evaluate(self, request: dict[str, Any]) -> Answer:
        """Train a program on every task and seed until one of them stops it.

        `request`: `program` (text), `tasks`, `rung`, `seeds`, `split`, and maybe
        `share`: how many times the task's weights the model may have, and
        `hurdles`: for each task the highest loss at each mark with which the
        first seed goes on. The answer has `outcome` (a status of
        training), `losses` (for each task, for each seed, the loss at each mark
        reached) and `steps` (training steps run).
        """
        code = machine.assemble(analyse(from_text(request["program"])))
        losses: dict[str, list[list[float]]] = {}
        steps = 0
        outcome = FINISHED
        for name in request["tasks"]:
            for index, seed in enumerate(request["seeds"]):
                trained = self._train(request, name, seed, index == 0, code)
                steps += trained.steps
                losses.setdefault(name, []).append(list(trained.losses))
                outcome = trained.status
                if outcome != FINISHED:
                    return {"outcome": outcome, "losses": losses, "steps": steps}
        return {"outcome": outcome, "losses": losses, "steps": steps}

    def _train(
        self, request: dict[str, Any], name: str, seed: int, first: bool, code: machine.Code
    ) -> Any:
        trainer = self.trainer(name, request["rung"], request.get("share", 1.0))
        hurdles = request.get("hurdles") or {}
        limits = hurdles.get(name, [np.inf, np.inf]) if first else [np.inf, np.inf]
        split = request["split"]
        untrained = self._untrained_loss(trainer, seed, split, code)
        return trainer.train(
            code,
            seed,
            hurdles=tuple(limits),
            marks=default_marks(trainer.task),
            divergence=DIVERGENCE * abs(untrained),
            split=split,
        )


def answer(evaluator: Evaluator, request: dict[str, Any]) -> Answer:
    """Do what `request["action"]` says, one of the evaluator's `ACTIONS`."""
    assert request["action"] in evaluator.ACTIONS
    action: Callable[[dict[str, Any]], Answer] = getattr(evaluator, request["action"])
    try:
        return action(request)
    except Exception as error:
        return {
            "outcome": OUT_OF_MEMORY if _is_out_of_memory(error) else FAILED,
            "losses": {},
            "steps": 0,
            "detail": f"{type(error).__name__}: {_gist(error)}",
        }


def find_evaluator(name: str) -> Evaluator:
    """A new evaluator of a class named `module:name`."""
    module, _, cls = name.partition(":")
    found = getattr(import_module(module), cls)()
    assert isinstance(found, Evaluator)
    return found


def _is_out_of_memory(error: Exception) -> bool:
    """Python's, XLA's, or Python's inside a callback from XLA."""
    text = str(error)
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "MemoryError" in text


def _gist(error: BaseException) -> str:
    """One line of the message; the last one of what a callback from XLA raised, a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return "(no message)"
    return lines[-1] if "Traceback" in lines[0] else lines[0]
