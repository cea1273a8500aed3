"""Run by `test_export_keras.py` with KERAS_BACKEND set: the Keras target on one backend."""

import inspect
import json
import math
import os
from functools import partial

import keras
import numpy as np
import optimizers
import pytest
from export_checks import TOLERANCE, all_programs, allowance
from keras import ops

from discovered.keras import Lion
from evolve.export import keras as target
from evolve.export import replay, shipped
from primitives.text import from_text
from primitives.zoo import zoo

#: Keras's own variables do not yet know an argument of NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")

PROGRAMS = all_programs(30)
GOLDEN = [1.25, 1.0625, 0.671875, 0.37890625, 0.4091796875, 0.431884765625]


MAKES = optimizers.makes("keras", discovered=Lion, compensated=partial(Lion, compensated=True))
kinds = optimizers.each(MAKES)


def start(dtype="float32"):
    random = np.random.default_rng(0)
    shapes = ((3, 4), (), (5,))
    return [keras.Variable(random.normal(size=shape), dtype=dtype) for shape in shapes]


def gradients(step, variables, scale=1.0):
    random = np.random.default_rng(step)
    made = [scale * random.normal(size=v.shape) for v in variables]
    return [
        ops.cast(ops.convert_to_tensor(np.float32(g)), v.dtype)
        for g, v in zip(made, variables, strict=True)
    ]


def values(variables):
    return [np.array(ops.convert_to_numpy(ops.cast(v.value, "float32"))) for v in variables]


def run(optimizer, variables, steps=3, scale=1.0):
    for step in range(steps):
        optimizer.apply(gradients(step, variables, scale), variables)
    return values(variables)


def close(xs, ys, tolerance=1e-6):
    for x, y in zip(xs, ys, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=tolerance)


def test_the_backend_is_the_one_asked_for():
    assert keras.backend.backend() == os.environ["KERAS_BACKEND"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_keras_computes_what_the_reference_computes(name):
    program = PROGRAMS[name]
    source = target.emit(program, name, {})
    limit = allowance(program) if name.startswith("random") else TOLERANCE
    assert replay.largest_difference("keras", source, name, program) <= limit


def test_the_replay_sees_a_wrong_constant():
    source = target.emit(zoo("lion"), "lion", {}).replace("beta_2=0.99", "beta_2=0.9")
    assert replay.largest_difference("keras", source, "lion", zoo("lion")) > 1e-5


@kinds
def test_serialization(make):
    options = {"clipnorm": 1.0, "use_ema": True, "name": "mine", "weight_decay": 0.02}
    options |= {"ema_momentum": 0.9, "ema_overwrite_frequency": 3, "loss_scale_factor": 2.0}
    options |= {"gradient_accumulation_steps": 2}
    optimizer = make(0.25, **options)
    config = optimizer.get_config()
    assert set(config) >= {"learning_rate", *options}
    own = set(config) - set(keras.optimizers.Optimizer(0.1).get_config())
    assert all(getattr(optimizer, key) == config[key] for key in own)
    json.dumps(config)
    again = type(optimizer).from_config(dict(config))
    assert again.get_config() == config
    packed = keras.saving.serialize_keras_object(optimizer)
    assert keras.saving.deserialize_keras_object(packed).get_config() == config
    scheduled = make(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5))
    packed = keras.optimizers.serialize(scheduled)
    assert keras.optimizers.deserialize(packed).get_config() == scheduled.get_config()


@kinds
def test_config_holds_every_argument(make):
    arguments = set(inspect.signature(type(make()).__init__).parameters) - {"self", "kwargs"}
    assert arguments <= set(make().get_config())
    assert make()._check_super_called() is None


@kinds
def test_schedules(make):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.002, 1, 0.5)
    one, variables = make(schedule), start()
    run(one, variables)
    other, same = make(0.002), start()
    for step in range(3):
        other.learning_rate = 0.002 * 0.5**step
        other.apply(gradients(step, same), same)
    close(values(variables), values(same))


@kinds
@pytest.mark.parametrize(
    "option", [{"clipnorm": 0.5}, {"clipvalue": 0.1}, {"global_clipnorm": 0.5}]
)
def test_clipping(make, option):
    options = {"gradient_accumulation_steps": None}
    variables, plain = start(), start()
    clipped, other = make(0.01, **option, **options), make(0.01)
    clipped.build(variables)
    given = gradients(0, variables)
    clipped.apply(given, variables)
    other.apply(clipped._clip_gradients(given), plain)
    close(values(variables), values(plain))


@kinds
def test_loss_scale(make):
    variables, plain = start(), start()
    scaled, other = make(0.01, loss_scale_factor=4.0), make(0.01)
    close(run(scaled, variables, scale=4.0), run(other, plain))


@kinds
def test_gradient_accumulation(make):
    variables, plain = start(), start()
    accumulated, other = make(0.01, gradient_accumulation_steps=2), make(0.01)
    before = values(variables)
    first, second = gradients(0, variables), gradients(1, variables)
    accumulated.apply(first, variables)
    close(values(variables), before, 0.0)
    accumulated.apply(second, variables)
    other.apply([(x + y) / 2 for x, y in zip(first, second, strict=True)], plain)
    close(values(variables), values(plain))


@kinds
def test_moving_average_of_the_weights(make):
    variables, plain = start(), start()
    averaged = make(0.01, use_ema=True, ema_momentum=0.5)
    run(averaged, variables, 2)
    steps = []
    other = make(0.01)
    for step in range(2):
        other.apply(gradients(step, plain), plain)
        steps.append(values(plain))
    averaged.finalize_variable_values(variables)
    close(values(variables), [(x + y) / 2 for x, y in zip(*steps, strict=True)])


@kinds
def test_the_moving_average_overwrites_the_weights(make):
    variables, plain = start(), start()
    options = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}
    run(make(0.01, **options), variables, 2)
    first = run(other := make(0.01), plain, 1)
    other.apply(gradients(1, plain), plain)
    close(values(variables), [(x + y) / 2 for x, y in zip(first, values(plain), strict=True)])


def test_sums_go_over_variables_with_gradients_only():
    text = "def train(w, g, lr):\n    k = global_norm(w)\n    update = g * k\n    return update\n"
    make = replay.load(target.emit(from_text(text), "normed", {})).Normed
    variables = [keras.Variable(np.full(2, x, np.float32)) for x in (3.0, 4.0, 100.0)]
    optimizer = make()
    optimizer.build(variables)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([ops.ones(2), ops.ones(2), None], variables)
    moved = 50.0**0.5  # of 3, 3, 4, 4
    close(values(variables), [np.full(2, x) for x in (3.0 - moved, 4.0 - moved, 100.0)])


@kinds
def test_weight_decay_of_the_base_class_and_exclusion(make):
    # A learning rate beside which Program 8's schedule stays below 1.
    decayed, plain, excluded = start(), start(), start()
    run(make(0.0001, weight_decay=10.0), decayed, 1)
    run(make(0.0001, weight_decay=0.0), plain, 1)
    optimizer = make(0.0001, weight_decay=10.0)
    optimizer.exclude_from_weight_decay(var_list=excluded[:1])
    run(optimizer, excluded, 1)
    close(values(excluded[:1]), values(plain[:1]), 1e-5)
    close(values(excluded[2:]), values(decayed[2:]), 1e-5)
    assert not np.allclose(values(plain)[0], values(decayed)[0], atol=1e-5)


@kinds
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bit_variables(make, dtype):
    narrow, wide = start(dtype), start()
    got = run(make(0.0001), narrow)
    assert {v.dtype for v in narrow} == {dtype}
    for x, y in zip(got, run(make(0.0001), wide), strict=True):
        np.testing.assert_allclose(x, y, rtol=0.05, atol=0.02)


@kinds
def test_missing_gradients(make):
    variables = start()
    optimizer = make(0.01)
    optimizer.build(variables)
    before = values(variables)
    given = [None, *gradients(0, variables)[1:]]
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply(given, variables)
    close(values(variables)[:1], before[:1], 0.0)
    assert not np.allclose(values(variables)[2], before[2], atol=1e-7)


@kinds
@pytest.mark.parametrize("jit", [False, True])
def test_fit_save_and_load(make, jit, tmp_path):
    if jit and keras.backend.backend() == "torch":
        jit = False  # torch.compile of a whole model needs a compiler and a minute
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile(make(), loss="mse", jit_compile=jit)
    x = np.ones((8, 4), np.float32)
    model.fit(x, x[:, :1], epochs=2, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.models.load_model(path)
    for v, w in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(v), ops.convert_to_numpy(w))
    model.fit(x, x[:, :1], verbose=0)
    again.fit(x, x[:, :1], verbose=0)
    close(values(model.trainable_variables), values(again.trainable_variables))


@kinds
def test_stateless(make):
    variables, plain = start(), start()
    optimizer, other = make(0.001), make(0.001)
    optimizer.build(variables)
    weights, _ = optimizer.stateless_apply(
        [v.value for v in optimizer.variables],
        gradients(0, variables),
        [v.value for v in variables],
    )
    other.apply(gradients(0, plain), plain)
    close([ops.convert_to_numpy(w) for w in weights], values(plain))


@kinds
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(make, policy):
    """The weights stay in float32, and follow the ones of a model that is float32 throughout."""
    ends = []
    for dtype in (policy, "float32"):
        keras.utils.set_random_seed(0)
        dense = keras.layers.Dense(1, dtype=dtype)
        model = keras.Sequential([keras.layers.Input((4,)), dense])
        model.compile(make(0.0001), loss="mse", jit_compile=False)
        before = values(model.trainable_variables)
        x = np.ones((8, 4), np.float32)
        model.fit(x, x[:, :1], epochs=2, verbose=0)
        assert {v.dtype for v in model.trainable_variables} == {"float32"}
        moved = zip(values(model.trainable_variables), before, strict=True)
        ends.append([after - start for after, start in moved])
    for x, y in zip(*ends, strict=True):
        np.testing.assert_allclose(x, y, rtol=0.1, atol=2e-5)


@kinds
@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_hyperparameters_that_make_no_sense(make, bad):
    with pytest.raises(ValueError, match=rf"^learning_rate is {bad}; it must be at least 0$"):
        make(bad)
    with pytest.raises(ValueError, match=rf"^weight_decay is {bad}; it must be at least 0$"):
        make(weight_decay=bad)
    for name in make()._own:
        if name.startswith("beta_"):
            with pytest.raises(ValueError, match=rf"^{name} is nan; it must be "):
                make(**{name: math.nan})


def test_compensated_variables_that_alone_decay():
    variables = [
        keras.Variable(np.ones(3), name="a", dtype="bfloat16"),
        keras.Variable(np.ones(3), name="bias"),
    ]
    optimizer = Lion(1e-2, weight_decay=0.1, compensated=True)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([ops.ones(3, v.dtype) for v in variables], variables)
    assert (values(variables)[1] < 1.0).all()


def test_every_number_has_its_sign():
    """Subnormals have theirs, or none where the backend takes them for zero; nothing between."""
    tiny = float(np.finfo(np.float32).tiny)
    sizes = np.float32([tiny, 3e38, 1.0, 1e-30, 1e30, 0.0, np.nan])
    subnormal = np.float32([tiny / 2, 1e-40, 1e-45])
    g = np.concatenate([sizes, -sizes, subnormal, -subnormal])
    p = keras.Variable(np.zeros_like(g))
    Lion(0.5, beta_1=0.0).apply([ops.convert_to_tensor(g)], [p])
    (got,) = values([p])
    count = 2 * len(sizes)
    np.testing.assert_array_equal(got[:count], -0.5 * np.sign(g[:count]))
    assert all(x in (0.0, -0.5 * np.sign(y)) for x, y in zip(got[count:], g[count:], strict=True))


# The shipped Lion -----------------------------------------------------------------------------


def test_signature():
    def defaults(make):
        parameters = inspect.signature(make).parameters.values()
        return [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    assert dict(defaults(Lion)) == {
        "learning_rate": 0.001,
        "beta_1": 0.9,
        "beta_2": 0.99,
        "weight_decay": None,
        "clipnorm": None,
        "clipvalue": None,
        "global_clipnorm": None,
        "use_ema": False,
        "ema_momentum": 0.99,
        "ema_overwrite_frequency": None,
        "loss_scale_factor": None,
        "gradient_accumulation_steps": None,
        "name": None,  # Keras then calls it lion, like its own
    }
    known = defaults(keras.optimizers.Lion)
    assert [name for name, _ in defaults(Lion)] == [name for name, _ in known]
    assert defaults(Lion)[:-1] == known[:-1]
    assert Lion().name.startswith("lion") and keras.optimizers.Lion().name.startswith("lion")


def test_golden():
    p = keras.Variable(np.float32(1.5))
    optimizer = Lion(0.125, 0.75, 0.875, weight_decay=2.0)
    seen = []
    for g in (-2.0, 0.5, 0.5, 1.0, -1.5, -2.0):
        optimizer.apply([ops.convert_to_tensor(np.float32(g))], [p])
        seen.append(float(ops.convert_to_numpy(p.value)))
    assert seen == GOLDEN


@pytest.mark.parametrize("decay", [None, 0.1])
def test_lion_agrees_with_keras_lion(decay):
    """Open loop over 300 steps; the sum of two products is rounded in another order."""
    ours, theirs = start(), start()
    one, two = Lion(0.01, weight_decay=decay), keras.optimizers.Lion(0.01, weight_decay=decay)
    one.build(ours)
    two.build(theirs)
    different = 0
    for step in range(300):
        for v, w in zip(ours, theirs, strict=True):
            v.assign(w)
        given = gradients(step, ours, 0.1)
        one.apply(given, ours)
        two.apply(given, theirs)
        different += sum(
            (np.abs(x - y) > 2e-7).sum() for x, y in zip(values(ours), values(theirs), strict=True)
        )
    assert different == 0


def test_nan_goes_into_the_weight():
    p = keras.Variable(np.ones(3, np.float32))
    Lion(0.1).apply([ops.convert_to_tensor(np.float32([1.0, np.nan, -1.0]))], [p])
    assert np.isnan(values([p])[0]).tolist() == [False, True, False]


@pytest.mark.parametrize("stateless", [False, True])
def test_compensated_steps_are_not_lost(stateless):
    """A hundred steps of 1e-3 at weight 4: each is less than half a bfloat16 spacing there."""
    plain, kept = (keras.Variable(np.full(3, 4.0), dtype="bfloat16") for _ in range(2))
    g = ops.ones(3, "bfloat16")
    for variable, compensated in ((plain, False), (kept, True)):
        optimizer = Lion(1e-3, weight_decay=0.5, compensated=compensated)
        optimizer.build([variable])
        weights, state = [variable.value], [v.value for v in optimizer.variables]
        apply = optimizer.stateless_apply
        if stateless and keras.backend.backend() == "jax":
            import jax

            apply = jax.jit(apply)
        for _ in range(100):
            if stateless:
                weights, state = apply(state, [g], weights)
            else:
                optimizer.apply([g], [variable])
        if stateless:
            variable.assign(weights[0])
    assert values([plain])[0].tolist() == [4.0] * 3
    exact = 4.0
    for _ in range(100):
        exact = exact * (1 - 0.5e-3) - 1e-3
    np.testing.assert_allclose(values([kept])[0], exact, atol=0.016)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_momentum_and_error_keep_their_dtype_through_a_checkpoint(dtype, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1, dtype=dtype)])
    model.compile(Lion(1e-3, compensated=True), loss="mse", jit_compile=False)
    x = np.ones((8, 4), np.float32)
    model.fit(x, 9 * x[:, :1], epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    slots = model.optimizer.variables[2:]
    assert len(slots) == 4 and {v.dtype for v in slots} == {dtype}  # m and error of both weights
    assert any((x != 0).any() for x in values(slots))
    for v, w in zip(slots, again.optimizer.variables[2:], strict=True):
        assert w.dtype == dtype
        np.testing.assert_array_equal(*values([v, w]))


def test_state_is_one_array_for_each_weight():
    variables = start()
    sizes = []
    for optimizer in (Lion(), keras.optimizers.AdamW()):
        optimizer.build(variables)
        sizes.append(sum(int(np.prod(v.shape)) for v in optimizer.variables[2:]))
    assert sizes[0] == sum(int(np.prod(v.shape)) for v in variables)
    assert 2 * sizes[0] == sizes[1]


def test_shipped_lion_is_as_far_from_the_reference_as_noted():
    notes = shipped.program()[1]
    assert shipped.measured("keras") <= float(notes["largest difference, keras"]) + 2.4e-7
