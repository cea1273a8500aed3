"""One model written both ways: a task in JAX and a training function in PyTorch are the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neighbours import neighbours
from processes import evolve
from strategies import examples

from evolve.search.log import RunLog
from primitives.program import Program
from primitives.text import to_text
from primitives.zoo import NAMES, zoo
from proxy_tasks.machine_trainer import MachineTrainer
from proxy_tasks.status import DIVERGED, FINISHED
from proxy_tasks.task import Splits, Task
from proxy_tasks.torch_task import torch_task
from proxy_tasks.torch_trainer import TorchTrainer
from proxy_tasks.trainer import DIVERGENCE, Trained

STEPS, ROWS, INPUTS, HIDDEN = 200, 32, 5, 4
_random = np.random.default_rng(0)
X = np.float32(_random.normal(size=(2, ROWS, INPUTS)))
Y = np.float32(np.sin(X).sum(2, keepdims=True) + 0.1 * _random.normal(size=(2, ROWS, 1)))
WEIGHTS = [
    np.float32(0.4 * _random.normal(size=shape))
    for shape in ((INPUTS, HIDDEN), (HIDDEN,), (HIDDEN, 1))
]


@dataclass(frozen=True, kw_only=True)
class Written(Task):
    """A perceptron; each example is all of its data, so that all batches are alike."""

    name: str = "written"
    width: int = HIDDEN
    batch: int = 1
    steps: int = STEPS
    schedule: str = "cosine"

    def splits(self) -> Splits:
        return Splits(
            (X[:1], Y[:1]),
            (X[1:], Y[1:]),
            (X[1:], -Y[1:]),
        )

    def init(self, key: Any) -> Any:
        import jax.numpy as jnp

        return [jnp.asarray(w) for w in WEIGHTS]

    def loss(self, params: Any, batch: Any) -> Any:
        import jax.numpy as jnp

        a, b, c = params
        x, y = batch
        return jnp.mean((jnp.tanh(x @ a + b) @ c - y) ** 2)


def train(make_optimizer: Any, seed: int, shift: float = 0.0) -> Iterator[tuple[float, float]]:
    """The same in PyTorch; `shift` moves the weights that it begins with."""
    a, b, c = params = [
        torch.nn.Parameter(torch.from_numpy(w * np.float32(1 + shift))) for w in WEIGHTS
    ]
    optimizer = make_optimizer(params)

    def loss(part: int, sign: float = 1.0) -> torch.Tensor:
        x, y = torch.from_numpy(X[part]), torch.from_numpy(Y[part])
        return (torch.tanh(x @ a + b) @ c - sign * y).square().mean()

    for step in range(STEPS):
        optimizer.zero_grad()
        loss(0).backward()
        optimizer.step()
        if step % 10 == 9:
            with torch.no_grad():
                yield loss(1).item(), loss(1, -1.0).item()


def shifted(make_optimizer: Any, seed: int) -> Iterator[tuple[float, float]]:
    return train(make_optimizer, seed, 2e-6)


written = Written()
function, moved = (
    torch_task(function, steps=STEPS, schedule="cosine") for function in (train, shifted)
)
MACHINE, TORCH, SHIFTED = MachineTrainer(written), TorchTrainer(function), TorchTrainer(moved)


def trained(trainer: Any, program: Program, **options: Any) -> Trained:
    given = {"hurdles": (math.inf, math.inf), "divergence": math.inf, "split": "validation"}
    return trainer.train(program, 0, **{**given, **options})


def agree(program: Program) -> bool:
    """Whether both come to the same, as nearly as rounding lets this program do."""
    one, other = (trained(trainer, program) for trainer in (MACHINE, TORCH))
    if close(one, other) or all(diverged(each) for each in (one, other)):
        return True
    return not close(other, trained(SHIFTED, program), 1e-5)


def close(one: Trained, other: Trained, tolerance: float = 1e-3) -> bool:
    return one.status == other.status and one.losses == pytest.approx(other.losses, rel=tolerance)


def diverged(found: Trained) -> bool:
    limit = DIVERGENCE * TORCH.untrained(0, "validation")
    return found.status != FINISHED or max(found.losses) > limit


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_of_the_zoo_trains_the_same_both_ways(name: str) -> None:
    program = zoo(name)
    assert agree(program)
    one, other = trained(MACHINE, program), trained(TORCH, program)
    assert one.losses == pytest.approx(other.losses, rel=2e-3)


def test_random_programs_train_the_same_both_ways() -> None:
    """What a search would train: mutations of known optimizers.

    One of a hundred may differ: with steps so large that units saturate, a gradient is zero or a
    subnormal number, and its sign is 0 or 1.
    """
    count = examples(100, 2000)
    tried = neighbours(count, 0)
    wrong = [to_text(program) for program in tried if not agree(program)]
    assert len(wrong) <= count // 100, wrong
    finished = sum(trained(TORCH, program).status == FINISHED for program in tried)
    assert finished > count // 2


@pytest.mark.parametrize(
    "options", [{"hurdles": (0.1, 9.0)}, {"hurdles": (9.0, 0.0)}, {"split": "heldout"}]
)
def test_hurdles_and_splits_are_the_same_both_ways(options: dict[str, Any]) -> None:
    one, other = (trained(trainer, zoo("adamw"), **options) for trainer in (MACHINE, TORCH))
    assert (one.status, one.steps, len(one.losses)) == (
        other.status,
        other.steps,
        len(other.losses),
    )
    assert one.losses == pytest.approx(other.losses, rel=1e-3)


SETTINGS = """
population = 10
replicates = [1]
tune_start = false
in_flight = 4
objective = "loss"
closing_share = 0.0
seed = 1
probe = false
"""


@pytest.mark.slow
def test_a_search_is_the_same_both_ways(tmp_path: Path) -> None:
    """It proposes the same programs and comes to the same fitness, but for rounding.

    Without the probe, since constants that are fitted to recorded gradients show every rounding,
    and until a training diverges: the machine sees that at once, and a function when it yields.
    """
    (tmp_path / "run.toml").write_text(SETTINGS)
    rows = []
    for name in ("written", "function"):
        given = ["--config", tmp_path / "run.toml", "--budget", "40evals", "--workers", 0]
        task = ["--tasks", f"test_conformance:{name}", "--out", tmp_path / name, "--quiet"]
        code, _, err = evolve("run", *given, *task, cwd=Path(__file__).parent)
        assert (code, err) == (0, "")
        with RunLog.open(tmp_path / name) as log:
            rows.append(list(log.records()))
    pairs = list(zip(*rows, strict=False))
    unlike = (
        i for i, pair in enumerate(pairs) if sum(row.outcome == DIVERGED for row in pair) == 1
    )
    for one, other in pairs[: (alike := next(unlike, len(pairs)))]:
        assert (one.parent, one.mutation, one.program) == (
            other.parent,
            other.mutation,
            other.program,
        )
        assert one.outcome == other.outcome
        assert one.fitness == pytest.approx(other.fitness, abs=1e-3)
    assert alike >= 15
