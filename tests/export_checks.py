"""What every exporter is held to: the linter, and a replay against the reference interpreter."""

import itertools
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
from strategies import wide_program

from evolve.export import replay
from primitives import reference
from primitives.program import Program
from primitives.zoo import NAMES, zoo

ROOT = Path(__file__).parents[1]
#: A statement of the zoo may differ by so much from the reference, for weights of order 1.
TOLERANCE = 1e-6


@cache
def random_programs(count: int, statements: int = 8) -> tuple[Program, ...]:
    """Random programs of all functions, with up to three slots, that stay finite."""
    found: list[Program] = []
    for seed in itertools.count():
        program = wide_program(seed, statements, seed % 4)
        if steps_compared(program) == replay.STEPS:
            found.append(program)
        if len(found) == count:
            return tuple(found)
    raise AssertionError


def all_programs(count: int) -> dict[str, Program]:
    """The zoo, and some random programs."""
    programs = {name.replace("-", "_"): zoo(name) for name in NAMES}
    return programs | {f"random_{i}": p for i, p in enumerate(random_programs(count))}


def lint(folder: Path) -> None:
    """Fail unless every file passes the repository's linter and formatter as it is."""
    config = ["--config", str(ROOT / "pyproject.toml")]
    for command in (["check"], ["format", "--check", "--diff"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", *config, str(folder)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def allowance(program: Program, seed: int = 0) -> float:
    """How far rounding alone may move a weight of a random program.

    As far as the reference itself moves when its gradients, its weights and its
    schedule change by a few units in the last place, ten times over.
    """
    weights, gradients = replay.recorded(seed)
    worst = 0.0
    for trial in range(4):
        random = np.random.default_rng(trial)

        def shaken(leaves, random=random):
            return [
                np.asarray(x * (1 + 4e-7 * random.choice([-1, 1], x.shape)), np.float32)
                for x in leaves
            ]

        worst = max(
            worst,
            replay.worst_step(_reference(program, shaken), program, weights, gradients),
        )
    return TOLERANCE + 10 * worst


def _reference(program, shaken):
    """The reference itself as an export, on shaken inputs."""
    peak = replay.lower(program).peak.default
    slots = reference.zero_slots(program, replay.recorded()[0])

    def step(weights, gradient, rate):
        nonlocal slots
        near = np.float32(rate / peak * (1 + 1e-7))
        with np.errstate(all="ignore"):
            update, slots = reference.run_step(
                program, shaken(weights), shaken(gradient), slots, near
            )
            return [w - u for w, u in zip(weights, update, strict=True)]

    return step


def steps_compared(program: Program) -> int:
    """For how many steps the reference is finite."""
    weights, gradients = replay.recorded()
    slots, count = reference.zero_slots(program, weights), 0
    for i, gradient in enumerate(gradients):
        rate = replay.SCHEDULE[i % 3]
        with np.errstate(all="ignore"):
            update, slots = reference.run_step(program, weights, gradient, slots, rate)
            weights = [np.asarray(w - u) for w, u in zip(weights, update, strict=True)]
        leaves = [*weights, *(leaf for s in slots.values() for leaf in s)]
        if not all(np.isfinite(leaf).all() for leaf in leaves):
            break
        count += 1
    return count
