"""A training function in PyTorch: what interpreting a program costs beside PyTorch's own AdamW."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from primitives.program import Program
from primitives.zoo import zoo
from proxy_tasks.examples import digits_torch
from proxy_tasks.torch_optimizer import Interpreted, Plan
from proxy_tasks.torch_trainer import TorchTrainer
from tests.benchmarks.measure import interleaved, report

#: Hidden units of a perceptron with about 5,000 and a million weights.
WIDTHS = {"5K": 64, "1M": 950}
PROGRAMS = ("adamw", "lion")
BATCH, STEPS, REPEATS = 32, 20, 25


def torch_step_over_adamw() -> None:
    """Time of a training step, the optimizer interpreted, over the same loop with AdamW."""
    torch.set_num_threads(1)
    for size, width in WIDTHS.items():
        loops = {name: _loop(width, _interpreted(zoo(name))) for name in PROGRAMS}
        base = _loop(width, partial(torch.optim.AdamW, lr=1e-3, foreach=True))
        for name, loop in loops.items():
            times = interleaved(loop, base, REPEATS)
            ratios = [ours / theirs for ours, theirs in zip(*times, strict=True)]
            report("torch_step_over_adamw", ratios, program=name, weights=size)


def torch_worker_memory() -> None:
    """Memory of a worker after 1,000 candidates of a training function, over that after 100."""
    trainer, sizes = TorchTrainer(digits_torch.task), {}
    for number in range(1, 1001):
        program = zoo(PROGRAMS[number % 2])
        trainer.train(program, number, (math.inf, math.inf), math.inf, "validation")
        if number in (100, 1000):
            sizes[number] = _resident()
    report("torch_worker_memory", [sizes[1000] / sizes[100]], megabytes=round(sizes[1000] / 1e6))


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _interpreted(program: Program) -> Callable[[Any], Any]:
    plan, rates = Plan(program), np.ones(1, np.float32)
    return lambda params: Interpreted(params, plan, rates)


def _loop(width: int, make_optimizer: Callable[[Any], Any]) -> Callable[[], None]:
    """Some steps of a training on random data."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    if width > 500:
        model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                              nn.Linear(width, 10))  # fmt: skip
    optimizer = make_optimizer(model.parameters())
    x, y = torch.randn(BATCH, 64), torch.randint(10, (BATCH,))

    def run() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    run()
    return run
