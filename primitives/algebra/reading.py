"""Programs as expressions over the reals.

Trees stand for one element of them: a leaf-wise function of trees is that function
of real numbers. `w`, `g` and the slots are real symbols, `lr` a positive one (a
schedule's value), and EPS the positive 1e-8 of the protected division, kept as a
symbol so that it can be neglected knowingly. A function becomes what its entry in
the table says, as far as sympy knows the functions in it; others, and reductions
over elements, stay closed. So every identity is one of the reals, where both sides
are defined, and says nothing of rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import sympy

from primitives.abstract import CONSTANT, ZERO, Analysis, analyse, constant_value
from primitives.functions import BY_NAME, EPSILON, PER_ARRAY, SCALAR, Function, joined, sees_nothing
from primitives.program import GRADIENT, RATE, UPDATE, WEIGHTS, Program, ProgramError
from primitives.values import key_of, kind_of_key

EPS = sympy.Symbol("eps", positive=True)
W = sympy.Symbol(WEIGHTS, real=True)
G = sympy.Symbol(GRADIENT, real=True)
LR = sympy.Symbol(RATE, positive=True)


def _real(function: Any) -> Any:
    """The function, taken to be real: where it is not, the language gives NaN."""
    return type(function.__name__, (function,), {"_eval_is_extended_real": lambda self: True})


#: NumPy's names of functions that sympy has under the same or another name.
SYMPY: dict[str, Any] = {
    "abs": sympy.Abs,
    "cos": sympy.cos,
    "sin": sympy.sin,
    "tan": sympy.tan,
    "arcsin": _real(sympy.asin),
    "arccos": _real(sympy.acos),
    "arctan": sympy.atan,
    "sinh": sympy.sinh,
    "cosh": sympy.cosh,
    "tanh": sympy.tanh,
    "arcsinh": sympy.asinh,
    "arccosh": _real(sympy.acosh),
    "arctanh": _real(sympy.atanh),
    "exp": sympy.exp,
    "exp2": lambda x: 2**x,
    "expm1": lambda x: sympy.exp(x) - 1,
    "log": _real(sympy.log),
    "sqrt": sympy.sqrt,
    "sign": sympy.sign,
}
_NEVER_NEGATIVE = ("norm", "global_norm")
_SYMMETRIC = ("maximum", "minimum", "dot", "cosine_similarity")


class CannotRead(ProgramError):
    """A program has no meaning over the reals."""


class Expressions(NamedTuple):
    """What a step computes: the update, and for each slot its next value.

    Slots are called as in `primitives.values.key_of`.
    """

    update: sympy.Expr
    slots: dict[str, sympy.Expr]

    def outputs(self) -> dict[str, sympy.Expr]:
        """All of them by name."""
        return {UPDATE: self.update, **self.slots}


def slot_symbol(name: str) -> sympy.Symbol:
    """The value of a slot before the step."""
    return sympy.Symbol(name, real=True)


def closed(name: str, *arguments: sympy.Expr) -> sympy.Expr:
    """A function of the table that stays as it is."""
    if name in _SYMMETRIC:
        arguments = tuple(sorted(arguments, key=sympy.default_sort_key))
    if name == "cosine_similarity" and arguments[0] == arguments[1]:
        return sympy.Integer(1)
    assumption = {"nonnegative": True} if name in _NEVER_NEGATIVE else {"real": True}
    return sympy.Function(name, **assumption)(*arguments)


def expressions(program: Program) -> Expressions:
    """The live part of a program.

    Raises:
        ProgramError: if the program is not valid.
        CannotRead: if a constant is folded to NaN or infinity.
    """
    analysis = analyse(program)
    found: dict[int, sympy.Expr] = {}
    keys = [key_of(slot, program.kind_of(slot)) for slot in program.slots]
    for index in analysis.live_nodes():
        found[index] = _expression(analysis, index, found, keys)
    slots = {keys[position]: found[node] for position, node in analysis.slots}
    return Expressions(found[analysis.update], slots)


def _expression(
    analysis: Analysis, index: int, found: dict[int, sympy.Expr], slots: Sequence[str]
) -> sympy.Expr:
    node = analysis.nodes[index]
    inputs = {WEIGHTS: W, GRADIENT: G, RATE: LR, ZERO: sympy.Integer(0)}
    if node.function in inputs:
        return inputs[node.function]
    if node.function == "slot":
        return slot_symbol(slots[node.arguments[0]])
    if node.function == CONSTANT:
        value = constant_value(node)
        if value != value or value in (float("inf"), float("-inf")):
            raise CannotRead(f"the constant {value} is no real number")
        return EPS if abs(value - EPSILON) < 1e-15 else sympy.Rational(value)
    arguments = [found[a] for a in node.arguments]
    kinds = [analysis.nodes[a].kind for a in node.arguments]
    return computed(BY_NAME[node.function], arguments, kinds)


def computed(function: Function, arguments: list[sympy.Expr], kinds: list[str]) -> sympy.Expr:
    """One function of the table."""
    if function.name == "divide":  # by a number: there is nothing to neglect
        eps = sympy.Rational(EPSILON) if arguments[1].is_number else EPS
        return arguments[0] / (arguments[1] + eps)
    if function.shaped and not sees_nothing(function, kinds[0]):
        return closed(function.name, *arguments)
    if function.reduces and not _is_elementwise(function, kinds):
        return _reduced(function.name, arguments, kinds)
    if function.name == "power" and arguments[0].is_positive:
        return arguments[0] ** arguments[1]
    template = _template(function.name)
    if template is None:
        return closed(function.name, *arguments)
    return template.xreplace(dict(zip(_PLACES, arguments, strict=False)))


def _reduced(name: str, arguments: list[sympy.Expr], kinds: list[str]) -> sympy.Expr:
    """A function that sums over elements; all of them make nothing of zeros."""
    alike = [a for a, kind in zip(arguments, kinds, strict=True) if kind != SCALAR and a.is_number]
    if any(a.is_zero for a in alike):
        return sympy.Integer(0)
    if alike:
        raise CannotRead(f"{name} of equal numbers depends on how many there are")
    return closed(name, *arguments)


_PLACES = tuple(sympy.Dummy(f"x{i}", real=True) for i in range(3))


@cache
def _template(name: str) -> sympy.Expr | None:
    """A definition of the table over symbols; None if it uses what sympy does not have."""
    try:
        function = BY_NAME[name]
        definition = function.compute(_SympyOps(), *_PLACES[: function.arity])
    except KeyError:
        return None
    # Exact numbers, so that a coefficient like 1 - a is not rounded before it is folded.
    definition = sympy.sympify(definition)
    if definition in (sympy.Float(math.pi), sympy.Float(math.e)):
        return sympy.pi if definition > 3 else sympy.E
    return definition.replace(lambda e: e.is_Float, lambda e: sympy.Rational(float(e)))


def _is_elementwise(function: Function, kinds: list[str]) -> bool:
    """Whether the sums that a reduction takes are sums of one number."""
    return kinds[0] == SCALAR or (kinds[0] == PER_ARRAY and function.name == "norm")


class _SympyOps:
    """The namespace of the table's definitions; KeyError for what sympy does not have."""

    @staticmethod
    def array_sum(x: sympy.Expr) -> sympy.Expr:
        return x

    tree_sum = row_mean = column_mean = array_sum

    def by_matrix(
        self, x: sympy.Expr, function: Callable[..., Any], otherwise: Callable[..., Any]
    ) -> sympy.Expr:
        return otherwise(self, x)

    def __getattr__(self, name: str) -> Callable[..., sympy.Expr]:
        return SYMPY[name]


def kind_of(expression: sympy.Expr) -> str:
    """The kind of the value that an expression stands for."""
    if expression.is_Symbol:
        return SCALAR if expression in (LR, EPS) else kind_of_key(expression.name)
    kinds = [kind_of(argument) for argument in expression.args]
    name = expression.func.__name__
    if name in BY_NAME and (BY_NAME[name].reduces or BY_NAME[name].shaped):
        if tuple(kinds) not in BY_NAME[name].signatures:  # what cancelled was of another kind
            raise CannotRead(f"the algebra has no {name} of {', '.join(kinds)}")
        return BY_NAME[name].signatures[tuple(kinds)]
    return joined(kinds) if kinds else SCALAR
