"""What Optax expects of a transformation, asked of Lion as shipped and of exported programs."""

import dataclasses
import inspect
import os
import subprocess
import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimizers
import pytest

from discovered import lion
from evolve.export import optax as target
from evolve.export import replay
from primitives.text import from_text


def shipped_lion(learning_rate=1e-4, weight_decay=1e-3, mask=None, compensated=False):
    """The shipped Lion, whose learning rate has no default."""
    return lion(learning_rate, weight_decay=weight_decay, mask=mask, compensated=compensated)


MAKES = optimizers.makes(
    "optax", discovered=shipped_lion, compensated=partial(shipped_lion, compensated=True)
)
kinds = optimizers.each(MAKES)


def params(dtype=jnp.float32):
    return {"a": jnp.linspace(-1, 1, 6, dtype=dtype).reshape(2, 3), "b": [jnp.ones((), dtype)]}


def gradients(tree):
    return jax.tree.map(lambda x: jnp.asarray(0.1 * x + 0.05, x.dtype), tree)


def close(x, y, tolerance=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=tolerance), x, y)


@kinds
def test_jit_vmap_extra_arguments_and_dtypes(make):
    optimizer = make()
    assert isinstance(optimizer, optax.GradientTransformationExtraArgs)
    w = params()
    state = optimizer.init(w)
    plain, after = optimizer.update(gradients(w), state, w)
    jitted, _ = jax.jit(optimizer.update)(gradients(w), state, w, unexpected=1)
    close(plain, jitted)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.structure(plain) == jax.tree.structure(w)
    # Two models at once.
    both = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), w)
    states = jax.vmap(optimizer.init)(both)
    updates, _ = jax.vmap(optimizer.update)(gradients(both), states, both)
    close(jax.tree.map(lambda x: x[0], updates), plain)


@kinds
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_updates_keep_the_gradients_dtype_and_slots_the_weights(make, dtype):
    optimizer, w = make(), params(dtype)
    state = optimizer.init(w)
    updates, after = jax.eval_shape(optimizer.update, gradients(w), state, w)
    assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
    assert jax.tree.map(lambda x: x.dtype, state) == jax.tree.map(lambda x: x.dtype, after)
    narrow, _ = optimizer.update(gradients(w), state, w)
    wide = params()
    exact, _ = optimizer.update(gradients(wide), optimizer.init(wide), wide)
    for x, y in zip(jax.tree.leaves(narrow), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(np.float32(x), y, rtol=0.05, atol=1e-6)


@kinds
def test_float64(make):
    with jax.enable_x64(True):
        w = params(jnp.float64)
        optimizer = make()
        state = optimizer.init(w)
        updates, after = optimizer.update(gradients(w), state, w)
        assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype("float64")}
        assert jax.tree.map(lambda x: x.dtype, state) == jax.tree.map(lambda x: x.dtype, after)


@kinds
def test_abstract_init_and_parameter_mapping(make):
    optimizer, w = make(), params()
    shapes = jax.eval_shape(lambda: params())
    abstract = jax.eval_shape(optimizer.init, shapes)
    state = optimizer.init(w)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), abstract) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert optimizer.init(shapes).count == 0  # zeros for shapes, without weights
    mapped = optax.tree.map_params(optimizer, lambda x: x + 1, state)
    assert mapped.count == 0
    assert all((x == 1).all() for x in jax.tree.leaves(mapped[1:]))


@kinds
def test_schedules_and_injected_hyperparameters(make):
    w = params()

    def schedule(count):
        return 0.5 / (1.0 + count)

    scheduled, injected = make(schedule), optax.inject_hyperparams(make)(learning_rate=schedule)
    states = [scheduled.init(w), injected.init(w)]
    for step in range(3):
        fixed, _ = make(schedule(step)).update(gradients(w), states[0], w)
        first, states[0] = scheduled.update(gradients(w), states[0], w)
        second, states[1] = jax.jit(injected.update)(gradients(w), states[1], w)
        close(first, fixed)
        close(second, first)
    assert states[0].count == 3
    assert float(states[1].hyperparams["learning_rate"]) == pytest.approx(0.5 / 3)


def test_injected_hyperparameters_can_be_traced():
    make = optax.inject_hyperparams(MAKES["adamw"])
    w = params()
    optimizer = make(learning_rate=0.1, b1=0.5)
    state = optimizer.init(w)
    assert float(state.hyperparams["b1"]) == 0.5
    state.hyperparams["b1"] = jnp.asarray(0.9)
    got, _ = jax.jit(optimizer.update)(gradients(w), state, w)
    plain = MAKES["adamw"](0.1, b1=0.9)
    close(got, plain.update(gradients(w), plain.init(w), w)[0])


def test_the_learning_rate_is_the_peak_times_the_schedule():
    # Program 8 clips at the schedule, so half the learning rate clips at half the norm.
    make = MAKES["paper-program-8"]
    w, g = [jnp.zeros(3)], [jnp.array([3.0, 0.0, 4.0])]
    full, half = make(0.5, peak_lr=0.5), make(0.25, peak_lr=0.5)
    clipped = [o.update(g, o.init(w), w)[1].v[0] for o in (full, half)]
    b1, b2 = 0.9, 1.109133
    for v, scale in zip(clipped, (1.0, 0.5), strict=True):
        inner = np.arcsin(np.array([0.6, 0.0, 0.8]) * scale)
        np.testing.assert_allclose(v, (1 - b2) * inner + b2 * (1 - b1) * inner, rtol=1e-3)


@kinds
def test_multi_steps(make):
    w = params()
    many = optax.MultiSteps(make(), every_k_schedule=2)
    state = many.init(w)
    first, state = many.update(gradients(w), state, w)
    assert all((x == 0).all() for x in jax.tree.leaves(first))
    second, _ = many.update(gradients(w), state, w)
    once, _ = make().update(gradients(w), make().init(w), w)
    close(second, once)


@kinds
def test_none_leaves(make):
    w = params() | {"none": None}
    g = gradients(params()) | {"none": None}
    optimizer = make()
    updates, after = optimizer.update(g, optimizer.init(w), w)
    assert updates["none"] is None
    plain, _ = optimizer.update(gradients(params()), optimizer.init(params()), params())
    close({"a": updates["a"], "b": updates["b"]}, plain)
    # A weight without a gradient keeps its slots.
    some = gradients(params()) | {"b": [None]}
    updates, after = optimizer.update(some, optimizer.init(params()), params())
    assert updates["b"] == [None]
    assert jax.tree.structure(after) == jax.tree.structure(optimizer.init(params()))


def test_sums_go_over_weights_with_gradients_only():
    text = "def train(w, g, lr):\n    k = global_norm(w)\n    update = g * k\n    return update\n"
    module = replay.load(target.emit(from_text(text), "normed", {}))
    w = [jnp.full(2, x) for x in (3.0, 4.0, 100.0)]
    optimizer = module.normed()
    updates, _ = optimizer.update([jnp.ones(2), jnp.ones(2), None], optimizer.init(w), w)
    assert updates[2] is None
    close(updates[:2], [jnp.full(2, -(50.0**0.5))] * 2)


@kinds
def test_masked_and_chained(make):
    w = params()
    mask = {"a": True, "b": [False]}
    masked = optax.chain(optax.masked(make(), mask), optax.scale(2.0))
    updates, _ = masked.update(gradients(w), masked.init(w), w)
    close(updates["b"][0], 2 * gradients(w)["b"][0])
    alone = make()
    only, _ = alone.update({"a": gradients(w)["a"]}, alone.init({"a": w["a"]}), {"a": w["a"]})
    close(updates["a"], 2 * only["a"])


class Selection(dict):
    """A mask that is a tree and can also be called, as modules of some libraries can."""

    def __call__(self, *_):
        raise AssertionError("a mask that is a tree was called")


jax.tree_util.register_pytree_node(
    Selection,
    lambda x: (list(x.values()), list(x)),
    lambda keys, xs: Selection(zip(keys, xs, strict=True)),
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Params:
    """Weights in a dataclass, as of Equinox or Flax."""

    a: Any
    b: Any


MASKS = {
    "tree": {"a": True, "b": [False]},
    "prefix": {"a": True, "b": False},
    "function": lambda w: jax.tree.map(lambda x: x.ndim > 1, w),
    "function of a prefix": lambda w: {"a": True, "b": False},
    "arrays": {"a": np.True_, "b": [jnp.zeros((), bool)]},
}
DECAYED = {
    name: make for name, make in MAKES.items() if "mask" in inspect.signature(make).parameters
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("name", DECAYED)
def test_the_decay_has_a_mask(name, mask):
    make, w = MAKES[name], params()
    # A decay that shows, whatever the program's own is.
    with_mask, without = make(1.0, weight_decay=0.5, mask=mask), make(1.0, weight_decay=0.5)
    undecayed = make(1.0, weight_decay=0.0)
    got, _ = with_mask.update(gradients(w), with_mask.init(w), w)
    decayed, _ = without.update(gradients(w), without.init(w), w)
    plain, _ = undecayed.update(gradients(w), undecayed.init(w), w)
    close(got["a"], decayed["a"])
    close(got["b"], plain["b"])
    assert not np.allclose(plain["a"], decayed["a"])


@pytest.mark.parametrize("name", DECAYED)
@pytest.mark.parametrize("kind", [Selection, Params])
def test_a_mask_that_can_be_called_is_a_tree_all_the_same(name, kind):
    w = kind(a=jnp.linspace(-1.0, 1.0, 6), b=jnp.ones(3))
    g = jax.tree.map(lambda x: 0.1 * x + 0.05, w)
    mask = kind(a=True, b=False)
    optimizer = MAKES[name](1.0, weight_decay=0.5, mask=mask)
    got, _ = jax.jit(optimizer.update)(g, optimizer.init(w), w)
    like = optax.lion(1.0, weight_decay=0.5, mask=mask)
    like.update(g, like.init(w), w)  # Optax takes it too
    ends = [MAKES[name](1.0, weight_decay=decay) for decay in (0.5, 0.0)]
    decayed, plain = (o.update(g, o.init(w), w)[0] for o in ends)
    (a, b), (a1, _), (_, b0) = (jax.tree.leaves(x) for x in (got, decayed, plain))
    close(a, a1)
    close(b, b0)


@pytest.mark.parametrize("name", DECAYED)
@pytest.mark.parametrize("jit", [False, True])
def test_an_infinite_weight_that_does_not_decay_stays(name, jit):
    w = {"a": jnp.array([-jnp.inf, 1.0]), "b": jnp.ones(2)}
    g = {"a": jnp.full(2, 0.1), "b": jnp.ones(2)}
    for options in ({"mask": {"a": False, "b": True}}, {"weight_decay": 0.0}):
        optimizer = MAKES[name](1e-3, **options)
        update = jax.jit(optimizer.update) if jit else optimizer.update
        updates, _ = update(g, optimizer.init(w), w)
        after = optax.apply_updates(w, updates)["a"]
        assert after[0] == -jnp.inf and jnp.isfinite(after[1])


@kinds
def test_complex_weights_are_refused_with_a_way_out(make):
    w = jnp.ones(3, jnp.complex64)
    optimizer = make()
    with pytest.raises(ValueError, match=r"^complex weights: wrap it in optax.contrib.split_real"):
        optimizer.update(w, optimizer.init(w), w)
    split = optax.contrib.split_real_and_imaginary(make())
    updates, _ = split.update(w, split.init(w), w)
    assert updates.dtype == jnp.complex64


def test_weights_are_asked_for_only_when_they_are_read():
    sgd, adamw = MAKES["sgd"](), MAKES["adamw"]()
    g = gradients(params())
    assert jax.tree.structure(sgd.update(g, sgd.init(g))[0]) == jax.tree.structure(g)
    with pytest.raises(ValueError, match=r"^the weights are needed: call update\(updates, state, "):
        adamw.update(g, adamw.init(g))


def test_slots_may_have_a_dtype_of_their_own():
    optimizer, w = MAKES["adamw"](mu_dtype=jnp.bfloat16), params()
    state = optimizer.init(w)
    updates, after = optimizer.update(gradients(w), state, w)
    assert {x.dtype for x in jax.tree.leaves((state[1:], after[1:]))} == {jnp.dtype("bfloat16")}
    assert updates["a"].dtype == jnp.float32


@kinds
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_strict_promotion(make, dtype):
    """Nothing is promoted in silence, injected hyperparameters in the weights' dtype included."""
    with jax.numpy_dtype_promotion("strict"):
        w = params(dtype)
        for optimizer in (make(), optax.inject_hyperparams(make)(learning_rate=0.125)):
            state = optimizer.init(w)
            updates, after = jax.jit(optimizer.update)(gradients(w), state, w)
            assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
            assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)


@kinds
def test_scan(make):
    """Ten steps in one compiled loop are ten steps."""
    w, optimizer = params(), make(0.01)

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(gradients(w), state, w)
        return (optax.apply_updates(w, updates), state), None

    (scanned, _), _ = jax.lax.scan(step, (w, optimizer.init(w)), length=10)
    carry = (w, optimizer.init(w))
    for _ in range(10):
        carry, _ = step(carry, None)
    close(scanned, carry[0], 1e-5)


@kinds
@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), np.float32(-1.0)])
def test_a_learning_rate_that_makes_no_sense(make, bad):
    with pytest.raises(ValueError, match=rf"^learning_rate is {bad}; it must be at least 0$"):
        make(bad)


@kinds
def test_other_hyperparameters_that_make_no_sense(make):
    given = inspect.signature(make).parameters
    for name in given:
        if name[0] in "bc" and name[1:].isdigit():
            with pytest.raises(ValueError, match=rf"^{name} is nan; it must be "):
                make(**{name: float("nan")})
    if "weight_decay" in given:
        with pytest.raises(ValueError, match=r"^weight_decay is -0.5; it must be at least 0$"):
            make(weight_decay=-0.5)


@pytest.mark.parametrize("jit", [False, True])
def test_every_number_has_its_sign(jit):
    """XLA takes subnormals for zero; all other numbers have their sign, and NaN stays NaN."""
    tiny = float(np.finfo(np.float32).tiny)
    sizes = np.float32([tiny, 3e38, np.inf, 1.0, 1e-30, 1e30, 0.0, np.nan])
    subnormal = np.float32([tiny / 2, 1e-40, 1e-45])
    g = np.concatenate([sizes, -sizes, subnormal, -subnormal])
    optimizer, w = lion(0.5, b1=0.0, weight_decay=0.0), jnp.zeros(g.shape)
    update = jax.jit(optimizer.update) if jit else optimizer.update
    got, _ = update(jnp.asarray(g), optimizer.init(w), w)
    expected = np.concatenate([-0.5 * np.sign(g[:16]), np.zeros(6, np.float32)])
    np.testing.assert_array_equal(got, expected)


SHARDED = """
import sys
sys.path.insert(0, "tests")
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from test_optimizers_optax import MAKES
mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
split = NamedSharding(mesh, PartitionSpec("x"))
w = jnp.linspace(-1.0, 1.0, 16).reshape(8, 2)
for make in MAKES.values():
    optimizer = make()
    plain, _ = optimizer.update([w * 0.1], optimizer.init([w]), [w])
    shards = [jax.device_put(w, split)]
    state = jax.jit(optimizer.init)(shards)
    updates, after = jax.jit(optimizer.update)([shards[0] * 0.1], state, shards)
    assert updates[0].sharding.is_equivalent_to(split, 2), updates[0].sharding
    np.testing.assert_allclose(updates[0], plain[0], rtol=1e-5, atol=1e-7)
print("sharded")
"""


def test_sharded_weights():
    flags = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED], env=flags, capture_output=True, text=True
    )
    assert done.stdout == "sharded\n", done.stderr[-3000:]
