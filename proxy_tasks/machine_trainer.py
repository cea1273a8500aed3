"""Tasks in JAX, trained by the register machine."""

from __future__ import annotations

from typing import Any

from primitives import machine
from primitives.abstract import analyse
from primitives.machine import Code
from primitives.program import GRADIENT, UPDATE, Program, Statement
from proxy_tasks.stretch import record
from proxy_tasks.task import Task, sizes
from proxy_tasks.trainer import Trained
from proxy_tasks.training import Trainer as Loop
from proxy_tasks.training import default_marks

#: Any program does for a loss before the first step.
_ANY = Program((Statement(UPDATE, "negative", (GRADIENT,)),), ())


class MachineTrainer:
    """The trainer of a task in JAX; see `proxy_tasks.trainer.Trainer`."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._loop = Loop(task)
        self._extended = Loop(task, extended=True)  # compiled when a program needs it
        self._assembled: tuple[Program, Code] | None = None

    def _code(self, program: Program) -> Code:
        if self._assembled is None or self._assembled[0] is not program:
            self._assembled = program, machine.assemble(analyse(program))
        return self._assembled[1]

    def describe(self) -> dict[str, Any]:
        """See `Trainer`."""
        return {
            "weights": sum(self._loop.layout.counts),
            "steps": self.task.steps,
            "flops": self.task.flops(),
            "fingerprint": self.task.fingerprint(),
            "width": self.task.width,
            "sizes": sizes(self._loop.layout.shapes),
        }

    def stretch(self, grid: bool) -> dict[str, Any]:
        """See `Trainer`."""
        return record(self._loop, grid)

    def untrained(self, seed: int, split: str) -> float:
        """See `Trainer`."""
        return self._loop.untrained(self._code(_ANY), seed, split)

    def train(
        self,
        program: Program,
        seed: int,
        hurdles: tuple[float, float],
        divergence: float,
        split: str,
    ) -> Trained:
        """See `Trainer`."""
        code = self._code(program)
        return (self._extended if machine.is_extended(code) else self._loop).train(
            code,
            seed,
            hurdles=hurdles,
            marks=default_marks(self.task),
            divergence=divergence,
            split=split,
        )
