"""The Optax target: against the reference, and the linter."""

import jax
import jax.numpy as jnp
import numpy as np
import optimizers
import pytest
from export_checks import TOLERANCE, all_programs, allowance, lint
from strategies import wide_program

from evolve.export import optax as target
from evolve.export import replay
from primitives.zoo import NAMES, zoo

PROGRAMS = all_programs(30)


@pytest.mark.parametrize("name", PROGRAMS)
def test_optax_computes_what_the_reference_computes(name):
    program = PROGRAMS[name]
    source = target.emit(program, name, {})
    limit = allowance(program) if name.startswith("random") else TOLERANCE
    assert replay.largest_difference("optax", source, name, program) <= limit


def test_the_replay_sees_a_wrong_constant():
    source = target.emit(zoo("lion"), "lion", {}).replace(
        "b2: jax.typing.ArrayLike = 0.99", "b2=0.9"
    )
    assert replay.largest_difference("optax", source, "lion", zoo("lion")) > 1e-5


def test_optax_passes_the_linter(tmp_path):
    for name, program in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(target.emit(program, name, {"source": "x " * 90}))
    for seed in range(5):
        (tmp_path / f"w{seed}.py").write_text(target.emit(wide_program(seed, 60, 6), "wide", {}))
    lint(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_every_constant_is_a_keyword(name):
    lowered = replay.lower(zoo(name))
    call = {h.name: h.default for h in [*lowered.hyperparameters, lowered.peak]}
    name = name.replace("-", "_")
    make = optimizers.written("optax", name, zoo(name.replace("_", "-")))
    w = {"a": jnp.linspace(-1, 1, 6).reshape(2, 3), "b": [jnp.ones(())]}
    g = jax.tree.map(lambda x: 0.1 * x + 0.05, w)
    one, other = (o.update(g, o.init(w), w)[0] for o in (make(**call), make()))
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
