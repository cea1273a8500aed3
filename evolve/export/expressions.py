"""Formulas as values: what the table of functions computes, written down.

`Function.compute(ops, *arguments)` runs here on `Expression`s instead of numbers,
and a `Printer` (see `printing`) turns the formula that results into source text. So no exporter
lists the functions again; it only names those of its framework that differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from primitives.functions import BY_NAME, EXTENDED, PER_ARRAY, SCALAR, TREE, joined, sees_nothing

#: Functions that see rows and columns, with what exports call them.
SHAPED = {function.name: f"_{function.name}" for function in EXTENDED if function.shaped}


class Expression:
    """A formula; Python arithmetic on it gives longer ones."""

    kind: str = SCALAR

    def __add__(self, other: Any) -> Expression:
        return Binary("+", self, formula(other))

    def __radd__(self, other: Any) -> Expression:
        return Binary("+", formula(other), self)

    def __sub__(self, other: Any) -> Expression:
        return Binary("-", self, formula(other))

    def __rsub__(self, other: Any) -> Expression:
        return Binary("-", formula(other), self)

    def __mul__(self, other: Any) -> Expression:
        return Binary("*", self, formula(other))

    def __rmul__(self, other: Any) -> Expression:
        return Binary("*", formula(other), self)

    def __truediv__(self, other: Any) -> Expression:
        return Binary("/", self, formula(other))

    def __rtruediv__(self, other: Any) -> Expression:
        return Binary("/", formula(other), self)

    def __neg__(self) -> Expression:
        return Negative(self)


@dataclass(frozen=True)
class Variable(Expression):
    """A variable or a hyperparameter."""

    name: str
    kind: str = SCALAR


@dataclass(frozen=True)
class Number(Expression):
    """A number that stands in the formula itself."""

    value: float


@dataclass(frozen=True)
class Binary(Expression):
    """`left operator right`."""

    operator: str
    left: Expression
    right: Expression

    @property
    def kind(self) -> str:  # type: ignore[override]
        return _widest(self.left, self.right)


@dataclass(frozen=True)
class Negative(Expression):
    """`-of`."""

    of: Expression

    @property
    def kind(self) -> str:  # type: ignore[override]
        return self.of.kind


@dataclass(frozen=True)
class Call(Expression):
    """A function, by its NumPy name."""

    function: str
    arguments: tuple[Expression, ...]

    @property
    def kind(self) -> str:  # type: ignore[override]
        if self.function in SHAPED:
            return BY_NAME[self.function].signatures[(self.arguments[0].kind,)]
        return _widest(*self.arguments)


@dataclass(frozen=True)
class Sum(Expression):
    """The sum of the elements of each array, or with `whole` of all arrays together."""

    of: Expression
    whole: bool

    @property
    def kind(self) -> str:  # type: ignore[override]
        return SCALAR if self.whole else PER_ARRAY


def formula(value: Any) -> Expression:
    """An expression as it is; a number as a `Number`."""
    return value if isinstance(value, Expression) else Number(float(value))


def _widest(*parts: Expression) -> str:
    return joined(part.kind for part in parts)


class _Symbolic:
    """The namespace `ops` of the table, on expressions."""

    @staticmethod
    def array_sum(x: Expression) -> Expression:
        return Sum(x, whole=False) if x.kind == TREE else x

    @staticmethod
    def tree_sum(x: Expression) -> Expression:
        return x if x.kind == SCALAR else Sum(x, whole=True)

    @staticmethod
    def row_mean(x: Expression) -> Expression:
        return x

    column_mean = row_mean

    def by_matrix(
        self, x: Expression, function: Callable[..., Any], otherwise: Callable[..., Any]
    ) -> Expression:
        return formula(otherwise(self, x))

    def __getattr__(self, name: str) -> Callable[..., Expression]:
        return lambda *arguments: Call(name, tuple(formula(a) for a in arguments))


def computed(function: str, *arguments: Expression) -> Expression:
    """The formula of one function of the table."""
    if function in SHAPED and not sees_nothing(BY_NAME[function], arguments[0].kind):
        return Call(function, arguments)
    return formula(BY_NAME[function].compute(_Symbolic(), *arguments))


def parts(expression: Expression) -> tuple[Expression, ...]:
    """What a formula is made of."""
    match expression:
        case Binary(left=left, right=right):
            return (left, right)
        case Negative(of=of) | Sum(of=of):
            return (of,)
        case Call(arguments=arguments):
            return arguments
    return ()


def is_shaped(expression: Expression) -> bool:
    """Whether a formula sees rows and columns."""
    own = isinstance(expression, Call) and expression.function in SHAPED
    return own or any(is_shaped(part) for part in parts(expression))


def values(expression: Expression) -> list[Variable]:
    """The distinct values a formula reads, in the order in which they appear."""
    if isinstance(expression, Variable):
        return [expression]
    return list(dict.fromkeys(value for part in parts(expression) for value in values(part)))


def replaced(expression: Expression, old: Expression, new: Expression) -> Expression:
    """A formula with every occurrence of a part replaced."""
    if expression == old:
        return new
    match expression:
        case Binary(operator=operator, left=left, right=right):
            return Binary(operator, replaced(left, old, new), replaced(right, old, new))
        case Negative(of=of):
            return Negative(replaced(of, old, new))
        case Sum(of=of, whole=whole):
            return Sum(replaced(of, old, new), whole)
        case Call(function=function, arguments=arguments):
            return Call(function, tuple(replaced(a, old, new) for a in arguments))
    return expression
