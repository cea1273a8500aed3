"""Exports on gradients that are NaN, infinite, huge or tiny."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Tried
from strategies import LONG, examples, wide_program
from test_extended import PROGRAMS as EXTENDED_PROGRAMS

from evolve.export import catalog, replay
from evolve.export.lowering import lower
from primitives import reference as interpreter
from primitives.program import Program
from primitives.zoo import NAMES, zoo

HERE = Path(__file__).parent


#: XLA takes subnormal numbers for zero.
SUBNORMAL = [1e-40, -1e-45]
ODD = {
    "nan": [np.nan],
    "infinite": [np.inf, -np.inf],
    "huge": [3e38, -3e38],
    "tiny": [0.0, -0.0, 1e-20, -1e-30],
    "subnormal": SUBNORMAL,
}
EXPORTED = {name: zoo(name) for name in NAMES} | EXTENDED_PROGRAMS
EXPORTED |= {f"random {seed}": wide_program(seed, 8, seed % 3) for seed in range(12)}


@pytest.mark.promise(15)
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("target", replay.ADAPTERS)
def test_exports_meet_odd_numbers_as_the_program_does(
    target: str, kind: str, tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN where it has NaN, infinite where it is infinite, and the same number elsewhere.

    There are two exceptions. JAX takes subnormal numbers for zero. In PyTorch a moving average
    that has become infinite is NaN after the next step, as those of its own optimizers are.
    """
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    if kind == "subnormal" and target in ("optax", "keras"):
        return
    names = list(EXPORTED) if LONG or target in ("numpy", "torch") else list(EXPORTED)[::4]
    for name in names:
        for seed in range(examples(1, 10)):
            wrong = odd_steps(target, EXPORTED[name], ODD[kind], seed)
            assert not wrong, (name, seed, wrong)
            tried("exports stepped", 1)


def odd_steps(target: str, program: Program, odd: list[float], seed: int) -> str:
    """Where some steps of an export differ, the second of them on odd gradients; or nothing."""
    weights, gradients = replay.recorded(seed)
    chance = np.random.default_rng(seed)
    for leaf in gradients[1]:
        places = chance.random(leaf.shape) < 0.3
        leaf[places] = chance.choice(odd, leaf.shape)[places]
    module = replay.load(catalog.emit(target, program, "found", {}))
    step = replay.ADAPTERS[target](module, "found", weights)
    peak, slots = lower(program).peak.default, interpreter.zero_slots(program, weights)
    with np.errstate(all="ignore"):
        for number, gradient in enumerate(gradients[:4]):
            lost = [  # what a moving average may make NaN of
                leaf for leaves in slots.values() for leaf in leaves if np.isinf(leaf).any()
            ]
            update, slots = interpreter.run_step(program, weights, gradient, slots, 1.0)
            after = [np.asarray(w - u) for w, u in zip(weights, update, strict=True)]
            for got, wanted, w in zip(step(weights, gradient, peak), after, weights, strict=True):
                if target == "torch" and lost:
                    got = np.where(np.isnan(got), wanted, got)
                same = agree(got, wanted, np.asarray(w))
                if not same.all():
                    return f"step {number}: {got[~same][0]} for {wanted[~same][0]}"
            weights = after
    return ""


def agree(got: np.ndarray, wanted: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Where both are the same, to 1 % of a usual step and the rounding of the weight itself."""
    steps = np.abs(wanted - before)
    usual = np.median(steps[np.isfinite(steps)]) if np.isfinite(steps).any() else 0.0
    allowed = 0.01 * usual + 2e-3 * steps + 1e-6 * np.abs(wanted)
    near = np.isfinite(wanted) & (np.abs(got - wanted) <= allowed)
    return near | (got == wanted) | (np.isnan(got) & np.isnan(wanted))
