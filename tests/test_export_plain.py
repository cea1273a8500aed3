"""The NumPy, text and LaTeX targets."""

import ast
import re
import sys

import numpy as np
import optimizers
import pytest
from export_checks import all_programs, lint, random_programs
from strategies import wide_program

from evolve.export import catalog, latex, numpy, replay, text
from primitives.abstract import analyse
from primitives.text import from_text
from primitives.zoo import NAMES, zoo

PROVENANCE = {"program": 'the zoo, with a "quote" and a \\ in it', "source": "x " * 80}
PROGRAMS = all_programs(40)


@pytest.mark.parametrize("name", PROGRAMS)
def test_numpy_computes_what_the_reference_computes(name):
    program = PROGRAMS[name]
    source = numpy.emit(program, name, PROVENANCE)
    assert replay.largest_difference("numpy", source, name, program) == 0.0


def test_a_wrong_export_is_told_from_a_right_one():
    source = numpy.emit(zoo("lion"), "lion", {})
    wrong = source.replace("b2=0.99", "b2=0.98")
    assert wrong != source
    adapter = replay.ADAPTERS["numpy"]
    weights, gradients = replay.recorded()
    step = adapter(replay.load(wrong), "lion", weights)
    assert replay.worst_step(step, zoo("lion"), weights, gradients) > 1e-5


def test_numpy_passes_the_linter(tmp_path):
    for name, program in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(numpy.emit(program, name, PROVENANCE))
    for seed in range(10):
        program = wide_program(seed, 60, 6)
        (tmp_path / f"wide_{seed}.py").write_text(numpy.emit(program, "wide", PROVENANCE))
    lint(tmp_path)


def test_numpy_hyperparameters_that_make_no_sense():
    module = replay.load(numpy.emit(zoo("lion"), "lion", {}))
    w = [np.ones(1, np.float32)]
    for name, bad in (("learning_rate", -1.0), ("b1", 1.5), ("weight_decay", float("nan"))):
        with pytest.raises(ValueError, match=f"^{name} is {bad}; it must be "):
            module.update(w, w, module.init(w), **{name: bad})


def test_numpy_hyperparameters_and_learning_rate():
    module = replay.load(numpy.emit(zoo("lion"), "lion", {}))
    weights, gradients = [np.float32([1.5])], [np.float32([-2.0])]
    (update,), state = module.update(
        weights, gradients, module.init(weights), 0.125, b1=0.75, b2=0.875, weight_decay=2.0
    )
    assert update.tolist() == [0.25] and state["m"][0].tolist() == [-0.25]
    (default,), _ = module.update(weights, gradients, module.init(weights), weight_decay=0.0)
    assert default == -np.float32(1e-4)


@pytest.mark.parametrize("to", replay.ADAPTERS)
@pytest.mark.parametrize("options", [{}, {"peak_lr": 0.5}])
def test_a_schedule_is_the_learning_rate_over_the_peak(to, options, monkeypatch):
    """The second use of `lr` is the schedule alone; the program's peak is the default."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    program = from_text(
        "def train(w, g, lr):\n    a = lr * 0.25\n    update = g * a\n    update = update * lr\n"
        "    return update\n"
    )
    module = replay.load(catalog.emit(to, program, "squared", {}))
    weights, gradient = [np.float32([1.0, 2.0])], [np.float32([1.0, -1.0])]
    (after,) = replay.ADAPTERS[to](module, "squared", weights, **options)(weights, gradient, 0.125)
    moved = 0.125 * 0.125 / options.get("peak_lr", 0.25)
    np.testing.assert_allclose(after, weights[0] - moved * gradient[0], rtol=1e-6)


@pytest.mark.parametrize("to", ["optax", "torch", "keras", "numpy"])
def test_exports_stand_alone(to):
    imported = set()
    for program in PROGRAMS.values():
        for node in ast.walk(ast.parse(catalog.emit(to, program, "x", {}))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    assert to in imported
    # Keras asks JAX or PyTorch for a rounding, whichever is its backend.
    assert imported <= {*sys.stdlib_module_names, "jax", "numpy", to} | (
        {"torch"} if to == "keras" else set()
    )


def defaults(source):
    """The arguments of the function that users call, with their defaults as source."""
    nodes = list(ast.walk(ast.parse(source)))
    classes = [n for n in nodes if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    classes = [n for n in classes if not n.name.endswith("State")]
    functions = [n for part in classes for n in part.body] or nodes
    functions = [n for n in functions if isinstance(n, ast.FunctionDef)]
    made = [n for n in functions if n.name == "__init__" or (not classes and n.name == "made")]
    given = made[0].args
    positional = given.args[len(given.args) - len(given.defaults) :]
    pairs = [*zip(positional, given.defaults, strict=True)]
    pairs += zip(given.kwonlyargs, given.kw_defaults, strict=True)
    return {argument.arg: ast.unparse(default) for argument, default in pairs if default}


@optimizers.each(optimizers.PROGRAMS, "program")
def test_names_and_defaults_are_the_same_in_all_frameworks(program):
    """The program's own constants, its weight decay among them, under each framework's names."""
    lowered = replay.lower(program)
    own = {h.name: repr(float(h.text)) for h in [*lowered.hyperparameters, lowered.peak]}
    found = {
        to: defaults(catalog.emit(to, program, "made", {})) for to in ("optax", "torch", "keras")
    }
    betas = found["torch"].pop("betas", "()")
    found["torch"] |= {f"b{i + 1}": repr(x) for i, x in enumerate(ast.literal_eval(betas))}
    found["keras"] = {key.replace("beta_", "b"): x for key, x in found["keras"].items()}
    for given in found.values():
        assert {key: repr(float(given[key])) for key in own} == own
    assert lowered.decay or found["keras"]["weight_decay"] == "None"


def test_numpy_keeps_float64():
    module = replay.load(numpy.emit(zoo("adamw"), "adamw", {}))
    weights = [np.array([1.0, 2.0])]
    updates, state = module.update(weights, [np.array([0.1, 0.2])], module.init(weights))
    assert {updates[0].dtype, state["v"][0].dtype} == {np.dtype(np.float64)}


@pytest.mark.parametrize("to", ["optax", "torch", "keras", "numpy"])
def test_the_docstring_says_what_the_optimizer_is(to):
    source = catalog.emit(to, zoo("lion"), "lion", {"source": "a paper"})
    doc = ast.get_docstring(ast.parse(source))
    for part in (
        "sign(update)",
        "w = w - update",
        "b1",
        "peak_lr",
        "Provenance",
        "source: a paper",
    ):
        assert part in doc


@pytest.mark.parametrize("name", NAMES)
def test_text_is_a_program_that_does_the_same(name):
    written = text.emit(zoo(name), name, {"source": "x"})
    read = from_text(written)
    assert analyse(read).functional_hash == analyse(zoo(name)).functional_hash
    assert all(analyse(read).live)
    assert written.startswith(f"# {name}\n# source: x\ndef train(")


@pytest.mark.parametrize("name", PROGRAMS)
def test_latex_is_balanced_and_complete(name):
    written = latex.emit(PROGRAMS[name], name, {})
    body = written.partition(r"\begin{align*}")[2].partition(r"\end")[0]
    assert body.count("{") == body.count("}")
    assert body.count(r"\left(") == body.count(r"\right)")
    # One line for each formula, and no function of Python's left.
    rows = body.split("\\\\\n")
    lowered = replay.lower(PROGRAMS[name])
    assert len(rows) == len(lowered.lines) + 2 + ("s &" in body)
    assert not re.search(r"[*_]{2}|(?<![\\{a-z])(sin|sqrt|sum)\(", body)


def test_latex_of_lion():
    written = latex.emit(zoo("lion"), "lion", {"source": "a paper"})
    assert written.startswith("% lion\n% source: a paper\n\\begin{align*}\n")
    assert r"\left(1 - \beta_{1}\right) \, g + \beta_{1} \, m" in written
    assert r"\lambda = 0.1" in written and r"\eta_{\max} = 1 \cdot 10^{-4}" in written


def test_random_programs_are_various():
    lowered = [replay.lower(program) for program in random_programs(40)]
    assert {len(one.slots) for one in lowered} >= {0, 1, 2}
    assert {one.whole_tree for one in lowered} == {True, False}
    functions = {line.function for one in lowered for line in one.lines}
    assert len(functions) > 30


ODD_SLOTS = {
    "called as hyperparameters": (
        "def train(w, g, b1, c1, lr):\n    b1 = interp(g, b1, 0.9)\n    c1 = c1 * 0.5\n"
        "    c1 = c1 + b1\n    lr = lr * 0.01\n    update = c1 * lr\n    return update, b1, c1\n"
    ),
    "a number that ends as a constant": (
        "def train(w, g, t: scalar, lr):\n    update = g * t\n    update = update * lr\n"
        "    t = get_pi()\n    return update, t\n"
    ),
    "a number that ends as the rate": (
        "def train(w, g, t: scalar, lr):\n    update = g * t\n    t = lr * 0.001\n"
        "    return update, t\n"
    ),
}


@pytest.mark.parametrize("what", ODD_SLOTS)
@pytest.mark.parametrize("target", replay.ADAPTERS)
def test_slots_that_are_called_or_end_oddly(target, what, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    of = from_text(ODD_SLOTS[what])
    source = catalog.emit(target, of, "found", {})
    assert replay.largest_difference(target, source, "found", of) < 1e-5
