"""The zoo, step by step, against NumPy written from the defining equations, and Optax."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from strategies import LAYOUTS, LENGTH, ROWS, compiled, replay_machine, replay_reference, tree

from primitives import machine
from primitives.abstract import analyse
from primitives.program import ProgramError
from primitives.zoo import ALIASES, ENTRIES, NAMES, entry, zoo

STEPS, RATE, EPS = 20, 0.7, 1e-8
LAYOUT = LAYOUTS[0]
ARRAYS = range(len(LAYOUT.shapes))


def norm(leaves):
    return np.sqrt(sum((leaf**2).sum() for leaf in leaves))


def clip(leaves, limit):
    return [leaf * min(1.0, limit / max(norm(leaves), 1e-300)) for leaf in leaves]


def per_array(step):
    """An oracle of whole trees from one of single arrays: `step(w, g, state, lr) -> update`."""

    def whole(w, g, states, lr):
        return [step(w[i], g[i], states[i], lr) for i in ARRAYS]

    return whole


# Each oracle keeps its state in a dictionary, is float64 throughout, and follows the
# published update rule; without bias correction, and with `EPS` where the language has it.


def adamw(w, g, s, lr, decay=0.01):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g**2
    return lr * 0.001 * (s["m"] / (np.sqrt(s["v"]) + EPS) + decay * w)


def adam(w, g, s, lr):
    return adamw(w, g, s, lr, decay=0.0)


def lion(w, g, s, lr):
    m = s.get("m", 0)
    c = 0.9 * m + 0.1 * g
    s["m"] = 0.99 * m + 0.01 * g
    return lr * 0.0001 * (np.sign(c) + 0.1 * w)


def program_4(w, g, states, lr):
    g = [np.arcsin(x) for x in clip(g, lr)]
    updates = []
    for i in ARRAYS:
        v = states[i].get("v", 0)
        m = (1 - 0.899) * g[i] + 0.899 * v
        states[i]["v"] = (1 - 1.109) * g[i] + 1.109 * m
        updates.append((m / (abs(m) + EPS) + 0.4602 * w[i]) * lr * 0.0002)
    return updates


def program_5(w, g, states, lr):
    dot = sum((x * y).sum() for x, y in zip(g, w, strict=True))
    updates = []
    for i in ARRAYS:
        s = states[i]
        s["m"] = 0.84 * s.get("m", 0) + 0.16 * g[i]
        v = 0.999 * s.get("v", 0) + 0.001 * g[i] ** 2
        updates.append((np.sin(s["m"] / (np.sqrt(v) + EPS)) + dot * w[i]) * 0.0216 * lr)
        s["v"] = np.sin(v)
    return updates


def program_6(w, g, s, lr):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    v = s.get("v", 0)
    v = (1 - 0.0015) * v + 0.0015 * (v + g**2)
    s["v"] = np.minimum(v, np.pi)
    return np.sinh(s["m"] / (np.sqrt(v) + EPS)) * 0.0606 * lr


def program_7(w, g, s, lr):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * (g - s["m"]) ** 2
    return (s["m"] / (np.sqrt(s["v"]) + EPS) + 0.0238 * w) * 0.03721 * lr


def program_8(w, g, states, lr):
    g = [np.arcsin(x) for x in clip(g, lr)]
    b1, b2 = 0.8999999761581421, 1.109133005142212
    rate = lr * 0.0002171761734643951
    updates = []
    for i in ARRAYS:
        m = (1 - b1) * g[i] + b1 * states[i].get("v", 0)
        states[i]["v"] = (1 - b2) * g[i] + b2 * m
        updates.append(rate * m / (abs(m) + EPS) + rate * 0.4601978361606598 * w[i])
    return updates


def sgd(w, g, s, lr):
    return 0.01 * lr * g


def momentum(w, g, s, lr):
    s["m"] = 0.9 * s.get("m", 0) + g
    return 0.01 * lr * s["m"]


def nesterov(w, g, s, lr):
    s["m"] = 0.9 * s.get("m", 0) + g
    return 0.01 * lr * (g + 0.9 * s["m"])


def signsgd(w, g, s, lr):
    return 0.001 * lr * np.sign(g)


def signum(w, g, s, lr):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    return 0.001 * lr * np.sign(s["m"])


def tiger(w, g, s, lr):
    s["m"] = 0.965 * s.get("m", 0) + 0.035 * g
    return 0.001 * lr * (np.sign(s["m"]) + 0.01 * w)


def rmsprop(w, g, s, lr):
    s["v"] = 0.9 * s.get("v", 0) + 0.1 * g**2
    return 0.001 * lr * g / (np.sqrt(s["v"]) + EPS)


def adagrad(w, g, s, lr):
    s["sum"] = s.get("sum", 0) + g**2
    return 0.01 * lr * g / (np.sqrt(s["sum"]) + EPS)


def adabelief(w, g, s, lr):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * (g - s["m"]) ** 2
    return 0.001 * lr * s["m"] / (np.sqrt(s["v"]) + EPS)


def amsgrad(w, g, s, lr):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g**2
    s["top"] = np.maximum(s.get("top", 0), s["v"])
    return 0.001 * lr * s["m"] / (np.sqrt(s["top"]) + EPS)


def powersign(w, g, s, lr):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    return 0.001 * lr * np.where(g * s["m"] > 0, np.e, 1 / np.e) * g


def addsign(w, g, s, lr):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    return 0.001 * lr * np.where(g * s["m"] > 0, 2, 0) * g


def exponentiated_gradient(w, g, s, lr):
    return w - w * np.exp(-0.01 * lr * g)


ORACLES = {
    "adamw": per_array(adamw),
    "lion": per_array(lion),
    "paper-program-4": program_4,
    "paper-program-5": program_5,
    "paper-program-6": per_array(program_6),
    "paper-program-7": per_array(program_7),
    "paper-program-8": program_8,
    "sgd": per_array(sgd),
    "momentum": per_array(momentum),
    "nesterov": per_array(nesterov),
    "signsgd": per_array(signsgd),
    "signum": per_array(signum),
    "tiger": per_array(tiger),
    "rmsprop": per_array(rmsprop),
    "adagrad": per_array(adagrad),
    "adam": per_array(adam),
    "adabelief": per_array(adabelief),
    "amsgrad": per_array(amsgrad),
    "powersign": per_array(powersign),
    "addsign": per_array(addsign),
    "exponentiated-gradient": per_array(exponentiated_gradient),
}


def problem():
    weights = tree(LAYOUT, "normal", 1)
    gradients = [[np.asarray(x / 2) for x in tree(LAYOUT, "normal", 2 + i)] for i in range(STEPS)]
    return weights, gradients


def replay_oracle(oracle, weights, gradients):
    w = [x.astype(np.float64) for x in weights]
    states = [{} for _ in ARRAYS]
    updates = []
    for g in gradients:
        updates.append(oracle(w, [x.astype(np.float64) for x in g], states, RATE))
        w = [x - u for x, u in zip(w, updates[-1], strict=True)]
    return updates


def both_interpreters(name):
    weights, gradients = problem()
    code = machine.assemble(analyse(zoo(name)), ROWS, LENGTH)
    yield replay_reference(zoo(name), weights, gradients, RATE)
    yield replay_machine(compiled(LAYOUT), code, weights, gradients, RATE)


def assert_equal_steps(got, want, relative=1e-4):
    for step, (x, y) in enumerate(zip(got, want, strict=True)):
        for a, b in zip(x, y, strict=True):
            size = np.abs(b).max(initial=0)
            np.testing.assert_allclose(a, b, relative, 1e-5 * size, err_msg=f"step {step}")


def test_every_entry_has_an_oracle():
    assert set(ORACLES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_entries_follow_their_defining_equations(name):
    want = replay_oracle(ORACLES[name], *problem())
    assert all(np.isfinite(leaf).all() for update in want for leaf in update)
    for got in both_interpreters(name):
        assert_equal_steps(got, want)


def test_a_gradient_that_stays_zero_moves_no_weight_but_by_decay():
    weights = tree(LAYOUT, "normal", 1)
    gradients = [[np.zeros_like(x) for x in weights]] * 5
    for name in NAMES:
        got = replay_reference(zoo(name), weights, gradients, RATE)
        assert_equal_steps(got, replay_oracle(ORACLES[name], weights, gradients))


def uncorrected(of):
    """Adam's relatives with the step counter so far on that bias correction does nothing."""

    def init(weights):
        state = of.init(weights)
        return state._replace(count=jnp.asarray(10**7, jnp.int32))

    return optax.GradientTransformation(init, of.update)


def decayed(of, decay):
    return optax.chain(of, optax.add_decayed_weights(decay))


#: What computes the same in Optax, and the learning rate. Adam, AdamW, AdaBelief and AMSGrad
#: correct the bias there, which is turned off. No counterpart: the paper's other programs,
#: PowerSign, AddSign, exponentiated gradient.
OPTAX = {
    "adamw": (decayed(uncorrected(optax.scale_by_adam()), 0.01), 0.001),
    "adam": (uncorrected(optax.scale_by_adam()), 0.001),
    "lion": (decayed(optax.scale_by_lion(0.9, 0.99), 0.1), 0.0001),
    "paper-program-7": (
        decayed(uncorrected(optax.scale_by_belief(eps=1e-8, eps_root=0.0)), 0.0238),
        0.03721,
    ),
    "sgd": (optax.identity(), 0.01),
    "momentum": (optax.trace(0.9), 0.01),
    "nesterov": (optax.trace(0.9, nesterov=True), 0.01),
    "signsgd": (optax.scale_by_sign(), 0.001),
    "signum": (optax.chain(optax.ema(0.9, debias=False), optax.scale_by_sign()), 0.001),
    "tiger": (
        decayed(optax.chain(optax.ema(0.965, debias=False), optax.scale_by_sign()), 0.01),
        0.001,
    ),
    "rmsprop": (optax.scale_by_rms(0.9, eps=1e-8, eps_in_sqrt=False), 0.001),
    "adagrad": (optax.scale_by_rss(0.0, eps=0.0), 0.01),
    "adabelief": (uncorrected(optax.scale_by_belief(eps=1e-8, eps_root=0.0)), 0.001),
    "amsgrad": (uncorrected(optax.scale_by_amsgrad()), 0.001),
}


@pytest.mark.parametrize("name", OPTAX)
def test_entries_equal_optax(name):
    of, rate = OPTAX[name]
    weights, gradients = problem()
    w, want = weights, []
    state = of.init(w)
    for gradient in gradients:
        direction, state = of.update(gradient, state, w)
        want.append([RATE * rate * np.asarray(x) for x in direction])
        w = [np.asarray(x - u) for x, u in zip(w, want[-1], strict=True)]
    for got in both_interpreters(name):
        assert_equal_steps(got, want)


# Names ------------------------------------------------------------------------------------


def test_names_and_aliases():
    for name in NAMES:
        assert zoo(name) is zoo(name)
        assert entry(name).description and entry(name).source
        assert "\n" not in entry(name).description + entry(name).source
    assert zoo("paper-program-3") == zoo("adamw")
    assert zoo("paper-program-1") == zoo("lion")
    assert not set(ALIASES) & set(NAMES)
    assert {name: zoo(name).slots for name in ("sgd", "lion", "adamw", "amsgrad")} == {
        "sgd": (),
        "lion": ("m",),
        "adamw": ("m", "v"),
        "amsgrad": ("m", "v", "u"),
    }


def test_the_start_program_is_the_papers():
    text = """\
def train(w, g, m, v, lr):
    g2 = square(g)
    m = interp(g, m, 0.9)
    v = interp(g2, v, 0.999)
    sqrt_v = sqrt(v)
    update = m / sqrt_v
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.001
    update = update * lr
    return update, m, v
"""
    assert ENTRIES["adamw"].text == text


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("adam-w", "did you mean 'adamw'?"),
        ("Lion", "did you mean 'lion'?"),
        ("paper-program-9", "did you mean 'paper-program-"),
        ("qqqq", "the names are adamw, lion, "),
        ("", "the names are adamw, lion, "),
    ],
)
def test_unknown_names(name, hint):
    with pytest.raises(ProgramError) as error:
        zoo(name)
    assert f"no optimizer is named '{name}'; {hint}" in str(error.value)


def test_the_zoo_is_cheap_to_import():
    script = "import sys, primitives.zoo as z; assert 'jax' not in sys.modules;"
    script += "assert z._parsed.cache_info().currsize == 0"
    subprocess.run([sys.executable, "-c", script], check=True)
