"""Evaluate one program on tasks and seeds: what a worker does all day.

Requests and answers are plain data (JSON), so they cross any process boundary.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text
from proxy_tasks.catalog import TaskError, resolve
from proxy_tasks.given import unpack
from proxy_tasks.status import FAILED, FINISHED, OUT_OF_MEMORY, Answer
from proxy_tasks.trainer import DIVERGENCE, Trained, Trainer

#: A loss below this has not diverged, however small it was at first.
_LEAST = 0.25
_NO_HURDLES = (np.inf, np.inf)
#: What raised before in this process.
_TOLD: set[str] = set()
_ROOMS = ("evolve", "primitives", "proxy_tasks")


class Evaluator:
    """Trains programs; keeps every task compiled that it has met."""

    #: What requests may ask for; each is a method.
    ACTIONS: tuple[str, ...] = ("prepare", "evaluate")

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, int, float, float], Any] = {}
        self._trainers: dict[tuple[str, int, int, int], Trainer] = {}
        self._untrained: dict[tuple[Trainer, int, str], float] = {}

    def trainer(self, name: str, rung: int, share: float = 1.0, batch: float = 1.0) -> Trainer:
        """The trainer of a task at a rung, with so many times the weights and the batch.

        Raises:
            TaskError: if the task cannot be used.
        """
        size = (name, rung, share, batch)
        if size not in self._sizes:
            task = resolve(name)
            task = task.at(rung) if rung > 1 else task
            task = task if share == 1 else task.holding(share * task.weights())
            self._sizes[size] = task if batch == 1 else task.with_batch(batch)
        task = self._sizes[size]
        key = (name, rung, task.width, task.batch)
        if key not in self._trainers:
            self._trainers[key] = _trainer(task)
        return self._trainers[key]

    def prepare(self, request: dict[str, Any]) -> Answer:
        """Compile every task and describe it.

        `request`: `program`, `tasks`, `rung`, `seeds`, and maybe `shares` of weights, and `given`:
        tasks that cannot be imported, as `proxy_tasks.given` packs them.
        The answer has `tasks`: for each name its `weights`, `steps`, `flops`,
        `fingerprint`, `untrained`, the validation loss before training for each
        seed, `widths`, one for each share, and, if `stretch` was asked for, a
        stretch of gradients (with "grid" rows and columns of matrices); or `error`, a sentence.
        """
        unpack(request.get("given", {}))
        tasks = {}
        for name in request["tasks"]:
            try:
                tasks[name] = self._describe(name, request)
            except TaskError as error:
                return {"error": str(error)}
            except (Exception, SystemExit) as error:  # a user's task may raise anything
                kind = type(error).__name__
                place = _place(error)
                return {"error": f"the task '{name}' raised {kind}: {_gist(error)}{place}"}
        return {"tasks": tasks}

    def _describe(self, name: str, request: dict[str, Any]) -> Answer:
        trainer = self.trainer(name, request["rung"])
        untrained = [self._untrained_loss(trainer, s, "validation") for s in request["seeds"]]
        if not np.all(np.isfinite(untrained)):
            raise TaskError(
                f"the task '{name}' has the loss {untrained[0]} before training; "
                "its loss must be a finite number"
            )
        sizes = [self.trainer(name, request["rung"], x) for x in request.get("shares", [])]
        asked = request.get("stretch")
        return {
            **trainer.describe(),
            "untrained": untrained,
            "widths": [size.describe()["width"] for size in sizes],
            "stretch": trainer.stretch(asked == "grid") if asked else None,
        }

    def _untrained_loss(self, trainer: Trainer, seed: int, split: str) -> float:
        key = (trainer, seed, split)
        if key not in self._untrained:
            self._untrained[key] = trainer.untrained(seed, split)
        return self._untrained[key]

    def evaluate(self, request: dict[str, Any]) -> Answer:
        """Train a program on every task and seed until one of them stops it.

        `request`: `program` (text), `tasks`, `rung`, `seeds`, `split`, and maybe
        `share` and `batch`: how many times the task's weights the model may have, and
        how many times its batch (in as many steps fewer), and `hurdles`: for each task the
        highest loss at each mark with which the first seed goes on. The answer has
        `outcome` (a status of training), `losses` (for each task, for each seed, the loss
        at each mark reached) and `steps` (training steps run).
        """
        program = from_text(request["program"])
        analyse(program)  # what is invalid is told before anything is trained
        losses: dict[str, list[list[float]]] = {}
        steps = 0
        outcome = FINISHED
        for name in request["tasks"]:
            for index, seed in enumerate(request["seeds"]):
                trained = self._train(request, name, seed, index == 0, program)
                steps += trained.steps
                losses.setdefault(name, []).append(list(trained.losses))
                outcome = trained.status
                if outcome != FINISHED:
                    return {"outcome": outcome, "losses": losses, "steps": steps}
        return {"outcome": outcome, "losses": losses, "steps": steps}

    def _train(
        self, request: dict[str, Any], name: str, seed: int, first: bool, program: Program
    ) -> Trained:
        sizes = (request.get(key, 1.0) for key in ("share", "batch"))
        trainer = self.trainer(name, request["rung"], *sizes)
        hurdles = request.get("hurdles") or {}
        quarter, end = hurdles.get(name, _NO_HURDLES) if first else _NO_HURDLES
        split = request["split"]
        untrained = abs(self._untrained_loss(trainer, seed, split))
        divergence = DIVERGENCE * max(untrained, _LEAST)  # a loss may begin at 0
        return trainer.train(program, seed, (quarter, end), divergence, split)


def _trainer(task: Any) -> Trainer:
    """What trains a task: its own trainer, or the machine."""
    if hasattr(task, "trainer"):
        found: Trainer = task.trainer()
        return found
    from proxy_tasks.machine_trainer import MachineTrainer  # JAX, which not every task needs

    return MachineTrainer(task)


def answer(evaluator: Evaluator, request: dict[str, Any]) -> Answer:
    """Do what `request["action"]` says, one of the evaluator's `ACTIONS`."""
    assert request["action"] in evaluator.ACTIONS
    action: Callable[[dict[str, Any]], Answer] = getattr(evaluator, request["action"])
    try:
        return action(request)
    except Exception as error:
        detail = f"{type(error).__name__}: {_gist(error)}{_place(error)}"
        if detail not in _TOLD:  # the whole of it once, in the workers' log
            _TOLD.add(detail)
            traceback.print_exception(error)
        return {
            "outcome": OUT_OF_MEMORY if _is_out_of_memory(error) else FAILED,
            "losses": {},
            "steps": 0,
            "detail": detail,
        }


def find_evaluator(name: str) -> Evaluator:
    """A new evaluator of a class named `module:name`."""
    module, _, cls = name.partition(":")
    found = getattr(import_module(module), cls)()
    assert isinstance(found, Evaluator)
    return found


def _is_out_of_memory(error: Exception) -> bool:
    """Python's, PyTorch's, XLA's, or Python's inside a callback from XLA."""
    text = str(error)
    name = type(error).__name__  # PyTorch's own is `OutOfMemoryError`
    kinds = (MemoryError.__name__, "RESOURCE_EXHAUSTED")
    return name.endswith(kinds[0]) or any(kind in text for kind in kinds)


def _place(error: BaseException) -> str:
    """Where a user's own code raised it; nothing if none of it did."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and not _is_ours(f.filename)]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def _is_ours(file: str) -> bool:
    root = Path(__file__).parent.parent
    return any(Path(file).is_relative_to(root / room) for room in _ROOMS)


def _gist(error: BaseException) -> str:
    """One line of the message; the last one of what a callback from XLA raised, a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return "(no message)"
    return lines[-1] if "Traceback" in lines[0] else lines[0]
