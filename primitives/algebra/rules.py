"""Ways to write the same step differently; which one is shorter is for others to judge.

Each rule yields `Rewrite`s of what a step computes. All but those of `without_eps` and
`saturated` are identities over the reals for a positive schedule, where both sides are defined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import NamedTuple

import sympy

from primitives.algebra.reading import EPS, LR, Expressions, kind_of, slot_symbol
from primitives.functions import EPSILON, SCALAR
from primitives.program import UPDATE

_LONG = 1000
#: Odd and increasing: they keep the sign of their argument.
_KEEP_SIGN = ("asin", "atan", "sinh", "tanh", "asinh", "atanh", "cbrt")
#: Odd, and finite at 1.
_ODD = ("asin", "atan", "sinh", "tanh", "asinh", "sin", "tan")
#: Odd, increasing, and bounded: what they come to for a large argument.
_BOUND = {"atan": sympy.pi / 2, "tanh": sympy.Integer(1)}
#: A factor in the argument of one of these that leaves of it a sign, as a division by zero does.
_HUGE = 1e6


class Rewrite(NamedTuple):
    """A step written differently: how, on what assumptions, and what it computes.

    For a limit, `divisors` are the expressions divided by, eps left out.
    """

    how: str
    assumptions: tuple[str, ...]
    what: Expressions
    divisors: tuple[sympy.Expr, ...] = ()


REAL = "all values are real numbers within the domains of the functions"
POSITIVE_RATE = "lr > 0"


def identities(what: Expressions) -> Iterator[Rewrite]:
    """Every output in other forms, and other slots."""
    yield Rewrite("read as formulas over the reals", (REAL, POSITIVE_RATE), what)
    yield from _other_forms(what)
    yield from folded_slots(what)
    yield from rescaled_slots(what)


_INVERSE: dict[type, type] = {sympy.cosh: sympy.acosh, sympy.tanh: sympy.atanh}
_FORMS: tuple[tuple[str, Callable[[sympy.Expr], sympy.Expr]], ...] = (
    ("inverse functions undone", lambda e: _undone(e)),
    ("signs taken of the simplest argument", lambda e: plain_signs(e)),
    ("the schedule's factor taken out", lambda e: _out_of_sum(e)),
    ("nested sums and products multiplied out", sympy.expand),
    ("common factors taken out", lambda e: sympy.factor_terms(sympy.expand(e))),
    ("collected by lr", lambda e: sympy.collect(sympy.expand(e), LR)),
    ("factored", lambda e: _with_symbols(sympy.factor, e)),
    ("simplified by sympy", lambda e: _with_symbols(sympy.simplify, e)),
)


def _other_forms(what: Expressions) -> Iterator[Rewrite]:
    for name, expression in what.outputs().items():
        for how, form in _FORMS:
            new = form(expression)
            if new != expression:
                assumptions = (REAL, POSITIVE_RATE)
                yield Rewrite(f"{name}: {how}", assumptions, _with(what, name, new))
    everywhere = {name: plain_signs(sympy.expand(e)) for name, e in what.outputs().items()}
    yield Rewrite("all multiplied out", (REAL, POSITIVE_RATE), _of(everywhere))


def _undone(e: sympy.Expr) -> sympy.Expr:
    """cosh of arccosh, tanh of arctanh: sympy does not see them, as ours are subclasses."""
    return e.replace(
        lambda x: x.func in _INVERSE and isinstance(x.args[0], _INVERSE[x.func]),
        lambda x: x.args[0].args[0],
    )


def _with_symbols(form: Callable[[sympy.Expr], sympy.Expr], e: sympy.Expr) -> sympy.Expr:
    """Apply a form with symbols for long fractions, of which sympy would make huge powers."""
    long = [x for x in e.atoms(sympy.Rational) if x.q > _LONG or abs(x.p) > _LONG]
    symbols = {x: sympy.Dummy(positive=x > 0, negative=x < 0) for x in long}
    return form(e.xreplace(symbols)).xreplace({symbol: x for x, symbol in symbols.items()})


def _with(what: Expressions, name: str, expression: sympy.Expr) -> Expressions:
    return _of({**what.outputs(), name: expression})


def _of(outputs: dict[str, sympy.Expr]) -> Expressions:
    slots = {name: e for name, e in outputs.items() if name != UPDATE}
    return Expressions(outputs[UPDATE], slots)


def _out_of_sum(e: sympy.Expr) -> sympy.Expr:
    """a lr x + b lr y as (a lr) (x + (b / a) y): one product with the schedule, its peak inside."""
    terms = sympy.Add.make_args(sympy.expand(e))
    split = [_scalar_part(term) for term in terms]
    if len(terms) < 2 or any(not scalar.has(LR) for scalar, _ in split):
        return e
    leading = min(
        split, key=lambda part: abs(part[0].subs(LR, 1)) if part[0].subs(LR, 1).is_number else 0
    )
    leading = next((part for part in split if part[1].has(sympy.sign)), leading)
    inner = sympy.Add(*[sympy.cancel(scalar / leading[0]) * rest for scalar, rest in split])
    return sympy.Mul(leading[0], inner, evaluate=False) if inner.is_Add else leading[0] * inner


def _scalar_part(term: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    factors = sympy.Mul.make_args(term)
    scalars = [f for f in factors if kind_of(f) == SCALAR]
    return sympy.Mul(*scalars), sympy.Mul(*[f for f in factors if f not in scalars])


# -- signs ---------------------------------------------------------------------


def plain_signs(e: sympy.Expr) -> sympy.Expr:
    """Every sign taken of something simpler that has the same sign; no odd function of a sign."""
    e = e.replace(lambda x: isinstance(x, sympy.sign), lambda x: _plain_sign(x.args[0]))
    return e.replace(
        lambda x: x.func.__name__ in _ODD and isinstance(x.args[0], sympy.sign),
        lambda x: x.func(1) * x.args[0],
    )


def _plain_sign(x: sympy.Expr) -> sympy.Expr:
    """The sign of something simpler; a negative average is minus the sign of the positive one."""
    x = _same_sign(x)
    if x.is_Add and all(term.as_coeff_Mul()[0].is_negative for term in x.args):
        return -sympy.sign(_same_sign(-x))
    return sympy.sign(x)


def _same_sign(x: sympy.Expr) -> sympy.Expr:
    while x.func.__name__ in _KEEP_SIGN:
        x = x.args[0]
    if x.func.__name__ == "clip" and x.args[1].is_positive:
        return _same_sign(x.args[0])
    if x.is_Pow and x.exp.is_Integer and x.exp % 2 == 1:
        return _same_sign(x.base)
    if x.is_Mul:  # |sign| is 1, so a product has the sign of the product of the signs
        return sympy.Mul(*[_same_sign(factor) for factor in x.args])
    if x.is_Add:
        return _averaged(x)
    return x


def _averaged(x: sympy.Expr) -> sympy.Expr:
    """A sum with positive coefficients as an average, which is one `interp`."""
    x = sympy.expand(x)
    terms = [_scalar_part(term) for term in sympy.Add.make_args(x)]
    common = _common_positive_factor([scalar for scalar, _ in terms])
    total = sum((scalar / common for scalar, _ in terms), sympy.Integer(0))
    if len(terms) == 2 and total.is_number and total.is_positive:
        return sympy.expand(x / (common * total))
    return sympy.expand(x / common)


def _common_positive_factor(scalars: list[sympy.Expr]) -> sympy.Expr:
    """The schedule's power that all coefficients share."""
    ratios = [sympy.cancel(scalar / scalars[0]) for scalar in scalars]
    first = scalars[0].as_coeff_Mul()[1]
    return first if all(r.is_number for r in ratios) and first.is_positive else sympy.Integer(1)


# -- slots ---------------------------------------------------------------------


def folded_slots(what: Expressions) -> Iterator[Rewrite]:
    """A slot that is a multiple of another one on every step, by induction from zero."""
    for name, other in permutations(what.slots, 2):
        if kind_of(slot_symbol(name)) != kind_of(slot_symbol(other)):
            continue
        factor = _multiple(what, name, other)
        if factor is not None:
            replaced = {slot_symbol(name): factor * slot_symbol(other)}
            outputs = {n: e.xreplace(replaced) for n, e in what.outputs().items() if n != name}
            how = (
                f"{name} is {sympy.nsimplify(factor.evalf(7))} {other} on every step, by induction"
            )
            yield Rewrite(how, (REAL, "slots start at zero"), _of(outputs))


def _multiple(what: Expressions, name: str, other: str) -> sympy.Expr | None:
    """k with `name` = k `other`: true of zeros, and if it is true before a step, after it too."""
    zeros = {slot_symbol(slot): sympy.Integer(0) for slot in what.slots}
    first, second = what.slots[name].xreplace(zeros), what.slots[other].xreplace(zeros)
    if second == 0:
        return None
    factor = sympy.cancel(first / second)
    if not factor.is_number or factor == 0:
        return None
    replaced = {slot_symbol(name): factor * slot_symbol(other)}
    after = what.slots[name].xreplace(replaced) - factor * what.slots[other].xreplace(replaced)
    return factor if sympy.simplify(sympy.expand(after)) == 0 else None


def rescaled_slots(what: Expressions) -> Iterator[Rewrite]:
    """A slot a x + b m as the average (1 - b) x + b m, by keeping a multiple of it."""
    for name, expression in what.slots.items():
        symbol = slot_symbol(name)
        terms = sympy.collect(sympy.expand(expression), symbol, evaluate=False)
        decay, fresh = terms.get(symbol), terms.get(sympy.Integer(1))
        if set(terms) != {symbol, sympy.Integer(1)} or not decay.is_number or decay == 1:
            continue
        number, _ = fresh.as_coeff_Mul() if not fresh.is_Add else (sympy.Integer(1), fresh)
        if number == 1 - decay:
            continue
        scale = number / (1 - decay)  # the kept slot is the old one over this
        outputs = {n: e.xreplace({symbol: scale * symbol}) for n, e in what.outputs().items()}
        outputs[name] = sympy.expand(outputs[name] / scale)
        outputs = {n: plain_signs(e) for n, e in outputs.items()}
        yield Rewrite(f"{name} kept as an average", (REAL, "slots start at zero"), _of(outputs))


# -- limits --------------------------------------------------------------------


def without_eps(what: Expressions) -> Iterator[Rewrite]:
    """a / (|a| + eps) as sign(a), where |a| is well above eps."""
    outputs = {name: _signs_for_ratios(e) for name, e in what.outputs().items()}
    if outputs != what.outputs():
        assumptions = (REAL, POSITIVE_RATE, "eps -> 0: the magnitudes divided by are well above it")
        how = "x / (|x| + eps) becomes sign(x); error eps / (|x| + eps), relative"
        magnitudes = {m for e in what.outputs().values() for m in _magnitudes(e)}
        divisors = tuple(sorted(magnitudes, key=sympy.default_sort_key))
        yield Rewrite(how, assumptions, _of(outputs), divisors)


def _magnitudes(e: sympy.Expr) -> Iterator[sympy.Expr]:
    for product in e.find(_is_ratio):
        if _sign_for_ratio(product) != product:
            yield from (m for m in map(_magnitude, product.args) if m is not None)


def _signs_for_ratios(e: sympy.Expr) -> sympy.Expr:
    return e.replace(_is_ratio, _sign_for_ratio)


def _is_ratio(e: sympy.Expr) -> bool:
    return bool(e.is_Mul) and any(_magnitude(factor) is not None for factor in e.args)


def _magnitude(factor: sympy.Expr) -> sympy.Expr | None:
    """X, if the factor is 1 / |X| but for eps: 1 / (|X|**q + eps)**n with q n = 1."""
    base, exponent = factor.as_base_exp()
    if not (exponent.is_Rational and exponent < 0 and base.is_Add and EPS in base.args):
        return None
    rest = base - EPS
    if rest.is_Pow and rest.exp == sympy.Rational(1, 2):
        rest = sympy.sqrt(sympy.factor(rest.base))
    inner, power = rest.as_base_exp()
    return inner.args[0] if isinstance(inner, sympy.Abs) and power * exponent == -1 else None


def _sign_for_ratio(e: sympy.Expr) -> sympy.Expr:
    for factor in e.args:
        magnitude = _magnitude(factor)
        if magnitude is not None:
            numerator = sympy.Mul(*[f for f in e.args if f is not factor])
            rest = sympy.cancel(numerator / magnitude)
            if not rest.has(1 / magnitude) and sympy.denom(rest).is_number:
                return rest * plain_signs(sympy.sign(magnitude))
    return e


def saturated(what: Expressions) -> Iterator[Rewrite]:
    """arctan(x / eps) as pi / 2 sign(x), where |x| is well above eps; tanh alike."""
    found = {x for e in what.outputs().values() for x in e.find(_is_saturated)}
    if found:
        signs = {x: _BOUND[x.func.__name__] * sympy.sign(x.args[0]) for x in found}
        outputs = {name: plain_signs(e.xreplace(signs)) for name, e in what.outputs().items()}
        assumptions = (REAL, POSITIVE_RATE, "eps -> 0: what is divided by it is well above it")
        how = "arctan(x / eps) becomes pi / 2 sign(x), tanh(x / eps) sign(x); error eps / |x|"
        divisors = tuple(sorted((x.args[0] * EPS for x in found), key=sympy.default_sort_key))
        yield Rewrite(how, assumptions, _of(outputs), divisors)


def _is_saturated(e: sympy.Expr) -> bool:
    if e.func.__name__ not in _BOUND:
        return False
    # Only numbers and eps itself count: 1 / (g**2 + eps) is as large as g is small.
    terms = sympy.Add.make_args(e.args[0])
    factors = (
        sympy.Mul(*[f for f in sympy.Mul.make_args(term) if f.free_symbols <= {EPS}])
        for term in terms
    )
    return any(abs(f.subs(EPS, sympy.Rational(EPSILON))) >= _HUGE for f in factors)
