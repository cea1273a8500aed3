"""Expressions over the reals as programs, in as few statements as can be seen.

Rational coefficients become float32 constants only here, so that what was folded
is rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import sympy

from primitives.algebra.reading import EPS, SYMPY, Expressions, G, W, kind_of
from primitives.functions import BY_NAME, SCALAR
from primitives.program import UPDATE, Program, ProgramError, constant
from primitives.values import Operand, Value, to_program

_NAMES = {function: name for name, function in SYMPY.items() if isinstance(function, type)}
_SMALL = sympy.Rational(1, 10_000)
#: A scalar coefficient, and what it multiplies.
Term: TypeAlias = tuple[sympy.Expr, sympy.Expr]
_INTEGER_POWERS = {2: "square", 3: "cube", -1: "reciprocal"}


class CannotWrite(ProgramError):
    """The language has no function for something in the expression."""


def write(what: Expressions) -> Program:
    """A program that computes the expressions.

    Raises:
        CannotWrite: see there.
        ProgramError: if a coefficient is too large for float32.
    """
    writer = _Writer()
    try:
        # Slots first: the update may find that it is a multiple of one.
        ends = {name: writer.write(expression) for name, expression in what.slots.items()}
        return to_program(writer.values, {UPDATE: writer.write(what.update), **ends})
    except (NotImplementedError, OverflowError) as error:  # from sympy; beyond Python's floats
        raise CannotWrite(str(error)) from None


class _Writer:
    def __init__(self) -> None:
        self.values: list[Value] = []
        self._known: dict[sympy.Expr, Operand] = {}
        self._numbers: dict[Value, int] = {}

    def write(self, e: sympy.Expr) -> Operand:
        if e not in self._known:
            self._known[e] = self._write(e)
        return self._known[e]

    def _value(self, function: str, *arguments: Operand) -> int:
        value = Value(function, arguments)
        if value not in self._numbers:
            self._numbers[value] = len(self.values)
            self.values.append(value)
        return self._numbers[value]

    def _write(self, e: sympy.Expr) -> Operand:
        if e == EPS:
            return self._value("get_eps")
        if e.is_Symbol:
            return e.name
        if e.is_number:
            if not e.is_real:
                raise CannotWrite(e)
            return constant(float(e))
        if e.is_Add:
            return self._sum(e)
        if e.is_Mul:
            return self._product(e)
        if e.is_Pow:
            return self._power(*e.as_base_exp())
        return self._function(e)

    # -- sums --------------------------------------------------------------

    def _sum(self, e: sympy.Expr) -> Operand:
        plus_one = e + 1
        if isinstance(plus_one, sympy.exp):
            return self._value("expm1", self.write(plus_one.args[0]))
        scale, terms = self._averaged(e)
        pair = _average(terms)
        if pair is None:
            return self._times(scale, self._plain_sum(terms))
        first, second = pair
        rest = [t for t in terms if t not in pair]
        mixed = self._interp(first, second)
        whole = mixed if not rest else self._value("add", mixed, self._plain_sum(rest))
        return self._times(scale, whole)

    def _interp(self, first: Term, second: Term) -> int:
        if first[0].is_number and 0 < first[0] < _SMALL:
            # 1 - a would keep few digits of it in float32; a itself keeps them all.
            first, second = second, first
        return self._value(
            "interp", self.write(first[1]), self.write(second[1]), self.write(second[0])
        )

    def _averaged(self, e: sympy.Expr) -> tuple[sympy.Expr, list[Term]]:
        """A sum as a number times terms; of two terms an average, if that is no longer."""
        terms = sorted((_split(term) for term in e.args), key=_term_key)
        numbers = [coefficient for coefficient, _ in terms]
        total = sum(numbers, sympy.Integer(0))
        if (
            len(terms) != 2
            or not total.is_number
            or total in (0, 1)
            or any(what.has(W) or what.is_number for _, what in terms)
        ):
            return sympy.Integer(1), terms
        scaled = [(coefficient / total, what) for coefficient, what in terms]
        plain = any(abs(coefficient) == 1 for coefficient in numbers)
        if plain and not self._is_known(*scaled):
            return sympy.Integer(1), terms
        return total, scaled

    def _is_known(self, first: Term, second: Term) -> bool:
        if not all(term[1] in self._known for term in (first, second)):
            return False
        arguments = (self._known[first[1]], self._known[second[1]], self.write(second[0]))
        return Value("interp", arguments) in self._numbers

    def _plain_sum(self, terms: Sequence[Term]) -> Operand:
        coefficient, what = terms[0]
        if len(terms) == 1:
            return self.write(coefficient * what)
        if coefficient == -1:  # rather b - a than -a + b
            later = next((t for t in terms if t[0] != -1), None)
            if later is not None:
                terms = [later, *[t for t in terms if t is not later]]
        total = self.write(terms[0][0] * terms[0][1])
        for coefficient, what in terms[1:]:
            if coefficient.is_number and coefficient < 0:
                total = self._value("subtract", total, self.write(-coefficient * what))
            else:
                total = self._value("add", total, self.write(coefficient * what))
        return total

    def _times(self, factor: sympy.Expr, value: Operand) -> Operand:
        return value if factor == 1 else self._value("multiply", value, self.write(factor))

    # -- products ----------------------------------------------------------

    def _product(self, e: sympy.Expr) -> Operand:
        if e.args[0] == -1 and len(e.args) == 2:
            return self._value("negative", self.write(e.args[1]))
        numerator, divisors = self._parts(e)
        scalars = [f for f in numerator if kind_of(f) == SCALAR]
        others = [f for f in numerator if kind_of(f) != SCALAR]
        numbers = [f for f in scalars if f.is_number]
        total: Operand | None = None
        for factor in others:
            operand = self.write(factor)
            total = operand if total is None else self._value("multiply", total, operand)
        for divisor in divisors:
            if total is None and numbers:
                total, scalars = (
                    self.write(sympy.Mul(*numbers)),
                    [f for f in scalars if f not in numbers],
                )
                numbers = []
            total = self._value("divide", 1.0 if total is None else total, self.write(divisor))
        if total is not None and scalars in ([], [-1]):
            return self._value("negative", total) if scalars else total
        scale = self._scalars(scalars)
        return scale if total is None else self._value("multiply", total, scale)

    def _parts(self, e: sympy.Expr) -> tuple[list[sympy.Expr], list[sympy.Expr]]:
        """The factors of a product, the scale of its sums among them; and its divisors."""
        numerator, divisors, number = [], [], sympy.Integer(1)
        for factor in e.args:
            divisor = self._divisor(factor)
            if divisor is not None:
                divisors.append(divisor)
            elif factor.is_number:
                number *= factor
            elif factor.is_Add and self._averaged(factor)[0] != 1:
                scale = self._averaged(factor)[0]
                number *= scale
                numerator.append(sympy.expand(factor / scale))
            else:
                numerator.append(factor)
        return ([number] if number != 1 else []) + numerator, divisors

    def _scalars(self, factors: Sequence[sympy.Expr]) -> Operand:
        """A product of numbers and schedules, the number last."""
        total: Operand | None = None
        for factor in sorted(factors, key=lambda f: (f.is_number, sympy.default_sort_key(f))):
            operand = self.write(factor)
            total = operand if total is None else self._value("multiply", total, operand)
        assert total is not None
        return total

    def _divisor(self, factor: sympy.Expr) -> sympy.Expr | None:
        """D, if the factor is 1 / (D + eps)."""
        base, exponent = factor.as_base_exp()
        if exponent != -1 or base.is_number:
            return None
        return base - EPS if base.is_Add and EPS in base.args else None

    # -- powers and functions ----------------------------------------------

    def _power(self, base: sympy.Expr, exponent: sympy.Expr) -> Operand:
        divisor = self._divisor(base**exponent)
        if divisor is not None:
            return self._value("divide", 1.0, self.write(divisor))
        if exponent in _INTEGER_POWERS:
            return self._value(_INTEGER_POWERS[int(exponent)], self.write(base))
        if exponent.is_Rational and exponent.q == 2 and base.is_nonnegative:
            root = self._value("sqrt", self.write(_without_abs(base)))
            return root if exponent.p == 1 else self._raised(root, exponent.p)
        if base == 2:
            return self._value("exp2", self.write(exponent))
        if exponent == 4:
            return self._value("square", self._value("square", self.write(base)))
        if base.is_nonnegative is False and not exponent.is_Integer:
            raise CannotWrite(base**exponent)
        return self._value("power", self.write(base), self.write(exponent))

    def _raised(self, value: Operand, exponent: int) -> Operand:
        if exponent in _INTEGER_POWERS:
            return self._value(_INTEGER_POWERS[exponent], value)
        return self._value("power", value, float(exponent))

    def _function(self, e: sympy.Expr) -> Operand:
        if isinstance(e, sympy.log):
            inside = _without_abs(e.args[0])
            if inside.is_Add and 1 in inside.args:
                return self._value("log1p", self.write(inside - 1))
            return self._value("log", self.write(inside))
        name = _NAMES.get(e.func, e.func.__name__)
        if name not in BY_NAME:
            raise CannotWrite(e)
        return self._value(name, *[self.write(argument) for argument in e.args])


def _split(term: sympy.Expr) -> Term:
    """A term as a scalar coefficient and the rest."""
    scalars = [f for f in sympy.Mul.make_args(term) if kind_of(f) == SCALAR]
    others = [f for f in sympy.Mul.make_args(term) if kind_of(f) != SCALAR]
    if not others:  # a sum of scalars: only numbers are coefficients
        number, rest = term.as_coeff_Mul()
        return number, rest
    return sympy.Mul(*scalars), sympy.Mul(*others)


def _term_key(term: Term) -> tuple[bool, bool, object]:
    """Gradients first, slots later, numbers last, so that an `interp` has the slot's weight."""
    what = term[1]
    return what.is_number, not what.has(G), sympy.default_sort_key(what)


def _average(terms: Sequence[Term]) -> tuple[Term, Term] | None:
    """Two terms whose coefficients add up to 1."""
    for i, first in enumerate(terms):
        for second in terms[i + 1 :]:
            if sympy.expand(first[0] + second[0] - 1) == 0:
                return first, second
    return None


def _without_abs(e: sympy.Expr) -> sympy.Expr:
    return e.args[0] if isinstance(e, sympy.Abs) else e
