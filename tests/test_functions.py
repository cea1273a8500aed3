"""The table of functions: the released semantics, by examples and by plain `math`."""

import math
import zlib

import numpy as np
import pytest
from strategies import LAYOUTS, PerArray, compiled, paper_signatures, tree

from primitives import reference
from primitives.functions import (
    BY_INFIX,
    BY_NAME,
    EXTENDED,
    FUNCTIONS,
    KINDS,
    PER_ARRAY,
    SCALAR,
    TREE,
)
from primitives.reference import Tree

NAN, INF = math.nan, math.inf
LAYOUT = LAYOUTS[0]

#: What each leaf-wise function computes, written with nothing but `math`.
MATH = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / (y + 1e-8),
    "maximum": max,
    "minimum": min,
    "abs": abs,
    "cos": math.cos,
    "sin": math.sin,
    "tan": math.tan,
    "arcsin": math.asin,
    "arccos": math.acos,
    "arctan": math.atan,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "tanh": math.tanh,
    "arcsinh": math.asinh,
    "arccosh": math.acosh,
    "arctanh": math.atanh,
    "exp": math.exp,
    "exp2": lambda x: 2.0**x,
    "exp10": lambda x: 10.0**x,
    "expm1": math.expm1,
    "log": lambda x: math.log(abs(x)),
    "log10": lambda x: math.log10(abs(x)),
    "log2": lambda x: math.log2(abs(x)),
    "log1p": lambda x: math.log(abs(1 + x)),
    "square": lambda x: x * x,
    "sqrt": lambda x: math.sqrt(abs(x)),
    "cube": lambda x: x * x * x,
    "cbrt": lambda x: math.copysign(abs(x) ** (1 / 3), x),
    "sign": lambda x: float((x > 0) - (x < 0)),
    "reciprocal": lambda x: 1 / x,
    "negative": lambda x: -x,
    "interp": lambda x, y, a: (1 - a) * x + a * y,
    "power": lambda x, y: x**y,
}
#: Arguments where each function is defined, if not all numbers.
DOMAIN = {
    "arcsin": (-1, 1),
    "arccos": (-1, 1),
    "arctanh": (-0.99, 0.99),
    "arccosh": (1, 5),
    "power": (0.1, 3),
}
REDUCTIONS = {"norm", "global_norm", "dot", "cosine_similarity", "clip"}
CONSTANTS = {"get_pi": math.pi, "get_e": math.e, "get_eps": 1e-8}


def test_the_table_has_44_functions_and_these_tests_cover_them():
    assert len(FUNCTIONS) == 44
    assert {*MATH, *REDUCTIONS, *CONSTANTS} == {f.name for f in FUNCTIONS}
    assert len(BY_NAME) == 44 + len(EXTENDED)
    assert {f.name for f in FUNCTIONS if f.reduces} == REDUCTIONS
    assert {infix: f.name for infix, f in BY_INFIX.items()} == {
        "+": "add",
        "-": "subtract",
        "*": "multiply",
        "/": "divide",
    }
    assert {f.name for f in FUNCTIONS if not f.continuous} == {"sign"}


@pytest.mark.parametrize("name", MATH)
def test_leafwise_functions_compute_what_math_does(name):
    function = BY_NAME[name]
    random = np.random.default_rng(zlib.crc32(name.encode()))
    low, high = DOMAIN.get(name, (-4, 4))
    columns = random.uniform(low, high, (function.arity, 200)).astype(np.float32)
    want = np.array([MATH[name](*map(float, row)) for row in columns.T])
    exact = reference.apply(name, *[Tree([column.astype(np.float64)]) for column in columns])
    np.testing.assert_allclose(exact.leaves[0], want, rtol=1e-12, atol=1e-14)
    single = reference.apply(name, *[Tree([column]) for column in columns]).leaves[0]
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, want, rtol=3e-5, atol=2e-6)


@pytest.mark.parametrize("name", MATH)
def test_leafwise_functions_give_the_widest_kind_and_broadcast(name):
    # One value per kind, positive and below 1, so that nearly all are defined.
    values = {
        SCALAR: np.float32(0.25),
        PER_ARRAY: PerArray([np.float32(0.125 * (i + 1)) for i in range(len(LAYOUT.shapes))]),
        TREE: Tree([abs(np.sin(leaf)) for leaf in tree(LAYOUT, "normal", 1)]),
    }
    for kinds, result in paper_signatures(BY_NAME[name]).items():
        assert result == max(kinds if name != "interp" else kinds[:2], key=KINDS.index)
        value = reference.apply(name, *[values[kind] for kind in kinds])
        if result == SCALAR:
            assert isinstance(value, np.float32)
            continue
        shapes = LAYOUT.shapes if result == TREE else [()] * len(LAYOUT.shapes)
        assert [leaf.shape for leaf in value.leaves] == list(shapes)
        for i, leaf in enumerate(value.leaves):
            rows = [values[k] if k == SCALAR else values[k].leaves[i] for k in kinds]
            with np.errstate(all="ignore"):
                for got, *given in np.broadcast(leaf, *rows):
                    if not np.isnan(got):  # arccosh of a number below 1
                        assert got == pytest.approx(MATH[name](*map(float, given)), rel=1e-5)


SPECIAL = [
    ("divide", (1, 0), 1e8),
    ("divide", (0, 0), 0),
    ("divide", (1, -2e-8), -1e8),
    ("log", (0,), -INF),
    ("log", (-math.e,), 1),
    ("log10", (-1000,), 3),
    ("log2", (-8,), 3),
    ("log1p", (-3,), math.log(2)),
    ("log1p", (-1,), -INF),
    ("sqrt", (-9,), 3),
    ("sqrt", (-INF,), INF),
    ("cbrt", (-27,), -3),
    ("cbrt", (0,), 0),
    ("sign", (-0.0,), 0),
    ("sign", (NAN,), NAN),
    ("sign", (-INF,), -1),
    ("reciprocal", (0,), INF),
    ("reciprocal", (-0.0,), -INF),
    ("arcsin", (1.5,), NAN),
    ("arccos", (-1.5,), NAN),
    ("arccosh", (0.5,), NAN),
    ("arctanh", (2,), NAN),
    ("arctanh", (1,), INF),
    ("exp", (1000,), INF),
    ("exp10", (3,), 1000),
    ("exp2", (-1,), 0.5),
    ("maximum", (NAN, 1), NAN),
    ("minimum", (1, NAN), NAN),
    ("maximum", (-1, 2), 2),
    ("interp", (2, 10, 0.25), 4),
    ("interp", (2, 10, 1.5), 14),
    ("interp", (2, 10, -1), -6),
    ("interp", (INF, 1, 1), NAN),
    ("power", (-8, 3), -512),
    ("power", (-8, 1 / 3), NAN),
    ("power", (0, 0), 1),
    ("power", (0, -1), INF),
    ("power", (1, NAN), 1),
    ("subtract", (INF, INF), NAN),
    ("multiply", (0, INF), NAN),
    ("cube", (-2,), -8),
    ("norm", (-3,), 3),
    ("global_norm", (-3,), 3),
    ("dot", (-3, 4), -12),
    ("cosine_similarity", (-3, 4), -1),
    ("cosine_similarity", (0, 4), NAN),
    ("clip", (-3, 1), -1),
    ("clip", (-3, 5), -3),
]


def filled(value):
    """A tree of one number."""
    return Tree([np.full(shape, value, np.float32) for shape in LAYOUTS[1].shapes])


@pytest.mark.parametrize(("name", "arguments", "want"), SPECIAL)
def test_special_values(name, arguments, want):
    arguments = [np.float32(a) for a in arguments]
    of, function = compiled(LAYOUTS[1]), BY_NAME[name]
    got = [float(reference.apply(name, *arguments)), float(of.apply(name, *arguments)[0])]
    for kinds in () if function.reduces else paper_signatures(function):
        if TREE in kinds and PER_ARRAY not in kinds:
            pairs = zip(arguments, kinds, strict=True)
            row = of.apply(name, *[filled(a) if kind == TREE else a for a, kind in pairs])
            got += np.concatenate([np.ravel(x) for x in of.value(row, TREE).leaves]).tolist()
    assert got == pytest.approx([want] * len(got), rel=1e-6, nan_ok=True)


def both(name, *operands, result=TREE):
    """A function by the reference and by the machine, as lists of arrays."""
    of = compiled(LAYOUT)
    want = reference.apply(name, *operands)
    row = of.apply(name, *operands)
    if result == SCALAR:
        assert np.all(row == row[0]) or np.isnan(row).all()
        return [[want], [row[0]]]
    return [want.leaves, of.value(row, result).leaves]


def a_tree(scale=1.0):
    return Tree([np.float32(scale) * leaf for leaf in tree(LAYOUT, "normal", 3)])


def flat(value):
    return np.concatenate([leaf.ravel() for leaf in value.leaves]).astype(np.float64)


def test_norm_is_one_number_per_array():
    x = a_tree()
    for leaves in both("norm", x, result=PER_ARRAY):
        want = [math.sqrt(sum(float(e) ** 2 for e in leaf.ravel())) for leaf in x.leaves]
        assert leaves == pytest.approx(want, rel=1e-6)
    norms = PerArray([np.asarray(v, np.float32) for v in (3, 4, 0, -1, 2)])
    for leaves in both("norm", norms, result=PER_ARRAY):
        assert leaves == [3, 4, 0, 1, 2], "the norm of a norm counts no array by its size"


def test_global_norm_and_dot_sum_over_the_whole_tree():
    x, y = a_tree(), a_tree(2.0)
    y.leaves[0] += 1
    norms = PerArray([np.asarray(v, np.float32) for v in (3, 4, 0, -1, 2)])
    for (got,) in both("global_norm", x, result=SCALAR):
        assert got == pytest.approx(math.sqrt((flat(x) ** 2).sum()), rel=1e-6)
    for (got,) in both("dot", x, y, result=SCALAR):
        assert got == pytest.approx(float(flat(x) @ flat(y)), rel=1e-5)
    for (got,) in both("cosine_similarity", x, y, result=SCALAR):
        cosine = flat(x) @ flat(y) / np.linalg.norm(flat(x)) / np.linalg.norm(flat(y))
        assert got == pytest.approx(float(cosine), rel=1e-5)
    for (got,) in both("global_norm", norms, result=SCALAR):
        assert got == pytest.approx(math.sqrt(30))
    for (got,) in both("dot", norms, norms, result=SCALAR):
        assert got == 30


def test_clip_is_by_the_global_norm():
    x = a_tree()
    norm = float(np.linalg.norm(flat(x)))
    for leaves in both("clip", x, np.float32(1)):
        np.testing.assert_allclose(flat(Tree(leaves)), flat(x) / norm, rtol=1e-5)
    for leaves in both("clip", x, np.float32(norm + 1)):
        np.testing.assert_array_equal(flat(Tree(leaves)), flat(x))
    for leaves in both("clip", x, np.float32(-1)):  # the sign turns, as released
        np.testing.assert_allclose(flat(Tree(leaves)), -flat(x) / norm, rtol=1e-5)
    zero = a_tree(0.0)
    for leaves in both("clip", zero, np.float32(0)):  # 0 / 0
        assert np.isnan(flat(Tree(leaves))).all()
    for leaves in both("clip", zero, np.float32(1)):
        assert not flat(Tree(leaves)).any()


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name):
    assert reference.apply(name) == np.float32(CONSTANTS[name])
    assert BY_NAME[name].signatures == {(): SCALAR}


def test_signatures_of_reductions():
    summed = (SCALAR, PER_ARRAY, TREE)
    same = {(kind, kind): SCALAR for kind in summed}
    assert BY_NAME["dot"].signatures == BY_NAME["cosine_similarity"].signatures == same
    assert BY_NAME["global_norm"].signatures == {(kind,): SCALAR for kind in summed}
    assert BY_NAME["clip"].signatures == {(kind, SCALAR): kind for kind in summed}
    assert BY_NAME["norm"].signatures == {
        (SCALAR,): SCALAR,
        (PER_ARRAY,): PER_ARRAY,
        (TREE,): PER_ARRAY,
    }


def test_only_these_functions_are_commutative():
    commutative = {f.name for f in FUNCTIONS if f.commutative}
    # Not maximum and minimum: they may return the first or the second of 0.0 and -0.0.
    assert commutative == {"add", "multiply", "dot", "cosine_similarity"}


@pytest.mark.parametrize("name", ["add", "multiply", "dot", "cosine_similarity"])
@pytest.mark.parametrize("modes", [("mixed", "mixed"), ("normal", "scales"), ("special", "zero")])
def test_swapping_commuted_arguments_changes_no_bit(name, modes):
    def bits_of(array):
        return np.where(np.isnan(array), np.float32(np.nan), array).tobytes()

    for layout in LAYOUTS:
        for seed in range(20):
            x, y = (Tree(tree(layout, mode, seed * 2 + i)) for i, mode in enumerate(modes))
            of = compiled(layout)
            ab, ba = reference.apply(name, x, y), reference.apply(name, y, x)
            leaves = [v.leaves if isinstance(v, Tree) else [v] for v in (ab, ba)]
            assert list(map(bits_of, leaves[0])) == list(map(bits_of, leaves[1]))
            assert bits_of(of.apply(name, x, y)) == bits_of(of.apply(name, y, x))
