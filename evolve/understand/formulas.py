"""Formulas with the numbers left out, by which known optimizers are told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import permutations

import sympy

from primitives.algebra.reading import EPS, LR, Expressions, W, slot_symbol


def without_decay(what: Expressions) -> Expressions:
    """Without terms of the weights alone; itself if there are none."""
    if not what.update.has(W):
        return what
    terms = sympy.Add.make_args(sympy.expand(what.update))
    kept = [t for t in terms if t.free_symbols - {W, LR, EPS}]
    return what if len(kept) == len(terms) else what._replace(update=sympy.Add(*kept))


def skeletons(what: Expressions) -> set[str]:
    """The formulas without their numbers, for every way of naming the slots."""
    slots = list(what.slots)
    if len(slots) > 4:
        return set()
    return {_skeleton(what, dict(zip(slots, order, strict=True))) for order in _orders(len(slots))}


def _orders(count: int) -> Iterator[tuple[str, ...]]:
    return permutations([f"s{i}" for i in range(count)])


def _skeleton(what: Expressions, names: dict[str, str]) -> str:
    new = {slot_symbol(old): slot_symbol(name) for old, name in names.items()}
    after = {names[n]: e.xreplace(new) for n, e in what.slots.items()}
    kept = {name: sympy.expand(e).coeff(slot_symbol(name)) for name, e in after.items()}
    parts = [f"{name}={_shape(e, {}, kept)}" for name, e in sorted(after.items())]
    plain = without_decay(what)
    terms = [what.update]
    if plain is not what:  # factors are not to mix the two
        terms = [plain.update, sympy.expand(what.update - plain.update)]
    shapes = [_shape(sympy.factor_terms(t.xreplace(new)), after, kept) for t in terms]
    return ";".join([*parts, f"update={'+'.join(shapes)}"])


def _shape(e: sympy.Expr, after: dict[str, sympy.Expr], kept: dict[str, sympy.Expr]) -> str:
    """An expression with its coefficients left out, but for their signs.

    Those of the past stay: as `c` where a slot forgets, and as `C` where it grows. A multiple of
    what a slot ends with is called so, and so is the power of what a slot keeps, with which
    averages are corrected.
    """
    for name, end in after.items():
        # A multiple has the same symbols; to cancel what is none takes sympy a minute.
        if e.has(slot_symbol(name)) and not e.is_Symbol and e.free_symbols == end.free_symbols:
            ratio = sympy.cancel(e / end)
            if ratio.is_number:
                return f"{'-' if ratio.is_negative else ''}{name}'"
    if e.is_number:
        return str(e) if e in (1, -1) else "-c" if e.is_negative else "c"
    if e.is_Symbol:
        return str(e)
    if e.is_Pow:
        exponent = e.exp if e.exp.is_number else _shape(e.exp, after, kept)
        base = next((f"of {name}" for name, share in kept.items() if _equal(e.base, share)), None)
        return f"({base or _shape(e.base, after, kept)})**{exponent}"
    parts = sorted(_shape(argument, after, kept) for argument in e.args)
    if not e.is_Mul:
        return f"{'' if e.is_Add else e.func.__name__}({','.join(parts)})"
    if len(parts) == 2 and any(re.fullmatch(r"-?s\d'?", part) for part in parts):
        number = e.as_coeff_Mul()[0]
        grows = not after and number.is_number and not -1 < number < 1
        return "*".join(part.replace("c", "C") if grows else part for part in parts)
    minus = sum(part.startswith("-") for part in parts) % 2
    left = [part.removeprefix("-") for part in parts]
    named = "*".join(part for part in left if part not in ("c", "1")) or "c"
    return f"-{named}" if minus else named


def _equal(e: sympy.Expr, share: sympy.Expr) -> bool:
    """Whether two numbers are the same, as float32 tells them apart."""
    return bool(e.is_number and share.is_number and abs(e - share) <= 1e-6 * abs(share))
