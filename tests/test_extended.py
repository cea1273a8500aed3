"""The extended language: rows, columns and the polar factor, in every place that computes them."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from conftest import Cli
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import programs, tree

os.environ.setdefault("KERAS_BACKEND", "jax")

import evolve
from evolve.export import catalog, replay
from evolve.export.lowering import lower
from evolve.export.replay import ADAPTERS
from evolve.search.probe import Stretch
from primitives import machine
from primitives.abstract import analyse
from primitives.algebra.reading import expressions
from primitives.algebra.writing import write
from primitives.functions import (
    ALL,
    BY_NAME,
    COLUMN,
    EXTENDED,
    FUNCTIONS,
    KINDS,
    PER_ARRAY,
    ROW,
    SCALAR,
    TREE,
    joined,
)
from primitives.kinds import with_least_kinds
from primitives.layout import Layout
from primitives.program import Program, ProgramError, Statement
from primitives.reference import Tree, run_step, zero_slots
from primitives.reference import apply as by_reference
from primitives.text import from_text, to_text
from primitives.values import to_program, values_of
from primitives.zoo import EXTENDED_NAMES, zoo
from proxy_tasks.catalog import CATALOG
from proxy_tasks.stretch import GRID, grid_of, record
from proxy_tasks.task import sizes
from proxy_tasks.torch_optimizer import Interpreted, Plan
from proxy_tasks.training import Trainer

#: A matrix of each shape, a convolution's kernel, a vector, a number, and nothing.
SHAPES = ((3, 4), (5, 2), (4, 4), (1, 6), (6, 1), (4, 3, 2, 2), (5,), (), (0, 3))
LAYOUT = Layout(SHAPES)


def program(*lines: str, slots: str = "") -> Program:
    names = "".join(f"{slot}, " for slot in slots.split())
    body = "".join(f"    {line}\n" for line in lines)
    returned = ", ".join(["update", *slots.split()])
    return from_text(f"def train(w, g, {names}lr):\n{body}    return {returned}\n")


#: What these functions are for.
PROGRAMS = {
    "polar gradient": program("update = matrix_sign(g)", "update = update * lr"),
    "muon": program(
        "m = interp(g, m, 0.9)",
        "x = interp(g, m, 0.9)",
        "x = matrix_sign(x)",
        "lr = lr * 0.01",
        "update = x * lr",
        slots="m",
    ),
    "steps of a polar iteration": program(
        "n = norm(g)", "x = g / n", "x = x * 6.0",
        "y = matrix_cube(x)", "x = interp(x, y, -0.5)",
        "y = matrix_cube(x)", "x = interp(x, y, -0.5)",
        "s = matrix_cube(0.9)", "x = x * s",
        "update = x * lr",
    ),
    "factored": program(
        "a = square(g)",
        "r = row_mean(a)",
        "c = column_mean(a)",
        "n = column_mean(r)",
        "v = r * c",
        "v = v / n",
        "v = sqrt(v)",
        "update = g / v",
        "wd = w * 0.01",
        "update = update + wd",
        "update = update * lr",
    ),
    "centred": program(
        "a = row_mean(g)", "b = g - a", "c = column_mean(b)", "b = b + c", "m = interp(b, m, 0.9)",
        "n = norm(m)", "update = m / n", "d = row_mean(c)", "update = update + d",
        slots="m",
    ),
}  # fmt: skip


#: Slots of every kind: Adafactor's factors, a step counter, a norm for each array.
NARROW = {
    "factors": """
def train(w, g, r: row, c: column, lr):
    a = square(g)
    x = row_mean(a)
    r = interp(x, r, 0.9)
    y = column_mean(a)
    c = interp(y, c, 0.9)
    n = column_mean(r)
    v = r * c
    v = v / n
    v = sqrt(v)
    update = g / v
    update = update * lr
    return update, r, c
""",
    "counter": """
def train(w, g, m, t: scalar, lr):
    t = t + 1.0
    m = interp(g, m, 0.9)
    b = power(0.9, t)
    b = 1.0 - b
    update = m / b
    update = update * lr
    return update, m, t
""",
    "norms": """
def train(w, g, s: per_array, u: scalar, lr):
    n = norm(g)
    s = interp(n, s, 0.5)
    d = global_norm(g)
    u = interp(d, u, 0.5)
    update = g / s
    update = update * u
    return update, s, u
""",
}


def leaves(seed: int, shapes: Any = SHAPES) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape), np.float32) for shape in shapes]


# -- what they mean --------------------------------------------------------------------


def test_kinds_form_a_lattice() -> None:
    assert joined([ROW, COLUMN]) == TREE
    for one in KINDS:
        assert joined([one]) == joined([one, SCALAR]) == one and joined([one, TREE]) == TREE
        for other in KINDS:
            assert joined([one, other]) == joined([other, one])
            for third in KINDS:
                assert joined([joined([one, other]), third]) == joined([one, other, third])


def test_the_papers_functions_are_apart_and_give_no_new_kind() -> None:
    assert len(FUNCTIONS) == 44 and not {f.name for f in EXTENDED} & {f.name for f in FUNCTIONS}
    for function in FUNCTIONS:
        for kinds, result in function.signatures.items():
            assert {ROW, COLUMN} & set(kinds) or result not in (ROW, COLUMN)


@pytest.mark.parametrize("name", ["row_mean", "column_mean"])
def test_means_are_those_of_rows_and_columns(name: str) -> None:
    axis = {"row_mean": 1, "column_mean": 0}[name]
    given_ = leaves(0)
    for leaf, found in zip(given_, by_reference(name, Tree(given_)).leaves, strict=True):
        if not leaf.size:
            continue
        matrix = leaf.reshape(leaf.shape[0], -1) if leaf.ndim > 1 else leaf.reshape(-1, 1)
        wanted = np.broadcast_to(matrix.mean(axis, keepdims=True), matrix.shape)
        np.testing.assert_allclose(
            np.broadcast_to(found, leaf.shape).reshape(matrix.shape), wanted, rtol=1e-5, atol=1e-6
        )


def test_the_polar_factor_is_near_that_of_the_singular_value_decomposition() -> None:
    """Newton-Schulz with these coefficients brings singular values into 0.7 to 1.2, not to 1."""
    for shape in ((8, 8), (4, 9), (9, 4)):
        matrix = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        (found,) = by_reference("matrix_sign", Tree([matrix])).leaves
        u, _, v = np.linalg.svd(matrix, full_matrices=False)
        wanted = (u @ v) * max(shape) ** 0.5
        left, values, right = np.linalg.svd(found / max(shape) ** 0.5, full_matrices=False)
        assert (values > 0.6).all() and (values < 1.3).all()
        np.testing.assert_allclose(left @ right, u @ v, atol=2e-3)
        cosine = (found * wanted).sum() / np.linalg.norm(found) / np.linalg.norm(wanted)
        assert cosine > 0.98 and np.sqrt((found**2).mean()) == pytest.approx(1.0, abs=0.2)


def test_the_cube_is_that_of_the_singular_values() -> None:
    for shape in ((8, 8), (4, 9), (9, 4)):
        matrix = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        (found,) = by_reference("matrix_cube", Tree([matrix])).leaves
        u, values, v = np.linalg.svd(matrix, full_matrices=False)
        np.testing.assert_allclose(found, u * values**3 / max(shape) @ v, rtol=1e-4, atol=1e-4)
    vector = np.float32([-2, 0, 3])
    assert by_reference("matrix_cube", Tree([vector])).leaves[0].tolist() == [-8, 0, 27]


def test_the_cube_of_a_sign_is_the_sign() -> None:
    """So both count in the same units, as those of numbers do."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))
    sign = np.asarray(basis * 6**0.5, np.float32)
    (found,) = by_reference("matrix_cube", Tree([sign])).leaves
    np.testing.assert_allclose(found, sign, atol=1e-5)


def test_vectors_have_signs_and_zeros_stay() -> None:
    vector, zero = np.float32([-2, 0, 3]), np.zeros((2, 3), np.float32)
    found = by_reference("matrix_sign", Tree([vector, zero])).leaves
    assert found[0].tolist() == [-1, 0, 1] and not found[1].any()
    bad = np.float32([[1, np.nan], [2, 3]])
    assert np.isnan(by_reference("matrix_sign", Tree([bad])).leaves[0]).all()


def test_a_row_and_a_column_are_no_tree_at_return() -> None:
    with pytest.raises(ProgramError, match="'update' is a row at return"):
        analyse(program("update = row_mean(g)"))
    with pytest.raises(ProgramError, match="does not take"):
        analyse(program("a = row_mean(g)", "b = norm(a)", "update = g * b"))


# -- in every place --------------------------------------------------------------------


def steps_of(of: Program, shapes: Any = SHAPES, count: int = 6) -> list[list[np.ndarray]]:
    """The updates by the reference."""
    weights, slots, found = leaves(9, shapes), zero_slots(of, leaves(9, shapes)), []
    for step in range(count):
        with np.errstate(all="ignore"):
            update, slots = run_step(of, weights, leaves(step, shapes), slots, 0.5)
        found.append(update)
    return found


def close(found: Any, wanted: Any) -> None:
    for x, y in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(x), y, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_machine_does_as_the_reference(name: str) -> None:
    of = PROGRAMS[name]
    code = machine.assemble(analyse(of))
    assert machine.is_extended(code)
    registers = machine.start(LAYOUT, code, LAYOUT.flatten(leaves(9)))
    for step, wanted in enumerate(steps_of(of)):
        weights = LAYOUT.flatten(leaves(9))
        registers = machine.load(LAYOUT, registers, weights, leaves(step), 0.5)
        registers = _extended_machine(code, registers)
        close(LAYOUT.unflatten(np.asarray(registers[int(code.update)])), wanted)


@pytest.mark.parametrize("name", PROGRAMS)
def test_pytorch_does_as_the_reference(name: str) -> None:
    of = PROGRAMS[name]
    params = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in leaves(9)]
    optimizer = Interpreted(params, Plan(of), np.full(1, 0.5, np.float32))
    for step, wanted in enumerate(steps_of(of)):
        for p, w, g in zip(params, leaves(9), leaves(step), strict=True):
            p.data, p.grad = torch.from_numpy(w.copy()), torch.from_numpy(g.copy())
        optimizer.step()
        close([w - p.detach().numpy() for p, w in zip(params, leaves(9), strict=True)], wanted)


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.name)
def test_every_function_takes_rows_and_columns_as_the_reference_does(function: Any) -> None:
    names = {SCALAR: ["lr", 0.75], PER_ARRAY: ["n", "n"], ROW: ["r", "s"], COLUMN: ["c", "d"]}
    names[TREE] = ["g", "w"]
    for kinds, result in function.signatures.items():
        if not {ROW, COLUMN} & {*kinds, result}:
            continue
        arguments = tuple(names[kind][i % 2] for i, kind in enumerate(kinds))
        made = [("n", "norm", "g"), ("r", "row_mean", "g"), ("s", "row_mean", "w")]
        made += [("c", "column_mean", "g"), ("d", "column_mean", "w")]
        statements = [Statement(target, of, (name,)) for target, of, name in made]
        statements += [
            Statement("x", function.name, arguments),
            Statement("z", "multiply", ("g", 0.0)),
            Statement("update", "add", ("z", "x")),
        ]
        of = Program(tuple(statements), ())
        (wanted,) = steps_of(of, count=1)
        weights, gradient = leaves(9), leaves(0)
        code = machine.assemble(analyse(of))
        registers = machine.start(LAYOUT, code, LAYOUT.flatten(weights))
        registers = machine.load(LAYOUT, registers, LAYOUT.flatten(weights), gradient, 0.5)
        registers = _extended_machine(code, registers)
        close(LAYOUT.unflatten(np.asarray(registers[int(code.update)])), wanted)
        params = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
        optimizer = Interpreted(params, Plan(of), np.full(1, 0.5, np.float32))
        for p, g in zip(params, gradient, strict=True):
            p.grad = torch.from_numpy(g.copy())
        optimizer.step()
        close([w - p.detach().numpy() for p, w in zip(params, weights, strict=True)], wanted)


_extended_machine = jax.jit(
    lambda code, registers: machine.execute(LAYOUT, code, registers, extended=True)
)


@pytest.mark.parametrize("target", ADAPTERS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_exports_do_as_the_reference(name: str, target: str) -> None:
    """On matrices, kernels with four axes, vectors, numbers, and arrays without any."""
    source = catalog.emit(target, PROGRAMS[name], "found", {})
    worst = replay.largest_difference(target, source, "found", PROGRAMS[name], SHAPES)
    assert worst < 2e-3


@pytest.mark.parametrize("target", ADAPTERS)
@pytest.mark.parametrize("name", EXTENDED_NAMES)
def test_exports_of_the_zoo_do_as_the_reference(name: str, target: str) -> None:
    source = catalog.emit(target, zoo(name), "found", {})
    assert replay.largest_difference(target, source, "found", zoo(name), SHAPES) < 2e-3


@pytest.mark.parametrize("target", ADAPTERS)
@pytest.mark.parametrize("function", EXTENDED, ids=lambda f: f.name)
def test_every_function_is_exported(function: Any, target: str) -> None:
    """Of whatever it takes: rows and columns of a gradient, a number, the gradient itself."""
    makes = {SCALAR: "lr * 0.5", PER_ARRAY: "norm(g)", ROW: "row_mean(g)", COLUMN: "column_mean(g)"}
    for kind in KINDS:
        if (kind,) * function.arity not in function.signatures:
            continue
        read = "x" if kind in makes else "g"
        of = program(
            *([f"x = {makes[kind]}"] if kind in makes else []),
            f"y = {function.name}({', '.join([read] * function.arity)})",
            "update = g + y",
            "update = update * lr",
        )
        source = catalog.emit(target, of, "found", {})
        assert replay.largest_difference(target, source, "found", of, SHAPES) < 2e-3, kind


@pytest.mark.parametrize("function", EXTENDED, ids=lambda f: f.name)
def test_every_function_has_a_formula(function: Any) -> None:
    of = program(
        f"x = {function.name}({', '.join('g' * function.arity)})",
        "update = g * x",
        "update = update * lr",
    )
    assert function.name not in catalog.emit("latex", of, "found", {}).split("begin", 1)[-1]


def test_formulas_in_latex() -> None:
    text = catalog.emit("latex", PROGRAMS["factored"], "found", {})
    assert r"\operatorname{mean}_{\text{columns}}" in text
    assert r"\operatorname{msign}" in catalog.emit("latex", PROGRAMS["muon"], "found", {})


@pytest.mark.parametrize("text", [*map(to_text, PROGRAMS.values()), *NARROW.values()])
def test_algebra_reads_and_writes_them(text: str) -> None:
    of = from_text(text.lstrip())
    written = write(expressions(of))
    assert sorted(kind for _, kind in written.narrow) == sorted(kind for _, kind in of.narrow)
    for found, wanted in zip(steps_of(written), steps_of(of), strict=True):
        close(found, wanted)
    again, ends = values_of(analyse(of), of.slots)
    for found, wanted in zip(steps_of(to_program(again, ends)), steps_of(of), strict=True):
        close(found, wanted)


@pytest.fixture(scope="module")
def on_quadratic() -> Stretch:
    return Stretch(record(Trainer(CATALOG["quadratic"]), grid=True))


@settings(max_examples=150, deadline=None)
@given(programs(functions=ALL), st.integers(0, 5))
def test_random_programs_are_read_written_and_run(
    on_quadratic: Stretch, of: Program, seed: int
) -> None:
    assert from_text(to_text(of)) == of
    analyse(of)
    with np.errstate(all="ignore"):
        weights = tree(LAYOUT, "normal", seed)
        update, _ = run_step(of, weights, leaves(seed), zero_slots(of, weights), 0.5)
    assert [u.shape for u in update] == list(SHAPES)
    assert on_quadratic.updates(of).ndim == 1


# -- the probe -------------------------------------------------------------------------


def test_a_stretch_keeps_rows_and_columns() -> None:
    assert [grid_of(shape) for shape in SHAPES[:4]] == [(3, 4), (5, 2), (4, 4), (1, 6)]
    assert grid_of((40, 50)) == (GRID, GRID) and grid_of((4, 3, 2, 2)) == (4, 6)
    data = record(Trainer(CATALOG["digits_mlp"]), grid=True)
    assert json.loads(json.dumps(data)) == data
    assert data["kept"] == [m * n for m, n in data["grids"]]
    assert len(data["gradients"][0]) == sum(data["kept"])
    assert "grids" not in record(Trainer(CATALOG["digits_mlp"]))


def test_the_probe_steps_as_the_reference_where_it_keeps_all() -> None:
    shapes = ((3, 4), (5,), (2, 6))
    rng = np.random.default_rng(0)
    counts = [12, 5, 12]
    weights, gradients = (rng.normal(size=(8, 29)).astype(np.float32) for _ in range(2))
    data = {
        "weights": weights.tolist(), "gradients": gradients.tolist(), "rates": [0.5] * 8,
        "counts": counts, "kept": counts, "grids": [[3, 4], [5, 1], [2, 6]],
    }  # fmt: skip
    for of in [*PROGRAMS.values(), *map(from_text, (t.lstrip() for t in NARROW.values()))]:
        slots = zero_slots(of, [np.zeros(shape, np.float32) for shape in shapes])
        wanted = []
        for w, g in zip(weights, gradients, strict=True):
            rows = [
                [part.reshape(s) for part, s in zip(np.split(x, [12, 17]), shapes, strict=True)]
                for x in (w, g)
            ]
            with np.errstate(all="ignore"):
                update, slots = run_step(of, *rows, slots, 0.5)
            wanted.append(np.concatenate([u.ravel() for u in update]))
        found = Stretch(data).updates(of)
        np.testing.assert_allclose(found, np.concatenate(wanted[4:]), rtol=5e-3, atol=5e-3)


# -- the search ------------------------------------------------------------------------


def test_statements_are_only_of_the_language_that_was_asked_for(tmp_path: Path, cli: Cli) -> None:
    extended = {f.name for f in EXTENDED}
    config = tmp_path / "c.toml"
    config.write_text(
        "population = 12\nreplicates = [1, 2]\nclosing_share = 0.0\ntune_start = false\n"
    )
    for language, some in (("paper", False), ("extended", True)):
        out = tmp_path / language
        arguments = ["--tasks", "quadratic", "--workers", "0", "--out", out, "--quiet"]
        arguments += ["--budget", "150evals", "--config", config, "--language", language]
        code, _, err = cli("run", *arguments)
        assert code == 0, err
        run = evolve.open(out)
        used = {
            statement.function
            for row in run.history
            for statement in run.program(row["id"]).program.statements
        }
        assert bool(used & extended) == some
    assert cli("run", "--language", "latin")[0] == 2


@pytest.mark.parametrize("function", EXTENDED, ids=lambda f: f.name)
def test_every_function_is_in_the_one_table(function: Any) -> None:
    assert BY_NAME[function.name] is function
    trees = (TREE,) * function.arity
    assert function.signatures[trees] in (ROW, COLUMN, TREE)
    statements = (
        Statement("x", function.name, ("g",) * function.arity),
        Statement("update", "add", ("x", "w")),
    )
    assert analyse(Program(statements, ())).nodes[-1].kind == TREE


def _numpy_state(module: Any, weights: list[np.ndarray]) -> list[tuple[int, ...]]:
    return [np.shape(x) for x in jax.tree.leaves(module.init(weights))]


def _optax_state(module: Any, weights: list[np.ndarray]) -> list[tuple[int, ...]]:
    return [np.shape(x) for x in jax.tree.leaves(module.found(1.0).init(weights))]


def _torch_state(module: Any, weights: list[np.ndarray]) -> list[tuple[int, ...]]:
    params = [torch.nn.Parameter(torch.from_numpy(w)) for w in weights]
    optimizer = module.Found(params)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    values = [x for state in optimizer.state.values() for x in state.values()]
    return [tuple(x.shape) for x in values if isinstance(x, torch.Tensor)]


def _keras_state(module: Any, weights: list[np.ndarray]) -> list[tuple[int, ...]]:
    keras = importlib.import_module("keras")
    optimizer = module.Found()
    optimizer.build([keras.Variable(w) for w in weights])
    return [tuple(v.shape) for v in optimizer.variables]


#: The shapes of all that an optimizer keeps.
STATES = {
    "numpy": _numpy_state, "optax": _optax_state, "torch": _torch_state, "keras": _keras_state,
}  # fmt: skip


# -- slots of every kind -----------------------------------------------------------------


@pytest.mark.parametrize("name", NARROW)
def test_kinds_of_slots_are_found_again(name: str) -> None:
    of = from_text(NARROW[name].lstrip())
    assert to_text(of) == NARROW[name].lstrip()
    assert with_least_kinds(Program(of.statements, of.slots)) == of
    assert analyse(of).kinds == tuple(of.kind_of(slot) for slot in of.slots)


@pytest.mark.parametrize("name", NARROW)
def test_narrow_slots_in_machine_and_pytorch(name: str) -> None:
    of = from_text(NARROW[name].lstrip())
    code = machine.assemble(analyse(of))
    registers = machine.start(LAYOUT, code, LAYOUT.flatten(leaves(9)))
    params = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in leaves(9)]
    optimizer = Interpreted(params, Plan(of), np.full(1, 0.5, np.float32))
    for step, wanted in enumerate(steps_of(of)):
        weights = LAYOUT.flatten(leaves(9))
        registers = machine.load(LAYOUT, registers, weights, leaves(step), 0.5)
        registers = _extended_machine(code, registers)
        close(LAYOUT.unflatten(np.asarray(registers[int(code.update)])), wanted)
        for p, w, g in zip(params, leaves(9), leaves(step), strict=True):
            p.data, p.grad = torch.from_numpy(w.copy()), torch.from_numpy(g.copy())
        optimizer.step()
        close([w - p.detach().numpy() for p, w in zip(params, leaves(9), strict=True)], wanted)
    assert optimizer.finite()


def test_equal_programs_with_slots_of_other_kinds_are_told_apart() -> None:
    body = "t = t + 1.0", "update = g * t"
    number = from_text(to_text(program(*body, slots="t")).replace("g, t", "g, t: scalar"))
    whole = program(*body, slots="t")
    assert analyse(number).functional_hash != analyse(whole).functional_hash
    assert analyse(number).structure != analyse(whole).structure
    with pytest.raises(ProgramError, match="no kind"):
        from_text(to_text(whole).replace("g, t", "g, t: matrix"))
    with pytest.raises(ProgramError, match="'t' is a tree at return; it must be a row"):
        analyse(from_text(to_text(whole).replace("g, t", "g, t: row").replace("t + 1.0", "t + g")))


@pytest.mark.parametrize("target", ADAPTERS)
@pytest.mark.parametrize("name", NARROW)
def test_exports_keep_narrow_slots_in_their_true_shape(name: str, target: str) -> None:
    of = from_text(NARROW[name].lstrip())
    source = catalog.emit(target, of, "found", {})
    assert replay.largest_difference(target, source, "found", of, SHAPES) < 2e-3
    wanted = [x.shape for slot in zero_slots(of, leaves(9)).values() for x in slot]
    found = STATES[target](replay.load(source), leaves(9))
    for shape in {*wanted} - {()}:  # besides, frameworks count steps, in numbers of their own
        assert found.count(shape) == wanted.count(shape), shape
    assert sum(map(len, found)) == sum(map(len, wanted))


def _optax_half(module: Any, weights: Any, gradient: Any, rate: float) -> list[Any]:
    import jax.numpy as jnp

    w, g = ([jnp.asarray(x, jnp.bfloat16) for x in xs] for xs in (weights, gradient))
    optimizer = module.found(rate)
    updates, _ = optimizer.update(g, optimizer.init(w), w)
    return [np.asarray(u, np.float32) for u in updates if u.dtype == jnp.bfloat16]


def _torch_half(module: Any, weights: Any, gradient: Any, rate: float) -> list[Any]:
    params = [torch.nn.Parameter(torch.zeros(w.shape).bfloat16()) for w in weights]
    optimizer = module.Found(params, lr=rate)
    for p, g in zip(params, gradient, strict=True):
        p.grad = torch.from_numpy(g).bfloat16()
    optimizer.step()
    return [p.detach().float().numpy() for p in params if p.dtype == torch.bfloat16]


def _keras_half(module: Any, weights: Any, gradient: Any, rate: float) -> list[Any]:
    keras = importlib.import_module("keras")
    variables = [keras.Variable(np.zeros(w.shape), dtype="bfloat16") for w in weights]
    optimizer = module.Found(learning_rate=rate)
    optimizer.build(variables)
    optimizer.apply([keras.ops.cast(g, "bfloat16") for g in gradient], variables)
    values = [keras.ops.convert_to_numpy(keras.ops.cast(v.value, "float32")) for v in variables]
    return [x for x, v in zip(values, variables, strict=True) if v.dtype == "bfloat16"]


HALVES = {"optax": _optax_half, "torch": _torch_half, "keras": _keras_half}


@pytest.mark.parametrize("target", HALVES)
@pytest.mark.parametrize("name", ["factors", "muon", "polar gradient", "centred"])
def test_exports_train_weights_of_sixteen_bits(name: str, target: str) -> None:
    """One step from nothing, to a few of the 256 numbers between two powers of two."""
    of = PROGRAMS.get(name) or from_text(NARROW[name].lstrip())
    weights = [np.zeros_like(w) for w in leaves(9)]
    with np.errstate(all="ignore"):
        wanted, _ = run_step(of, weights, leaves(0), zero_slots(of, weights), 1.0)
    module = replay.load(catalog.emit(target, of, "found", {}))
    peak = float(lower(of).peak.default)
    found = HALVES[target](module, weights, leaves(0), peak)
    assert len(found) == len(wanted)
    for got, right in zip(found, wanted, strict=True):
        size = float(np.abs(right).max(initial=1e-6))
        assert np.isfinite(got).all()
        np.testing.assert_allclose(np.abs(got), np.abs(right), atol=0.05 * size)


def test_a_slot_that_nothing_assigns_is_a_tree() -> None:
    of = program("t = t + 1.0", "update = g * lr", slots="m t")
    assert with_least_kinds(of).narrow == (("t", SCALAR),)


def test_equal_memory_counts_true_elements() -> None:
    of = analyse(from_text(NARROW["factors"].lstrip()))
    known = sizes([(3, 4), (5,), (2, 2, 2)])
    assert of.trees == 0
    assert of.memory(known) * 25 == pytest.approx((3 + 5 + 2) + (4 + 1 + 4))
    assert analyse(PROGRAMS["muon"]).memory(known) == 1
