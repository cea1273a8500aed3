"""Trains programs by a training function in PyTorch."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from primitives.program import Program
from proxy_tasks.status import DIVERGED, FINISHED, NOT_FINITE, STOPPED
from proxy_tasks.stretch import KEPT, SEED, STEP, WARM_UP, as_json, chosen, grid_of
from proxy_tasks.task import TaskError, sizes
from proxy_tasks.torch_optimizer import Interpreted, Plan
from proxy_tasks.torch_task import TorchTask
from proxy_tasks.trainer import Trained

#: Weights and slots are looked at every so many steps.
CHECK_EVERY = 16


class _Enough(BaseException):
    """Ends a training from inside; no `except Exception` of a training function catches it."""


class TorchTrainer:
    """The trainer of a training function; see `proxy_tasks.trainer.Trainer`."""

    def __init__(self, task: TorchTask) -> None:
        self.task = task
        self._rates = task.learning_rate()
        self._planned: tuple[Program, Plan] | None = None
        torch.set_num_threads(task.resources.cpus)

    def _plan(self, program: Program) -> Plan:
        if self._planned is None or self._planned[0] is not program:
            self._planned = program, Plan(program)
        return self._planned[1]

    def describe(self) -> dict[str, Any]:
        """See `Trainer`."""
        shapes = shapes_of(self.task)
        return {
            "weights": sum(map(math.prod, shapes)),
            "steps": self.task.steps,
            "flops": None,
            "fingerprint": self.task.fingerprint(),
            "width": self.task.width,
            "limit": self.task.limit,
            "sizes": sizes(shapes),
        }

    def untrained(self, seed: int, split: str) -> float:
        """See `Trainer`: the first loss that is yielded while no step changes anything."""
        with _training(self.task, lambda params: _Still(params), seed) as losses:
            for value in losses:
                return self._checked(self._loss(value, split))
        raise TaskError(f"the training function of '{self.task.name}' yielded no loss")

    def stretch(self, grid: bool) -> dict[str, Any]:
        """See `Trainer`."""
        recorders: list[_Recorder] = []

        def make(params: Any) -> _Recorder:
            recorders.append(_Recorder(params, grid))
            return recorders[-1]

        with _training(self.task, make, SEED) as losses:
            for _ in losses:
                pass
        if not recorders or not recorders[0].rows:
            raise TaskError(f"the training function of '{self.task.name}' took no step")
        first = recorders[0]
        return as_json(list(first.rows), self._rates, first.counts, first.grids)

    def train(
        self,
        program: Program,
        seed: int,
        hurdles: tuple[float, float],
        divergence: float,
        split: str,
    ) -> Trained:
        """See `Trainer`.

        Raises:
            TaskError: if the function takes another number of steps than the task says.
        """
        plan = self._plan(program)
        optimizers: list[Interpreted] = []

        def stepped(optimizer: Interpreted) -> None:
            if optimizer.steps % CHECK_EVERY == 0 and not optimizer.finite():
                raise _Enough

        def make(params: Any) -> Interpreted:
            optimizers.append(Interpreted(params, plan, self._rates, stepped))
            return optimizers[-1]

        def steps() -> int:
            return max((optimizer.steps for optimizer in optimizers), default=0)

        marks: list[float] = []
        last, status = math.nan, FINISHED
        with _training(self.task, make, seed) as losses:
            for value in losses:
                last = self._loss(value, split)
                status = self._status(last, divergence)
                if status != FINISHED:
                    break
                if not marks and steps() >= max(self.task.steps // 4, 1):
                    marks.append(last)
                    if last > hurdles[0]:
                        status = STOPPED
                        break
        if status == FINISHED and not all(o.finite() for o in optimizers):
            status = NOT_FINITE
        if status == FINISHED:
            self._check(steps(), bool(marks))
            marks.append(last)
            status = STOPPED if last > hurdles[1] else FINISHED
        return Trained(status, steps(), tuple(marks))

    def _checked(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise TaskError(
                f"the training function of '{self.task.name}' first yields {loss}, though its "
                "optimizer changed nothing yet; losses must be finite numbers"
            )
        return loss

    def _status(self, loss: float, divergence: float) -> str:
        if not math.isfinite(loss):
            return NOT_FINITE
        return DIVERGED if loss > divergence else FINISHED

    def _check(self, steps: int, yielded: bool) -> None:
        if steps != self.task.steps:
            raise TaskError(
                f"the training function of '{self.task.name}' took {steps} steps, "
                f"but the task says steps={self.task.steps}"
            )
        if not yielded:
            raise TaskError(f"the training function of '{self.task.name}' yielded no loss")

    def _loss(self, value: Any, split: str) -> float:
        if isinstance(value, tuple):
            value = value[1 if split == "heldout" else 0]
        return -float(value) if self.task.maximize else float(value)


class _training:
    """The losses of a training, which ends with the block: `with _training(...) as losses`."""

    def __init__(self, task: TorchTask, make: Callable[[Any], Any], seed: int) -> None:
        self._task, self._make, self._seed = task, make, seed

    def __enter__(self) -> Iterator[Any]:
        random.seed(self._seed)
        np.random.seed(self._seed % 2**32)
        torch.manual_seed(self._seed)
        self._losses = self._task.begin(self._optimizer, self._seed)
        return self._until_enough()

    def _optimizer(self, params: Any, *more: Any, **named: Any) -> Any:
        if more or named:
            given = ", ".join([*(repr(value) for value in more), *(f"{n}=" for n in named)])
            raise TaskError(
                f"the training function of '{self._task.name}' gives make_optimizer more than "
                f"parameters ({given}); learning rate, decay and all else are the program's own"
            )
        return self._make(params)

    def _until_enough(self) -> Iterator[Any]:
        try:
            yield from self._losses
        except _Enough:
            return

    def __exit__(self, *error: object) -> None:
        close = getattr(self._losses, "close", None)
        if close is not None:
            close()


class _Still(torch.optim.Optimizer):
    """Changes nothing."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 1.0})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Compute the loss, if there is a closure."""
        return None if closure is None else closure()


class _Recorder(_Still):
    """Normalized gradient descent that keeps some elements of weights and gradients."""

    def __init__(self, params: Any, grid: bool) -> None:
        super().__init__(params)
        self._grid = grid
        self.grids: list[tuple[int, int]] | None = None
        self.rows: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=KEPT)
        self.counts: list[int] = []
        self._taken = 0
        self._params: list[Tensor] = []
        self._places: list[np.ndarray] = []

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step."""
        with torch.enable_grad():
            loss = super().step(closure)
        if not self._params:
            self._begin()
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._params]
        self.rows.append((self._kept(self._params), self._kept(gradients)))
        total = sum(float(g.float().square().sum()) for g in gradients)
        size = max(math.sqrt(total / sum(self.counts)), 1e-30)
        for p, gradient in zip(self._params, gradients, strict=True):
            p.sub_(gradient, alpha=STEP / size)
        self._taken += 1
        if self._taken >= WARM_UP + KEPT:
            raise _Enough
        return loss

    def _begin(self) -> None:
        every = [p for group in self.param_groups for p in group["params"]]
        self._params = [p for p in every if p.grad is not None and p.numel()]
        if not self._params:
            raise TaskError("at the first step no parameter has a gradient; call backward() before")
        self.counts = [p.numel() for p in self._params]
        shapes = [tuple(p.shape) for p in self._params]
        self.grids = [grid_of(shape) for shape in shapes] if self._grid else None
        self._places = chosen(self.counts, [0] * len(shapes), shapes if self._grid else None)[1]

    def _kept(self, tensors: list[Tensor]) -> np.ndarray:
        rows = [
            t.detach().reshape(-1)[torch.from_numpy(places).to(t.device)].float().cpu().numpy()
            for t, places in zip(tensors, self._places, strict=True)
        ]
        return np.concatenate(rows)


def shapes_of(task: TorchTask) -> list[tuple[int, ...]]:
    """The shapes of what a training function makes an optimizer of, frozen parameters aside.

    Raises:
        TaskError: if it makes none.
    """
    made: list[list[tuple[int, ...]]] = []

    def make(params: Any) -> Any:
        groups = _Still(params).param_groups
        every = [p for group in groups for p in group["params"]]
        made.append([tuple(p.shape) for p in every if p.requires_grad])
        raise _Enough

    with _training(task, make, SEED) as losses:
        for _ in losses:
            pass
    if not made:
        raise TaskError(f"the training function of '{task.name}' made no optimizer")
    return made[0]
