"""The shipped Lion in Optax and PyTorch (Keras: see `export_keras_checks.py`)."""

import inspect
import io
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import lion_pytorch
import lion_pytorch.foreach
import numpy as np
import optax
import pytest
import torch
from export_checks import lint

import discovered
from discovered import lion
from discovered.torch import Lion
from evolve.export import shipped
from primitives.abstract import analyse
from primitives.zoo import zoo

FOLDER = Path(discovered.__file__).parent
GRADIENTS = (-2.0, 0.5, 0.5, 1.0, -1.5, -2.0)
GOLDEN = [1.25, 1.0625, 0.671875, 0.37890625, 0.4091796875, 0.431884765625]
SHAPES = ((3, 4), (), (50,), (2, 2, 2))
STEPS = 300


def arrays(seed, scale=1.0):
    random = np.random.default_rng(seed)
    return [np.asarray(scale * random.normal(size=shape), np.float32) for shape in SHAPES]


def parameters(leaves, dtype=torch.float32):
    return [torch.nn.Parameter(torch.tensor(x, dtype=dtype)) for x in leaves]


# What is written --------------------------------------------------------------------------------


def test_the_exporters_write_what_is_shipped():
    for name, source in shipped.sources().items():
        assert (FOLDER / name).read_text() == source, (
            f"run python -m evolve.export.shipped ({name})"
        )
    assert set(shipped.sources()) == {"optax.py", "torch.py", "keras.py"}
    lint(FOLDER)


def test_the_program_has_provenance_and_is_lion():
    program, notes = shipped.program()
    assert notes["source"] == "paper" and "2302.06675" in notes["reference"]
    assert analyse(program).functional_hash == analyse(zoo("lion")).functional_hash


@pytest.mark.parametrize("target", ["optax", "torch"])
def test_the_difference_from_the_reference_is_the_one_noted(target):
    noted = float(shipped.program()[1][f"largest difference, {target}"])
    # Another processor may round otherwise, by a unit or two in the last place.
    assert shipped.measured(target) <= noted + 2.4e-7
    assert f"in 20 steps: {noted}" in " ".join((FOLDER / f"{target}.py").read_text().split())


ALONE = """
import sys
from discovered import lion
from discovered.torch import Lion
from discovered.conversion import from_adamw
lion(from_adamw(1e-3).learning_rate)
imported = {m.split(".")[0] for m in sys.modules}
assert not {"ray", "evolve", "primitives", "sympy", "keras"} & imported
print("alone")
"""


def test_importing_pulls_in_no_search():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert done.stdout == "alone\n", done.stderr
    only = "import sys, discovered.torch; assert 'jax' not in sys.modules; print('no jax')"
    done = subprocess.run([sys.executable, "-c", only], capture_output=True, text=True)
    assert done.stdout == "no jax\n", done.stderr
    heavy = "{'ray', 'evolve', 'primitives', 'proxy_tasks', 'optax'}"  # Keras has sympy
    only = f"import sys, discovered.keras; assert not {heavy} & set(sys.modules); print('alone')"
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", only], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "alone\n", done.stderr
    with pytest.raises(AttributeError, match="has no attribute 'tiger'"):
        _ = discovered.tiger


def defaults(function):
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def test_signatures():
    none = inspect.Parameter.empty
    names = ["learning_rate", "b1", "b2", "mu_dtype", "weight_decay", "mask"]
    assert defaults(lion) == list(zip(names, [none, 0.9, 0.99, None, 1e-3, None], strict=True))
    assert defaults(lion) == defaults(optax.lion)
    first = [("params", none), ("lr", 1e-4), ("betas", (0.9, 0.99)), ("weight_decay", 0.0)]
    assert defaults(Lion) == first
    assert defaults(lion_pytorch.Lion)[:4] == first


# What is computed -------------------------------------------------------------------------------


def test_golden_optax():
    optimizer = lion(0.125, 0.75, 0.875, weight_decay=2.0)
    w, seen = jnp.float32(1.5), []
    state = optimizer.init(w)
    for g in GRADIENTS:
        updates, state = jax.jit(optimizer.update)(jnp.float32(g), state, w)
        w = optax.apply_updates(w, updates)
        seen.append(float(w))
    assert seen == GOLDEN


@pytest.mark.parametrize("foreach", [None, False, True])
def test_golden_torch(foreach):
    (p,), seen = parameters([1.5]), []
    optimizer = Lion([p], 0.125, (0.75, 0.875), 2.0, foreach=foreach)
    for g in GRADIENTS:
        p.grad = torch.tensor(g)
        optimizer.step()
        seen.append(p.item())
    assert seen == GOLDEN


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_agreement_with_optax_bit_for_bit(decay):
    ours, theirs = lion(1e-3, weight_decay=decay), optax.lion(1e-3, weight_decay=decay)
    w = [jnp.asarray(x) for x in arrays(0)]
    states = [ours.init(w), theirs.init(w)]
    steps = [jax.jit(ours.update), jax.jit(theirs.update)]
    for i in range(STEPS):
        g = [jnp.asarray(x) for x in arrays(i, 0.1)]
        one, states[0] = steps[0](g, states[0], w)
        two, states[1] = steps[1](g, states[1], w)
        assert all(bool((x == y).all()) for x, y in zip(one, two, strict=True))
        w = optax.apply_updates(w, two)


@pytest.mark.parametrize("other", [lion_pytorch.Lion, lion_pytorch.foreach.Lion])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("foreach", [False, True])
def test_agreement_with_lion_pytorch(other, decay, foreach):
    """The same sign everywhere; weights within a rounding of one another, at every step."""
    ours, theirs = parameters(arrays(0)), parameters(arrays(0))
    one = Lion(ours, 1e-3, weight_decay=decay, foreach=foreach)
    two = other(theirs, lr=1e-3, weight_decay=decay)
    if other is lion_pytorch.Lion and "cautious_factor" in two.defaults:
        two.param_groups[0]["cautious_factor"] = 1.0  # its other algorithm, off
    for i in range(STEPS):
        for p, q, g in zip(ours, theirs, arrays(i, 0.1), strict=True):
            p.data.copy_(q.data)
            p.grad, q.grad = torch.tensor(g), torch.tensor(g)
        one.step()
        two.step()
        for p, q in zip(ours, theirs, strict=True):
            torch.testing.assert_close(p, q, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("compensated", [False, True])
def test_nan_gives_nan_in_that_weight(compensated):
    g = np.float32([1.0, np.nan, -1.0])
    narrow = compensated  # what is compensated is 16 bits wide
    optimizer = lion(0.1, compensated=compensated)
    w = jnp.ones(3, jnp.bfloat16 if narrow else jnp.float32)
    updates, _ = optimizer.update(jnp.asarray(g, w.dtype), optimizer.init(w), w)
    assert jnp.isnan(optax.apply_updates(w, updates)).tolist() == [False, True, False]
    for foreach in (False, True):
        (p,) = parameters([np.ones(3)], torch.bfloat16 if narrow else torch.float32)
        p.grad = torch.tensor(g, dtype=p.dtype)
        Lion([p], foreach=foreach, compensated=compensated).step()
        assert p.isnan().tolist() == [False, True, False]


def test_state_is_half_of_adamws():
    w = [jnp.asarray(x) for x in arrays(0)]
    sizes = [
        sum(x.size for x in jax.tree.leaves(o.init(w)) if x.ndim or x.dtype == jnp.float32)
        for o in (lion(1e-3), optax.adamw(1e-3))
    ]
    assert sizes == [sum(x.size for x in w), 2 * sum(x.size for x in w)]
    counts = []
    for make in (Lion, torch.optim.AdamW):
        params = parameters(arrays(0)[2:])
        optimizer = make(params)
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
        shaped = [x for s in optimizer.state.values() for x in s.values() if x.ndim]
        counts.append(sum(x.numel() for x in shaped))
    assert 2 * counts[0] == counts[1]


# Low precision ----------------------------------------------------------------------------------

#: Steps of 1e-3 at weight 4 are less than half the spacing of bfloat16 there, 2^-5.
LR, DECAY, COUNT = 1e-3, 0.5, 100
EXACT = 4.0
for _ in range(COUNT):
    EXACT -= LR * (1.0 + DECAY * EXACT)


@pytest.mark.parametrize("jit", [False, True])
def test_compensated_optax(jit):
    finals = []
    for compensated in (False, True):
        optimizer = lion(LR, weight_decay=DECAY, compensated=compensated)
        w = jnp.full(3, 4.0, jnp.bfloat16)
        state = optimizer.init(w)

        def step(w, state, optimizer=optimizer):
            updates, state = optimizer.update(jnp.ones_like(w), state, w)
            return optax.apply_updates(w, updates), state

        step = jax.jit(step) if jit else step
        for _ in range(COUNT):
            w, state = step(w, state)
        finals.append(float(w[0]))
    assert finals[0] == 4.0
    assert finals[1] == pytest.approx(EXACT, abs=2.0**-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_compensated_torch(dtype):
    finals = []
    for compensated in (False, True):
        (p,) = parameters([np.full(3, 4.0)], dtype)
        optimizer = Lion([p], LR, weight_decay=DECAY, compensated=compensated)
        for _ in range(COUNT):
            p.grad = torch.ones_like(p)
            optimizer.step()
        finals.append(p[0].item())
        assert optimizer.state[p].keys() == ({"error", "m"} if compensated else {"m"})
    assert finals[1] == pytest.approx(EXACT, abs=2.0**-6)
    assert abs(finals[0] - EXACT) > 10 * abs(finals[1] - EXACT)


def test_compensation_costs_float32_weights_nothing():
    (p,) = parameters([np.ones(3)])
    optimizer = Lion([p], compensated=True)
    p.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.state[p].keys() == {"m"}


def test_momentum_and_error_keep_their_dtype_through_a_checkpoint():
    params = parameters(arrays(0), torch.bfloat16)
    optimizer = Lion(params, slot_dtype=torch.float32, compensated=True)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = Lion(others := parameters(arrays(0), torch.bfloat16))
    again.load_state_dict(torch.load(file, weights_only=True))
    for p, q in zip(params, others, strict=True):
        for key, dtype in (("m", torch.float32), ("error", torch.bfloat16)):
            assert again.state[q][key].dtype == dtype
            assert torch.equal(again.state[q][key], optimizer.state[p][key])
    assert again.param_groups[0]["compensated"]


def test_optax_momentum_dtype():
    optimizer, w = lion(1e-3, mu_dtype=jnp.bfloat16), jnp.ones(3)
    state = optimizer.init(w)
    _, after = optimizer.update(w, state, w)
    assert state.m.dtype == after.m.dtype == jnp.bfloat16
