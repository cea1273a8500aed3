"""Programs as values, as formulas, and back; identities against the reference interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import examples, paper_signatures, programs

from evolve.understand.algebraic import cost, steps
from primitives.abstract import CONSTANT, analyse, constant_value, live_program
from primitives.algebra.reading import CannotRead, Expressions, G, expressions, slot_symbol
from primitives.algebra.rules import folded_slots, identities, saturated, without_eps
from primitives.algebra.writing import CannotWrite, write
from primitives.functions import FUNCTIONS, SCALAR
from primitives.program import Program, ProgramError, Statement
from primitives.reference import run_step, zero_slots
from primitives.text import from_text, to_text
from primitives.values import to_program, values_of
from primitives.zoo import NAMES, zoo


def program(slots: str, *statements: str) -> Program:
    names = slots.split()
    lines = [f"def train({', '.join(['w', 'g', *names, 'lr'])}):", *statements]
    return from_text("\n    ".join([*lines, f"return {', '.join(['update', *names])}"]) + "\n")


def replay(of: Program, seed: int = 0, steps: int = 6, shift: float = 0.0) -> np.ndarray:
    """The updates on random trees, `[steps, elements]`, some numbers around `shift`."""
    rng = np.random.default_rng(seed)
    shapes = [(3, 4), (5,), ()]
    weights = [rng.normal(size=s).astype(np.float32) for s in shapes]
    slots = zero_slots(of, weights)
    rows = []
    for step in range(steps):
        gradient = [(shift + rng.normal(size=s)).astype(np.float32) for s in shapes]
        update, slots = run_step(of, weights, gradient, slots, 1 - step / 8)
        rows.append(np.concatenate([np.ravel(leaf) for leaf in update]))
    return np.stack(rows)


def agree(first: Program, second: Program, tolerance: float = 1e-4, **options: float) -> None:
    """Equal but for rounding where both are finite and neither is next to a jump."""
    one, other = replay(first, **options), replay(second, **options)
    with np.errstate(all="ignore"):
        finite = np.isfinite(one) & np.isfinite(other)
        size = np.maximum(np.abs(one).max(axis=1, keepdims=True, initial=0, where=finite), 1e-30)
        close = np.abs(one - other) <= tolerance * size
    assert close[finite].all()


# -- values and back ---------------------------------------------------------------


@settings(max_examples=examples(150, 5000))
@given(programs())
def test_values_and_back_behave_alike_and_are_no_longer(of: Program) -> None:
    analysis = analyse(of)
    constants = [n for n in analysis.live_nodes() if analysis.nodes[n].function == CONSTANT]
    assume(all(np.isfinite(constant_value(analysis.nodes[n])) for n in constants))
    written = to_program(*values_of(analysis, of.slots))
    assert analyse(written).functional_hash == analysis.functional_hash
    assert to_text(from_text(to_text(written))) == to_text(written)
    copies = sum(s.function == "multiply" and 1.0 in s.arguments for s in written.statements)
    assert len(written.statements) <= analysis.statements + copies + 1  # and a zero slot


def test_a_slot_is_read_before_it_is_written() -> None:
    swapped = program("m v", "x = m + g", "m = interp(v, g, 0.5)", "v = sin(x)", "update = m * v")
    written = to_program(*values_of(analyse(swapped), swapped.slots))
    assert analyse(written).functional_hash == analyse(swapped).functional_hash


# -- formulas and back -------------------------------------------------------------


def _uses(function: str, signature: tuple[str, ...]) -> Program:
    trees, scalars = iter(["g", "w"]), iter(["lr", 0.25, 0.75])
    arguments = [next(scalars if kind == SCALAR else trees) for kind in signature]
    statements = [Statement("x", function, tuple(arguments))]
    return Program((*statements, Statement("update", "multiply", ("x", "w"))), ())


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_every_function_is_written_as_it_was_read(function) -> None:
    for signature in paper_signatures(function):
        if "per_array" not in signature:
            of = _uses(function.name, signature)
            back = write(expressions(of))
            assert cost(back) <= (0, 4)
            for shift in (0.0, 1.5):
                agree(of, back, shift=shift)


SUMS = [(f.name, s) for f in FUNCTIONS if f.reduces for s in f.signatures if s[0] == "tree"]


@pytest.mark.parametrize(("name", "signature"), SUMS, ids=lambda x: x if isinstance(x, str) else "")
def test_what_sums_elements_makes_zero_of_a_slot_that_nothing_is_written_to(
    name: str, signature: tuple[str, ...]
) -> None:
    others = ["w" if kind == "tree" else "0.5" for kind in signature[1:]]
    for arguments in {("m", *others), *([("w", "m")] if others == ["w"] else [])}:
        of = program(
            "m", f"x = {name}({', '.join(arguments)})", "update = x * w", "update = update + g"
        )
        agree(of, write(expressions(of)))
        assert cost(write(expressions(of))) < cost(of)


@pytest.mark.parametrize(("name", "signature"), SUMS, ids=lambda x: x if isinstance(x, str) else "")
def test_what_sums_equal_numbers_cannot_be_read(name: str, signature: tuple[str, ...]) -> None:
    others = ["w" if kind == "tree" else "0.5" for kind in signature[1:]]
    ones = ["y = m + 1.0", f"x = {name}({', '.join(['y', *others])})", "update = x * g"]
    with pytest.raises(CannotRead, match="depends on how many there are"):
        expressions(program("m", *ones))


@pytest.mark.parametrize("name", NAMES)
def test_every_identity_and_what_is_found_with_them_is_one(name: str) -> None:
    of = live_program(zoo(name))
    for rewrite in identities(expressions(of)):
        try:
            written = write(rewrite.what)
        except CannotWrite:  # sympy distinguishes cases
            continue
        agree(of, written, tolerance=1e-3)
    *_, last = [of, *[found.program for found in steps(of)]]
    assert cost(last) <= cost(of)


@settings(max_examples=examples(25, 1000))
@given(programs(), st.integers(0, 9))
def test_random_programs_mean_the_same_as_formulas(of: Program, seed: int) -> None:
    assume(analyse(of).statements <= 6)
    try:
        back = live_program(write(expressions(of)))
    except ProgramError:
        assume(False)
    one, other = replay(of, seed, 2), replay(back, seed, 2)
    with np.errstate(all="ignore"):
        both = np.isfinite(one) & np.isfinite(other)
        # Large numbers cancel, and jumps are met: nearly all must agree, not each.
        close = np.abs(one - other) <= 1e-2 * (np.abs(one) + np.abs(other)) + 1e-3
    assert not both.any() or close[both].mean() > 0.5


def test_nested_averages_fold_to_the_papers_coefficient() -> None:
    what = expressions(zoo("paper-program-8"))
    (after,) = what.slots.values()
    decay = sympy.expand(after).coeff(slot_symbol(*what.slots))
    assert float(decay) == pytest.approx(0.99822, abs=5e-6)


# -- rules ---------------------------------------------------------------------------


def shortest(of: Program) -> list[tuple[str, Program]]:
    return [(found.kind, found.program) for found in steps(live_program(of))]


@pytest.mark.parametrize(
    ("slots", "statements", "kinds", "expected"),
    [
        (
            "m",
            ["m = interp(g, m, 0.9)", "a = m * m", "a = sqrt(a)", "update = m / a"],
            {"limit", "algebraic"},
            2,
        ),
        ("m", ["m = interp(g, m, 0.9)", "a = abs(m)", "update = m / a"], {"limit"}, 2),
        # A sign in two steps: divided twice by the square root, which is that of |m|.
        (
            "m",
            ["m = interp(g, m, 0.9)", "a = sqrt(m)", "x = m / a", "update = x / a"],
            {"limit"},
            2,
        ),
        (
            "m v",
            [
                "m = interp(g, m, 0.9)",
                "b = square(g)",
                "v = interp(b, v, 0.99)",
                "b = sqrt(v)",
                "update = m / b",
                "update = sign(update)",
            ],
            {"algebraic"},
            2,
        ),
        ("", ["a = lr * 0.5", "b = a * 0.25", "update = g * b"], {"algebraic"}, 2),
        ("", ["a = sinh(g)", "a = arctan(a)", "update = sign(a)"], {"algebraic"}, 1),
        ("", ["a = arcsin(g)", "update = sin(a)", "update = update * lr"], {"algebraic"}, 1),
    ],
)
def test_what_is_found(slots: str, statements: list[str], kinds: set[str], expected: int) -> None:
    of = program(slots, *statements)
    found = shortest(of)
    assert {kind for kind, _ in found} == kinds
    assert analyse(found[-1][1]).statements == expected
    agree(of, found[-1][1], tolerance=2e-3)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["a = cos(g)", "b = negative(g)", "b = cos(b)", "update = a + b"], 2),  # 2 cos
        (["a = arcsin(g)", "update = sin(a)"], 1),
        (["a = arccos(g)", "update = cos(a)"], 1),
        (["a = arctan(g)", "update = tan(a)"], 1),
        (["a = arcsinh(g)", "update = sinh(a)"], 1),
        (["a = arccosh(g)", "update = cosh(a)"], 1),
        (["a = arctanh(g)", "update = tanh(a)"], 1),
        (["a = exp(g)", "update = log(a)"], 1),
        (["a = log(g)", "update = exp(a)"], 1),
        (["a = expm1(g)", "update = log1p(a)"], 1),
        (["a = exp(g)", "b = exp(w)", "update = a * b"], 2),
        (["a = square(g)", "update = sqrt(a)"], 1),
        (["a = g * g", "update = a * g"], 1),
        (["a = negative(g)", "update = abs(a)"], 1),
        (["a = sign(g)", "update = sign(a)"], 1),
        (["a = sin(g)", "b = cos(g)", "a = a * a", "b = b * b", "a = a + b", "update = a * w"], 1),
        (["a = sinh(g)", "b = cosh(g)", "a = a * a", "b = b * b", "b = b - a", "update = b * w"],
         1),
        # The order of arguments, of functions that sympy does not have, too.
        (["a = g + w", "b = w + g", "update = a * b"], 2),
        (["a = maximum(g, w)", "b = maximum(w, g)", "a = a - b", "update = a + g"], 1),
        (["a = dot(g, w)", "b = dot(w, g)", "a = a - b", "a = g * a", "update = a + g"], 1),
    ],
    ids=lambda x: "; ".join(x) if isinstance(x, list) else "",
)  # fmt: skip
def test_identities_that_sympy_knows(statements: list[str], expected: int) -> None:
    of = program("", *statements)
    ((kind, found),) = shortest(of)[-1:]
    assert (kind, analyse(found).statements) == ("algebraic", expected), to_text(found)
    agree(of, found, tolerance=2e-3, shift=1.5)
    agree(of, found, tolerance=2e-3)


def test_a_slot_that_is_a_sum_of_the_gradient_and_another_slot_folds_away() -> None:
    """Where m is already written and v is not yet, v is m / 0.9 - g / 9 on every step."""
    of = program(
        "m v",
        "m = interp(g, m, 0.9)",
        "x = cos(m)",
        "y = sin(v)",
        "update = x * y",
        "v = v * 0.9",
        "y = g * 0.1",
        "v = v + y",
    )
    found = shortest(of)
    assert len(analyse(of).slots) == 2 and len(analyse(found[-1][1]).slots) == 1
    agree(of, found[-1][1])


def test_a_slot_that_is_a_multiple_of_another_folds_away() -> None:
    """v is always -2 m, the zero start included, though nothing says so."""
    of = program(
        "m v",
        "x = v * 0.5",
        "x = m - x",
        "y = g * -0.2",
        "v = v * 0.9",
        "v = v + y",
        "m = interp(g, m, 0.9)",
        "update = sin(x)",
    )
    found = shortest(of)
    assert len(analyse(of).slots) == 2 and len(analyse(found[-1][1]).slots) == 1
    agree(of, found[-1][1])


def test_slots_that_only_look_alike_stay() -> None:
    for decay in ("0.9", "0.91"):
        of = program(
            "m v",
            "m = interp(g, m, 0.9)",
            f"v = interp(g, v, {decay})",
            "x = sin(v)",
            "update = m + x",
        )
        folds = bool(list(folded_slots(expressions(of))))
        assert folds == (decay == "0.9")


def test_the_sines_of_programs_5_and_6_survive() -> None:
    for name, function in (("paper-program-5", "sin"), ("paper-program-6", "minimum")):
        *_, last = [live_program(zoo(name)), *[p for _, p in shortest(zoo(name))]]
        assert [s.function for s in last.statements].count(function) >= 1
        assert len(analyse(last).slots) == 2


def test_no_limit_without_a_ratio() -> None:
    assert list(without_eps(expressions(zoo("adamw")))) == []
    nothing = Expressions(sympy.Integer(0), {})
    assert list(without_eps(nothing)) == []


@pytest.mark.parametrize(("function", "bound"), [("arctan", sympy.pi / 2), ("tanh", 1)])
@pytest.mark.parametrize("divisor", [("v",), ("eps", "eps = get_eps()")])
def test_a_bounded_function_of_a_division_by_nothing_is_a_sign(
    function: str, bound: sympy.Expr, divisor: tuple[str, ...]
) -> None:
    """As a search writes it that has no sign: a slot that nothing assigns is zero."""
    by, *made = divisor
    of = program("m v", *made, f"x = g / {by}", f"update = {function}(x)")
    (limit,) = saturated(expressions(of))
    assert limit.what.update == bound * sympy.sign(G)
    for line in ("g * 100.0", "g / w", "reciprocal(g)", "g / y", "i / y"):
        made = ("y = square(g)", "i = interp(g, w, 0.62)")
        mild = program("m v", *made, f"x = {line}", f"update = {function}(x)")
        assert list(saturated(expressions(mild))) == []
