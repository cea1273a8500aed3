"""The one table of functions: everything the language can compute.

Each function is one `Function` entry. The type rules, the abstract
execution, the register machine, the reference interpreter and the printer all
read that entry; nothing else lists the functions. To add one, add an entry.
`FUNCTIONS` are the paper's 44, and a search draws from these unless it is told
to draw from `EXTENDED` too, which know that a weight is a matrix.

A function is defined once, over a namespace `ops` that stands for NumPy, JAX
or anything else with the same elementwise names, plus two reductions,
`ops.array_sum(x)` (one number per array) and `ops.tree_sum(x)` (one number),
two means, `ops.row_mean(x)` and `ops.column_mean(x)`, and
`ops.by_matrix(x, function, otherwise)`, a function of every matrix and another
one of what is none. Arguments support Python arithmetic.

**Matrices.** An array with two axes or more is a matrix: its first axis counts
the rows, all others together the columns. An array with one axis or none is a
column: each of its numbers is a row.

Source: Chen et al., "Symbolic Discovery of Optimization Algorithms"
(arXiv 2302.06675), appendix on the search space, and the semantics of the
authors' released code: `a / b` is `a / (b + 1e-8)`, `log*` and `sqrt` act on
|x|, `log1p` is log|1 + x|. The released list also names `invert`, which fails
on floating-point arrays; it is left out, so 44 remain. `power` works on every
kind here (the released one only on scalars and single arrays).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

#: The kinds of value, from narrow to wide: one number; one number per array of
#: the tree (what `norm` gives); one for each row, or for each column, of every
#: array; a tree of arrays shaped like the weights.
SCALAR, PER_ARRAY, ROW, COLUMN, TREE = "scalar", "per_array", "row", "column", "tree"
KINDS = (SCALAR, PER_ARRAY, ROW, COLUMN, TREE)
#: What sums over elements are taken of.
_SUMMED = (SCALAR, PER_ARRAY, TREE)

Kinds = tuple[str, ...]
EPSILON = 1e-8


@dataclass(frozen=True)
class Function:
    """One entry of the table.

    Attributes:
        name: how programs call it; the binary `+ - * /` are written infix.
        signatures: the kind tuples it accepts, with the kind that results.
        compute: `compute(ops, *arguments)`, its definition.
        tolerance: how far two float32 implementations may differ, in units of
            2^-23 relative to the result (for reductions and sums: relative to
            the sum of the magnitudes of the terms; measured up to a million).
            Trigonometric functions hold it for arguments of any size.
        infix: the operator it is written with, if any.
        commutative: swapping the arguments changes no bit of the result.
        reduces: it sums over elements, so operand kinds change what it does.
        shaped: it sees the rows and columns of arrays.
        continuous: a small change of the arguments changes the result little.
    """

    name: str
    signatures: dict[Kinds, str]
    compute: Callable[..., Any]
    tolerance: float = 4.0
    infix: str | None = None
    commutative: bool = False
    reduces: bool = False
    shaped: bool = False
    continuous: bool = True

    @property
    def arity(self) -> int:
        """The number of arguments."""
        return len(next(iter(self.signatures)))


def joined(kinds: Iterable[str]) -> str:
    """The least kind that all of these can be broadcast to; a row and a column make a tree."""
    found = set(kinds)
    return TREE if {ROW, COLUMN} <= found else max(found, key=KINDS.index)


def sees_nothing(function: Function, kind: str) -> bool:
    """Whether a function of rows and columns gets a value that has none of what it sees."""
    return function.signatures[(kind,)] == kind != TREE


def _leafwise(arity: int) -> dict[Kinds, str]:
    """Any kinds; narrow ones are broadcast to the widest."""
    return {kinds: joined(kinds) for kinds in product(KINDS, repeat=arity)}


def _same(result: Callable[[str], str]) -> dict[Kinds, str]:
    """Two values of one kind (two trees of one structure and shape)."""
    return {(kind, kind): result(kind) for kind in _SUMMED}


def _binary(name: str, compute: Callable[..., Any], **options: Any) -> Function:
    return Function(name, _leafwise(2), compute, **options)


def _unary(name: str, tolerance: float = 4.0, **options: Any) -> Function:
    """A function that the namespace has under the same name."""
    return Function(
        name, _leafwise(1), lambda ops, x: getattr(ops, name)(x), tolerance=tolerance, **options
    )


def _protected(name: str, compute: Callable[..., Any], tolerance: float = 4.0) -> Function:
    return Function(name, _leafwise(1), compute, tolerance=tolerance)


def _constant(name: str, value: float) -> Function:
    return Function(name, {(): SCALAR}, lambda ops: value, tolerance=0.0)


def _global_norm(ops: Any, x: Any) -> Any:
    return ops.sqrt(ops.tree_sum(x * x))


def _cosine_similarity(ops: Any, x: Any, y: Any) -> Any:
    return ops.tree_sum(x * y) / (_global_norm(ops, x) * _global_norm(ops, y))


def _clip(ops: Any, x: Any, limit: Any) -> Any:
    return x * ops.minimum(limit / _global_norm(ops, x), 1.0)


_WITH_SCALAR: dict[Kinds, str] = {(kind, SCALAR): kind for kind in _SUMMED}
_TO_SCALAR: dict[Kinds, str] = {(kind,): SCALAR for kind in _SUMMED}
_NORMS: dict[Kinds, str] = {(SCALAR,): SCALAR, (PER_ARRAY,): PER_ARRAY, (TREE,): PER_ARRAY}
_INTERP: dict[Kinds, str] = {(x, y, SCALAR): joined((x, y)) for x in KINDS for y in KINDS}
_OVER_COLUMNS: dict[Kinds, str] = {
    **{(kind,): kind for kind in (SCALAR, PER_ARRAY, ROW)},
    (COLUMN,): PER_ARRAY,
    (TREE,): ROW,
}
_OVER_ROWS: dict[Kinds, str] = {
    **{(kind,): kind for kind in (SCALAR, PER_ARRAY, COLUMN)},
    (ROW,): PER_ARRAY,
    (TREE,): COLUMN,
}

FUNCTIONS: tuple[Function, ...] = (
    _binary("add", lambda ops, x, y: x + y, infix="+", commutative=True, tolerance=1),
    _binary("subtract", lambda ops, x, y: x - y, infix="-", tolerance=1),
    _binary("multiply", lambda ops, x, y: x * y, infix="*", commutative=True, tolerance=1),
    _binary("divide", lambda ops, x, y: x / (y + EPSILON), infix="/", tolerance=4),
    _binary("maximum", lambda ops, x, y: ops.maximum(x, y), tolerance=0),
    _binary("minimum", lambda ops, x, y: ops.minimum(x, y), tolerance=0),
    _unary("abs", 0),
    _unary("cos", 8),
    _unary("sin", 8),
    _unary("tan", 16),
    _unary("arcsin", 16),
    _unary("arccos", 16),
    _unary("arctan", 8),
    _unary("sinh", 16),
    _unary("cosh", 16),
    _unary("tanh", 16),
    _unary("arcsinh", 16),
    _unary("arccosh", 16),
    _unary("arctanh", 16),
    _unary("exp", 8),
    _unary("exp2", 128),
    _protected("exp10", lambda ops, x: ops.power(10.0, x), 128),
    _unary("expm1", 16),
    _protected("log", lambda ops, x: ops.log(ops.abs(x)), 8),
    _protected("log10", lambda ops, x: ops.log10(ops.abs(x)), 8),
    _protected("log2", lambda ops, x: ops.log2(ops.abs(x)), 8),
    _protected("log1p", lambda ops, x: ops.log(ops.abs(1.0 + x)), 8),
    _protected("square", lambda ops, x: x * x, 1),
    _protected("sqrt", lambda ops, x: ops.sqrt(ops.abs(x)), 2),
    _protected("cube", lambda ops, x: x * x * x, 2),
    _unary("cbrt", 8),
    _unary("sign", 0, continuous=False),
    _protected("reciprocal", lambda ops, x: 1.0 / x, 2),
    Function("norm", _NORMS, lambda ops, x: ops.sqrt(ops.array_sum(x * x)), 16, reduces=True),
    _protected("negative", lambda ops, x: -x, 0),
    Function("global_norm", _TO_SCALAR, _global_norm, 16, reduces=True),
    Function(
        "dot",
        _same(lambda kind: SCALAR),
        lambda ops, x, y: ops.tree_sum(x * y),
        16,
        commutative=True,
        reduces=True,
    ),
    Function(
        "cosine_similarity",
        _same(lambda kind: SCALAR),
        _cosine_similarity,
        16,
        commutative=True,
        reduces=True,
    ),
    Function("clip", _WITH_SCALAR, _clip, 16, reduces=True),
    Function("interp", _INTERP, lambda ops, x, y, a: (1.0 - a) * x + a * y, tolerance=4),
    _binary("power", lambda ops, x, y: ops.power(x, y), tolerance=128),
    _constant("get_pi", math.pi),
    _constant("get_e", math.e),
    _constant("get_eps", EPSILON),
)

#: Beyond the paper: what factored and matrix optimizers are made of. What `sign` and `cube` do to
#: numbers, `matrix_sign` and `matrix_cube` do to the singular values of every matrix, in units of
#: the root of its larger side: a matrix whose numbers have mean square 1 has singular values of
#: about 1. They are `sign` and `cube` for arrays that are no matrix. `matrix_sign` is the polar
#: factor, found by five Newton-Schulz steps as in Muon (Jordan et al., 2024); `matrix_cube` costs
#: two products, and is what such steps are made of (Bjorck and Bowie, 1971: 1.5 X - 0.5 X X' X).
EXTENDED: tuple[Function, ...] = (
    Function("row_mean", _OVER_COLUMNS, lambda ops, x: ops.row_mean(x), 16, shaped=True),
    Function("column_mean", _OVER_ROWS, lambda ops, x: ops.column_mean(x), 16, shaped=True),
    Function(
        "matrix_sign",
        {(SCALAR,): SCALAR, (TREE,): TREE},
        lambda ops, x: ops.by_matrix(x, polar, lambda ops, x: ops.sign(x)),
        tolerance=1 << 15,
        shaped=True,
        continuous=False,
    ),
    Function(
        "matrix_cube",
        {(SCALAR,): SCALAR, (TREE,): TREE},
        lambda ops, x: ops.by_matrix(x, cubed, lambda ops, x: x * x * x),
        tolerance=64,
        shaped=True,
    ),
)
#: The coefficients of a Newton-Schulz step a X + b (X X') X + c (X X')^2 X, and how many there are.
NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS = (3.4445, -4.7750, 2.0315), 5

ALL = (*FUNCTIONS, *EXTENDED)
#: What a search may draw from.
PAPER = "paper"
LANGUAGES: dict[str, tuple[Function, ...]] = {PAPER: FUNCTIONS, "extended": ALL}
BY_NAME: dict[str, Function] = {function.name: function for function in ALL}
BY_INFIX: dict[str, Function] = {f.infix: f for f in FUNCTIONS if f.infix is not None}


def polar(ops: Any, x: Any) -> Any:
    """`matrix_sign` of one matrix `[m, n]`, over a namespace with `sqrt`, `sum` and `@`."""
    rows, columns = x.shape
    x = x if rows <= columns else x.T
    x = x / (ops.sqrt(ops.sum(x * x)) + EPSILON)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    x = x * max(rows, columns) ** 0.5
    return x if rows <= columns else x.T


def cubed(ops: Any, x: Any) -> Any:
    """`matrix_cube` of one matrix `[m, n]`."""
    cube = (x @ x.T) @ x if x.shape[0] <= x.shape[1] else x @ (x.T @ x)
    return cube / max(x.shape)
