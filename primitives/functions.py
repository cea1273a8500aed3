"""The one table of functions: everything the language can compute.

Each of the 44 functions is one `Function` entry. The type rules, the abstract
execution, the register machine, the reference interpreter and the printer all
read that entry; nothing else lists the functions. To add one, add an entry.

A function is defined once, over a namespace `ops` that stands for NumPy, JAX
or anything else with the same elementwise names, plus two reductions:
`ops.array_sum(x)` (one number per array) and `ops.tree_sum(x)` (one number).
Arguments support Python arithmetic.

Source: Chen et al., "Symbolic Discovery of Optimization Algorithms"
(arXiv 2302.06675), appendix on the search space, and the semantics of the
authors' released code: `a / b` is `a / (b + 1e-8)`, `log*` and `sqrt` act on
|x|, `log1p` is log|1 + x|. The released list also names `invert`, which fails
on floating-point arrays; it is left out, so 44 remain. `power` works on every
kind here (the released one only on scalars and single arrays).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

#: The kinds of value, from narrow to wide: one number; one number per array of
#: the tree (what `norm` gives); a tree of arrays shaped like the weights.
SCALAR, PER_ARRAY, TREE = "scalar", "per_array", "tree"
KINDS = (SCALAR, PER_ARRAY, TREE)

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
        continuous: a small change of the arguments changes the result little.
    """

    name: str
    signatures: dict[Kinds, str]
    compute: Callable[..., Any]
    tolerance: float = 4.0
    infix: str | None = None
    commutative: bool = False
    reduces: bool = False
    continuous: bool = True

    @property
    def arity(self) -> int:
        """The number of arguments."""
        return len(next(iter(self.signatures)))


def _widest(kinds: Kinds) -> str:
    return max(kinds, key=KINDS.index)


def _leafwise(arity: int) -> dict[Kinds, str]:
    """Any kinds; narrow ones are broadcast to the widest."""
    return {kinds: _widest(kinds) for kinds in product(KINDS, repeat=arity)}


def _same(result: Callable[[str], str]) -> dict[Kinds, str]:
    """Two values of one kind (two trees of one structure and shape)."""
    return {(kind, kind): result(kind) for kind in KINDS}


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


_WITH_SCALAR: dict[Kinds, str] = {(kind, SCALAR): kind for kind in KINDS}
_TO_SCALAR: dict[Kinds, str] = {(kind,): SCALAR for kind in KINDS}
_NORMS: dict[Kinds, str] = {(SCALAR,): SCALAR, (PER_ARRAY,): PER_ARRAY, (TREE,): PER_ARRAY}
_INTERP: dict[Kinds, str] = {(x, y, SCALAR): _widest((x, y)) for x in KINDS for y in KINDS}

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

BY_NAME: dict[str, Function] = {function.name: function for function in FUNCTIONS}
BY_INFIX: dict[str, Function] = {f.infix: f for f in FUNCTIONS if f.infix is not None}
