"""Formulas as values: what the table of functions computes, written down.

`Function.compute(ops, *arguments)` runs here on `Expression`s instead of numbers,
and a `Printer` turns the formula that results into source text. So no exporter
lists the functions again; it only names those of its framework that differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from primitives.functions import BY_NAME, KINDS, PER_ARRAY, SCALAR, TREE


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
class Value(Expression):
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
    return max((part.kind for part in parts), key=KINDS.index)


class _Symbolic:
    """The namespace `ops` of the table, on expressions."""

    @staticmethod
    def array_sum(x: Expression) -> Expression:
        return Sum(x, whole=False) if x.kind == TREE else x

    @staticmethod
    def tree_sum(x: Expression) -> Expression:
        return x if x.kind == SCALAR else Sum(x, whole=True)

    def __getattr__(self, name: str) -> Callable[..., Expression]:
        return lambda *arguments: Call(name, tuple(formula(a) for a in arguments))


def computed(function: str, *arguments: Expression) -> Expression:
    """The formula of one function of the table."""
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


def values(expression: Expression) -> list[Value]:
    """The distinct values a formula reads, in the order in which they appear."""
    if isinstance(expression, Value):
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


#: How tightly operators bind.
_SUM, _PRODUCT, _SIGN, _ATOM = range(4)


@dataclass(frozen=True)
class Printer:
    """Writes formulas as Python source.

    Attributes:
        prefix: stands before the name of a function (`jnp.`).
        names: other names of functions, where the framework's differ.
        sum_whole, sum_array: how the two sums are written, given what is summed.
        rename: other names of values, for a comprehension.
    """

    prefix: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    sum_whole: Callable[[Printer, Expression], str] | None = None
    sum_array: Callable[[Printer, Expression], str] | None = None
    rename: Mapping[str, str] = field(default_factory=dict)

    def text(self, expression: Expression) -> str:
        """The source of a formula."""
        return self._bound(expression)[0]

    def _bound(self, expression: Expression) -> tuple[str, int]:
        match expression:
            case Value(name=name):
                return self.rename.get(name, name), _ATOM
            case Number(value=value):
                return number_text(value), _ATOM if value >= 0 else _SIGN
            case Negative(of=of):
                return f"-{self._within(of, _SIGN)}", _SIGN
            case Binary(operator=operator, left=left, right=right):
                level = _SUM if operator in "+-" else _PRODUCT
                # a - (b + c) and a * (b * c) keep their parentheses, for the rounding's sake.
                texts = self._within(left, level), self._within(right, level + 1)
                return f"{texts[0]} {operator} {texts[1]}", level
            case Sum(of=of, whole=whole):
                write = self.sum_whole if whole else self.sum_array
                return (write(self, of) if write else f"sum({self.text(of)})"), _ATOM
            case Call():
                return self._call(expression), _ATOM
        raise TypeError(f"no formula: {expression!r}")

    def _call(self, call: Call) -> str:
        name = self.names.get(call.function, self.prefix + call.function)
        return f"{name}({', '.join(self.text(a) for a in call.arguments)})"

    def _within(self, expression: Expression, level: int) -> str:
        text, own = self._bound(expression)
        return text if own >= level else f"({text})"


def number_text(value: float) -> str:
    """A number as Python source; infinities and NaN have no literal."""
    text = repr(value)
    return f'float("{text}")' if text.lstrip("-") in ("inf", "nan") else text
