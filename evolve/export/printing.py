"""Formulas written as Python source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from evolve.export.expressions import Binary, Call, Expression, Negative, Number, Sum, Variable

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
            case Variable(name=name):
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
