"""The numerical labeller on programs whose family is known, and the neighbours it is for."""

from collections import Counter

import numpy as np
import pytest
from labeller import ARRAYS, RUNS, STEPS, Runner, full_stream, label, small_stream
from neighbours import centres, neighbours, program

from primitives.abstract import analyse
from primitives.reference import run_step, zero_slots
from primitives.text import to_text
from primitives.zoo import NAMES, zoo

C = "c = interp(g, m, 0.9)"
M = "m = interp(g, m, 0.99)"
SIGN = "update = sign(c)"
END = "wd = w * 0.1; update = update + wd; lr = lr * 0.0001; update = update * lr"


def lion(*statements, slots="m"):
    """A program; `C`, `M`, `SIGN` and `END` make Lion."""
    return program(slots, "; ".join(statements))


LIONS = {
    "lion": lion(C, SIGN, M, END),
    "betas far apart": lion("c = interp(g, m, 0.5)", SIGN, "m = interp(g, m, 0.999)", END),
    "beta1 above beta2": lion("c = interp(g, m, 0.97)", SIGN, M.replace("99", "6"), END),
    "slots scaled": lion("a = m * 0.009; b = g * 0.1; c = a + b; m = m * 0.99; m = m + g", SIGN),
    "slots negative": lion("n = negative(g); a = m * -0.9; b = g * 0.1; c = a + b; "
                           "m = interp(n, m, 0.99)", SIGN, END),
    "gradient scaled": lion("g = g * 0.3", C, SIGN, M, END),
    "argument scaled": lion(C, "c = c * 7.5", SIGN, M, END),
    "tanh inside": lion(C, "c = tanh(c)", SIGN, M, END),
    "sinh inside": lion(C, "c = sinh(c)", SIGN, M, END),
    "arctan inside": lion(C, "c = arctan(c)", SIGN, M, END),
    "cube inside": lion(C, "c = cube(c)", SIGN, M, END),
    "per-array norm inside": lion(C, "n = norm(c); c = c / n", SIGN, M, END),
    "global norm inside": lion(C, "c = clip(c, 0.01)", SIGN, M, END),
    "second moment inside": lion(
        C, "g2 = square(g); v = interp(g2, v, 0.999); s = sqrt(v); c = c / s", SIGN, M, END,
        slots="m v"),
    "soft sign": lion(C, "a = abs(c); update = c / a", M, END),
    "soft sign of squares": lion(C, "a = c * c; a = sqrt(a); update = c / a", M, END),
    "two signs": lion(C, SIGN, "update = sign(update)", M, END),
    "scale of the schedule": lion(C, SIGN, M, "s = exp(lr); update = update * s"),
    "decay that drowns the sign": lion(C, SIGN, M, "d = w * 1e8; update = update + d"),
    "decay that drowns some signs": lion(C, SIGN, M, "lr = lr * 0.0002; update = update * lr; "
                                         "d = w * 0.2; update = update + d"),
    "decay of the schedule": lion(C, SIGN, M, "s = lr * w; update = update + s"),
    "ascending twice": lion(C, "c = negative(c)", SIGN, M, "update = update * -0.001"),
    "steps that are no average yet": lion("c = interp(g, m, 0.9); m = interp(g, m, 0.99); "
                                          "update = sign(c); lr = lr * 3.0; update = lr * update"),
    "lookahead": lion("m = m * 0.9; m = m + g; c = m * 0.9; c = c + g", SIGN),
}  # fmt: skip

OTHERS = {
    "beta1 outside": lion("c = interp(g, m, 1.2)", SIGN, M, END),
    "beta1 below zero": lion("c = interp(g, m, -0.5)", SIGN, M, END),
    "beta1 one": lion("c = interp(g, m, 1.0)", SIGN, M, END),
    "beta2 outside": lion(C, SIGN, "m = interp(g, m, 1.01)", END),
    "beta2 just outside": lion(C, SIGN, "m = interp(g, m, 1.001)", END),
    "beta2 below zero": lion(C, SIGN, "m = interp(g, m, -0.4)", END),
    "beta2 zero": lion(C, SIGN, "m = interp(g, m, 0.0)", END),
    "beta2 one": lion("c = m * 0.5; c = c + g", SIGN, "m = m + g", END),
    "a sum": lion("m = m + g; update = sign(m)"),
    "one beta outside": lion("m = m * 1.01; m = m + g; update = sign(m)"),
    "ascent": lion(C, SIGN, M, "update = update * -0.001"),
    "ascent for a part of the schedule": lion(C, SIGN, M, "s = lr - 0.5; update = update * s"),
    "no sign": lion(C, "update = c + 0.0", M, END),
    "tanh outside": lion(C, "update = tanh(c)", M, END),
    "steep tanh outside": lion(C, "c = c * 1000.0; update = tanh(c)", M, END),
    "a term beside": lion(C, SIGN, M, "c = c * 0.1; update = update + c"),
    "a constant beside": lion(C, SIGN, M, "update = update + 0.05"),
    "tanh before": lion("g = tanh(g)", C, SIGN, M, END),
    "power before": lion("g = cube(g)", C, SIGN, M, END),
    "clip before": lion("g = clip(g, 1.0)", C, SIGN, M, END),
    "clip to the schedule before": lion("g = clip(g, lr)", C, SIGN, M, END),
    "global norm before": lion("n = global_norm(g); g = g / n", C, SIGN, M, END),
    "per-array norm before": lion("n = norm(g); g = g / n", C, SIGN, M, END),
    "sign before": lion(C, SIGN, "g = sign(g)", M, END),
    "curve of the average": lion(C, SIGN, M, "m = arctan(m)", END),
    "schedule as beta1": lion("c = interp(g, m, lr)", SIGN, M, END),
    "schedule before": lion(C, SIGN, "g = g * lr", M, END),
    "coupled decay": lion("d = w * 0.01; g = g + d", C, SIGN, M, END),
    "curved decay": lion(C, SIGN, M, "d = sin(w); update = update + d"),
    "decay by the gradient": lion(C, SIGN, M, "n = norm(g); d = n * w; update = update + d"),
    "decay of the last weights": lion(C, SIGN, M, "update = update + v; v = w * 0.1", slots="m v"),
    "scale of the weights": lion(C, SIGN, M, "n = norm(w); update = update * n"),
    "scale of the gradient": lion(C, SIGN, M, "n = global_norm(g); update = update * n"),
    "scale of each weight": lion(C, SIGN, M, "update = update * w"),
    "average of the average": lion("c = interp(g, v, 0.9)", SIGN, M, "v = interp(m, v, 0.9)",
                                   END, slots="m v"),
    "three averages": lion("c = interp(g, m, 0.9); c = c + v", SIGN, M, "v = interp(g, v, 0.5)",
                           slots="m v"),
    "only where the signs agree": lion(C, SIGN, M, "s = sign(g); s = s * update; "
                                       "s = maximum(s, 0.0); update = update * s", END),
    "an offset": lion(C, "c = c + 0.01", SIGN, M, END),
    "not finite": lion("g = arcsin(g)", C, SIGN, M, END),
    "no update": lion(C, "update = c - c", M, END),
    "decay alone": lion(C, "update = w * lr", M),
}  # fmt: skip

SIGNUMS = {
    "signum": lion("m = interp(g, m, 0.9); update = sign(m)"),
    "heavy ball": lion("m = m * 0.9; m = m + g; update = sign(m)", END),
    "equal betas": lion(C, SIGN, "m = interp(g, m, 0.9)", END),
    "adam with a sign": lion("m = interp(g, m, 0.95); g2 = square(g); v = interp(g2, v, 0.999); "
                             "s = sqrt(v); update = m / s; update = sign(update)", slots="m v"),
    "soft": lion("m = interp(g, m, 0.99); s = abs(m); update = m / s"),
}  # fmt: skip

SIGNSGDS = {
    "signsgd": lion("update = sign(g)", END),
    "soft": lion("s = abs(g); update = g / s"),
    "cube": lion("g = cube(g); update = sign(g)"),
    "beta1 zero": lion("c = interp(g, m, 0.0)", SIGN, M, END),
    "beta1 almost zero": lion("c = interp(g, m, 0.0001)", SIGN, M, END),
    "never written": lion(C, SIGN),
}

ZOO = {"lion": "lion", "signum": "signum", "tiger": "signum", "signsgd": "signsgd"}

CENTRES = {
    "lion-beta1-outside": None,
    "lion-beta2-outside": None,
    "lion-equal-betas": "signum",
    "adamw-sign": "signum",
    "paper-program-4": None,
    "paper-program-8": None,
}


@pytest.mark.parametrize("name", LIONS)
def test_lions(name):
    found = label(LIONS[name])
    assert (found.is_lion, found.family) == (True, "lion"), found


@pytest.mark.parametrize("name", OTHERS)
def test_others(name):
    found = label(OTHERS[name])
    assert (found.is_lion, found.family) == (False, None), found


@pytest.mark.parametrize("name", SIGNUMS)
def test_signums(name):
    found = label(SIGNUMS[name])
    assert (found.is_lion, found.family) == (False, "signum"), found


@pytest.mark.parametrize("name", SIGNSGDS)
def test_signsgds(name):
    found = label(SIGNSGDS[name])
    assert (found.is_lion, found.family) == (False, "signsgd"), found


@pytest.mark.parametrize("name", NAMES)
def test_zoo(name):
    found = label(zoo(name))
    assert found.family == ZOO.get(name)
    assert found.is_lion is (name == "lion")


@pytest.mark.parametrize("name", centres())
def test_centres(name):
    found = label(centres()[name])
    expected = CENTRES.get(name, ZOO.get(name, "lion"))
    assert found.family == expected
    assert found.is_lion is (expected == "lion")


@pytest.mark.parametrize(
    ("beta1", "beta2"), [(0.9, 0.99), (0.95, 0.98), (0.5, 0.999), (0.99, 0.9), (0.1, 0.7)]
)
def test_betas(beta1, beta2):
    c, m = f"c = interp(g, m, {beta1})", f"m = interp(g, m, {beta2})"
    found = label(lion(c, SIGN, m, END))
    assert found.is_lion
    assert found.beta1 == pytest.approx(beta1, rel=0.01)
    assert found.beta2 == pytest.approx(beta2, rel=0.001)


def test_lookahead_has_the_square_as_beta1():
    found = label(LIONS["lookahead"])
    assert (found.beta1, found.beta2) == pytest.approx((0.81, 0.9), rel=1e-3)


@pytest.mark.parametrize(("name", "beta"), [("tiger", 0.965), ("signum", 0.9)])
def test_one_beta(name, beta):
    found = label(zoo(name))
    assert (found.beta1, found.beta2) == pytest.approx((beta, beta), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "decay", "extras"),
    [
        ("lion", 0.1, ("weight decay",)),
        ("tiger", 0.01, ("weight decay",)),
        ("signum", 0.0, ()),
    ],
)
def test_weight_decay(name, decay, extras):
    found = label(zoo(name))
    assert found.decay == pytest.approx(decay, abs=1e-5)
    assert found.extras == extras


def test_other_extras():
    grown = label(lion(C, SIGN, M, "v = v + 1.0; v = minimum(v, 100.0); update = update * v",
                       slots="m v"))  # fmt: skip
    assert (grown.is_lion, grown.extras) == (True, ("scale changes with time",))
    negative = label(lion(C, SIGN, M, "d = w * 0.1; update = update - d"))
    assert (negative.is_lion, negative.extras) == (True, ("negative weight decay",))


@pytest.mark.parametrize(
    "undecidable",
    [
        lion(C, "c = c * 15000.0; update = tanh(c)", M, END),
        lion("c = interp(g, m, 0.9)", SIGN, "m = interp(g, m, 0.903)", END),
        lion(C, SIGN, "m = m * 0.99997; m = m + g"),
    ],
    ids=["steep curve", "betas almost equal", "beta2 almost one"],
)
def test_undecidable(undecidable):
    assert label(undecidable).is_lion is None


@pytest.mark.parametrize(
    ("name", "beta1", "beta2"),
    [("paper-program-8", 0.9005, 0.99822), ("paper-program-4", 0.899, 0.997)],
)
def test_programs_before_simplification_are_lion_for_small_gradients(name, beta1, beta2):
    # By hand: c = a g + (1 - a) v and v = (1 - b) g + b c with a = 1 - 0.9, b = 1.109.
    found = label(zoo(name), small_stream())
    assert found.is_lion
    assert (found.beta1, found.beta2) == pytest.approx((beta1, beta2), rel=2e-3)


def test_agreement_says_how_far_from_lion():
    near = label(lion("g = clip(g, 100.0)", C, SIGN, M, END))
    far = label(lion("g = clip(g, 1.0)", C, SIGN, M, END))
    assert 0.5 < far.agreement < near.agreement < 0.998


def test_runner_is_the_reference_interpreter():
    stream = full_stream()
    for tested in neighbours(60, 7):
        runner = Runner(tested, stream.gradients.shape[1:])
        weights, gradients = stream.weights[:, 2], stream.gradients[:, 2]
        slots = zero_slots(tested, [*weights[0]])
        for t in range(3):
            with np.errstate(all="ignore"):
                updates = runner.step(stream.weights[t], stream.gradients[t], stream.rates[t])
            expected, slots = run_step(
                tested, [*weights[t]], [*gradients[t]], slots, stream.rates[t]
            )
            np.testing.assert_allclose(updates[2], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("stream", [full_stream, small_stream])
def test_stream(stream):
    inputs = stream()
    assert inputs.gradients.shape[:3] == inputs.weights.shape[:3] == (STEPS, RUNS, ARRAYS)
    assert (inputs.gradients != 0).all()
    assert inputs.rates.min() > 0 and inputs.rates.max() == 1
    norms = np.sqrt((inputs.gradients.astype(float) ** 2).sum(axis=(2, 3)))
    if stream is small_stream:
        assert norms.max() < inputs.rates.min()
    else:
        assert norms.max() > 300 * norms.min()


def test_neighbours():
    found = neighbours(150, 1)
    assert found[:100] == neighbours(100, 1) != neighbours(100, 2)
    assert len({to_text(p) for p in found}) == 150
    assert all(analyse(p).learns for p in found)
    shares = Counter(label(p).is_lion for p in found)
    assert shares[True] > 10 and shares[False] > 75 and shares[None] <= 3
