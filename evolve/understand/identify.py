"""What a program is: its family among the known optimizers.

A program is brought into canonical form (formulas over the reals, ratios as signs,
signs of averages, slots that are multiples of each other folded) and matched. The
sign methods are matched by their coefficients, so that renaming and scale do not
matter; `lion` and `signum` differ by a measurement: `lion` needs two betas in (0, 1)
whose signs differ from those of the best one-beta rule on at least a share DIFFERING
of a recorded stream of gradients. Other families are matched by their formulas with
the numbers left out.

Nothing in the search imports this module.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from functools import cache

import numpy as np
import sympy
from sympy.core.function import AppliedUndef

from evolve.errors import EvolveError
from evolve.understand.child import ask, read, was_ended
from evolve.understand.formulas import skeletons, without_decay
from evolve.understand.likeness import distances, families
from evolve.understand.signs import SignRule, best_one_beta, rule_signs
from primitives.abstract import analyse
from primitives.algebra.reading import (
    EPS,
    LR,
    SYMPY,
    CannotRead,
    Expressions,
    G,
    W,
    expressions,
    slot_symbol,
)
from primitives.algebra.rules import folded_slots, plain_signs, saturated, without_eps
from primitives.program import UPDATE, Program, Statement, constant
from primitives.reference import apply
from primitives.zoo import zoo

#: Matched by their coefficients: a formula does not tell 1.1 from 0.9.
SIGN_METHODS = ("lion", "signum", "tiger", "signsgd")
#: The least share of signs by which two betas must differ from the best one.
DIFFERING = 0.001
#: With statements beyond the family, the least share of signs that must agree with it.
AGREEING = 0.9
#: Seconds that the algebra may take.
LIMIT = 60.0


@dataclass(frozen=True)
class Identity:
    """What a program is.

    Attributes:
        family: a name of the zoo, or None.
        exact: whether it is that optimizer, for some parameters, without anything more.
        parameters: of the family, named as in Optax: b1, b2, learning_rate, weight_decay.
        extra: what it has beyond the family; with functions of the gradient,
            `agreement` is measured.
        agreement: the share of equal signs of updates, with and without the extras.
        nearest: the name of the most similar optimizer of the zoo.
        distance: from it; 0 is the same, 1 nothing in common.
        reason: in words.
    """

    family: str | None
    exact: bool
    parameters: dict[str, float] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    agreement: float | None = None
    nearest: str | None = None
    distance: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        # As many digits as a constant of float32 has.
        rounded = {name: float(f"{value:.7g}") for name, value in self.parameters.items()}
        object.__setattr__(self, "parameters", rounded)


def identify(program: Program) -> Identity:
    """Identify a program, in a child process with a time limit, since algebra can take for ever."""
    done = ask("evolve.understand.identify", program, LIMIT)
    if was_ended(done):
        return Identity(None, False, reason=f"the algebra took more than {LIMIT:g} s")
    if done.returncode:
        raise EvolveError(f"the algebra failed ({done.stderr.strip()[-200:]})")
    return Identity(**json.loads(done.stdout))


def identified(program: Program) -> Identity:
    """The same in this process, without a limit."""
    try:
        what = canonical(expressions(program))
    except (CannotRead, NotImplementedError) as error:  # the latter from sympy
        return Identity(None, False, reason=str(error))
    found = _sign_method(what) or _by_formula(program, what)
    (nearest, distance), *_ = distances(program)
    if found is None:
        reason = "no formula of the zoo"
        return Identity(None, False, nearest=nearest, distance=distance, reason=reason)
    if found.family is not None:
        nearest, distance = found.family, (0.0 if found.exact else min(distance, 0.5))
    return Identity(**{**asdict(found), "nearest": nearest, "distance": distance})


def canonical(what: Expressions) -> Expressions:
    """Ratios as signs, signs of averages, slots folded."""
    what = _plain(what)
    for limit in (without_eps, saturated):
        for rewrite in limit(what):
            what = _plain(rewrite.what)
    while (folded := next(folded_slots(what), None)) is not None:
        what = _plain(folded.what)
    return what


def _plain(what: Expressions) -> Expressions:
    outputs = {name: plain_signs(e) for name, e in what.outputs().items()}
    update = outputs.pop(UPDATE)
    used = update.free_symbols.union(*(e.free_symbols for e in outputs.values()))
    return Expressions(update, {n: e for n, e in outputs.items() if slot_symbol(n) in used})


# -- sign methods ----------------------------------------------------------------


def _sign_method(what: Expressions) -> Identity | None:
    """sign(a x + b m) s(lr) + d(lr) w + k(lr), with m = c x + d m and x made of the gradient."""
    parts = _signed(what.update)
    if parts is None:
        return None
    scale, inside, decay, drift = parts
    if not _is_positive(scale):
        return Identity(None, False, reason="the sign is taken with a factor that is not positive")
    if not what.slots:
        rule = _memoryless(inside)
    elif len(what.slots) == 1:
        rule = _rule(inside, *next(iter(what.slots.items())))
    else:
        return None
    if rule is None:
        return None
    return _named(rule, scale, decay, drift)


def _signed(update: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr, sympy.Expr, sympy.Expr] | None:
    """The factor of the sign, what it is taken of, the factor of the weights, and the rest."""
    signs = [s for s in update.atoms(sympy.sign) if s.has(G) or s.free_symbols - {W, LR, EPS}]
    if len(signs) != 1:
        return None
    marker = sympy.Dummy("sign", real=True)
    linear = sympy.expand(update.xreplace({signs[0]: marker}))
    terms = sympy.collect(linear, [marker, W], evaluate=False)
    if marker not in terms:
        return None
    scale, decay = terms.pop(marker), terms.pop(W, sympy.Integer(0))
    drift = sympy.Add(*[term * factor for term, factor in terms.items()])
    if (scale.free_symbols | decay.free_symbols | drift.free_symbols) - {LR, EPS}:
        return None
    return scale, signs[0].args[0], decay, drift


def _is_positive(scale: sympy.Expr) -> bool:
    """For every value of the schedule that is tried."""
    values = [_at(scale, t / 64) for t in range(1, 65)]
    return all(value is not None and value > 0 for value in values)


def _at(e: sympy.Expr, rate: float) -> float | None:
    """The value of a factor at a value of the schedule; None if it has none."""
    value = e.subs({LR: sympy.Float(rate), EPS: sympy.Float(1e-8)})
    value = value.replace(_is_closed_number, _evaluated).evalf()
    return float(value) if value.is_Float or value.is_Rational else None


def _is_closed_number(e: sympy.Expr) -> bool:
    """A function that sympy does not know, of numbers."""
    return isinstance(e, AppliedUndef) and all(a.is_Float or a.is_Rational for a in e.args)


def _evaluated(e: sympy.Expr) -> sympy.Expr:
    result = apply(e.func.__name__, *[np.float32(float(a)) for a in e.args])
    return sympy.Float(float(result)) if np.isfinite(result) else e


def _memoryless(inside: sympy.Expr) -> SignRule | None:
    number, rest = inside.as_coeff_Mul()
    if rest.free_symbols - {G, LR, EPS} or not rest.has(G) or number.is_negative:
        return None
    return SignRule(fresh=rest, beta1=0.0, beta2=0.0)


def _rule(inside: sympy.Expr, name: str, after: sympy.Expr) -> SignRule | None:
    slot = slot_symbol(name)
    now, then = _linear(inside, slot), _linear(after, slot)
    if now is None or then is None:
        return None
    (fresh, a, b), (again, c, d) = now, then
    ratio = sympy.cancel(again / fresh) if again != 0 and fresh != 0 else sympy.Integer(0)
    if not ratio.is_number or ratio == 0:
        return None  # the slot collects something else than what is mixed in
    numbers = [x for x in (_at(y, 1.0) for y in (a, b, c * ratio, d)) if x is not None]
    if len(numbers) < 4:
        return None
    gradient, memory, collected, beta2 = numbers
    if not 0 < beta2 < 1 or gradient <= 0:
        return None
    # The weight of the average, relative to that of the fresh gradient.
    momentum = memory * collected / ((1 - beta2) * gradient)
    return SignRule(fresh, momentum / (1 + momentum), beta2) if momentum >= 0 else None


def _linear(e: sympy.Expr, slot: sympy.Symbol) -> tuple[sympy.Expr, sympy.Expr, sympy.Expr] | None:
    """x, a, b with e = a x + b slot: numbers a and b, and x free of slots and weights."""
    terms = sympy.collect(sympy.expand(e), slot, evaluate=False)
    if set(terms) - {slot, sympy.Integer(1)}:
        return None
    fresh, b = terms.get(sympy.Integer(1), sympy.Integer(0)), terms.get(slot, sympy.Integer(0))
    a, x = fresh.as_coeff_Mul()
    if not b.is_number or x.free_symbols - {G, LR, EPS} or (fresh != 0 and not x.has(G)):
        return None
    return x, a, b


def _named(
    rule: SignRule, scale: sympy.Expr, decay: sympy.Expr, drift: sympy.Expr
) -> Identity | None:
    extra = [f"{name} of the gradient" for name in _functions(rule.fresh)]
    agreement = None
    if extra or rule.fresh != G:
        agreement = float((rule_signs(rule) == rule_signs(rule._replace(fresh=G))).mean())
        extra = extra or [f"{rule.fresh} in the place of the gradient"]
        if agreement < AGREEING:
            reason = f"signs agree with the plain rule on {agreement:.1%} only"
            return Identity(None, False, reason=reason, extra=extra, agreement=agreement)
    family, parameters = _family(rule)
    rate, pull, constant = (_at(factor, 1.0) for factor in (scale, decay, drift))
    if rate is None or pull is None or constant is None or abs(constant) >= rate:
        return None  # a drift as large as the step decides its direction alone
    if constant:
        extra = [*extra, f"a constant drift ({constant / rate:+.3g} of the step)"]
    if pull and not _follows(decay, scale, pull / rate):
        extra = [*extra, "a weight decay that does not follow the learning rate"]
    if pull < 0:
        extra = [*extra, "weights that grow"]
    parameters["learning_rate"] = rate
    if pull:
        parameters["weight_decay"] = pull / rate
    return Identity(family, not extra, parameters, extra, agreement)


def _follows(decay: sympy.Expr, scale: sympy.Expr, share: float) -> bool:
    """Whether the decay is the same share of the step for every value of the schedule."""
    values = [(_at(decay, t / 8), _at(scale, t / 8)) for t in range(1, 9)]
    return all(d is not None and s and math.isclose(d / s, share, rel_tol=1e-3) for d, s in values)


def _functions(fresh: sympy.Expr) -> list[str]:
    names = {function: name for name, function in SYMPY.items() if isinstance(function, type)}
    return sorted({names.get(f.func, f.func.__name__) for f in fresh.atoms(sympy.Function)})


def _family(rule: SignRule) -> tuple[str, dict[str, float]]:
    plain = rule._replace(fresh=G)
    if not (0 < rule.beta1 < 1):
        return "signsgd", {}
    if math.isclose(rule.beta1, rule.beta2, rel_tol=1e-6):
        return "signum", {"b1": rule.beta2}
    beta, share = best_one_beta(plain)
    if share >= DIFFERING:
        return "lion", {"b1": rule.beta1, "b2": rule.beta2}
    return ("signum", {"b1": beta}) if beta > 0 else ("signsgd", {})


# -- other families ----------------------------------------------------------------


def _by_formula(program: Program, what: Expressions) -> Identity | None:
    """The optimizer of the zoo with the same formulas, the numbers left out."""
    plain = without_decay(what)
    decays = plain is not what
    for of, extra in ((what, []), (plain, ["decoupled weight decay"] if decays else [])):
        mine = skeletons(of)
        for name in (name for name in families(program) if name not in SIGN_METHODS):
            if mine & _known(name):
                return Identity(name, not extra, _parameters(program), extra)
    return None


@cache
def _known(name: str) -> set[str]:
    return skeletons(canonical(expressions(zoo(name))))


def _parameters(program: Program) -> dict[str, float]:
    from evolve.export.lowering import DECAY, lower

    lowered = lower(_with_betas(program))
    named = {h.name: h.default for h in lowered.hyperparameters}
    decay = {DECAY: named.pop(DECAY)} if DECAY in named else {}
    return named | {"learning_rate": lowered.peak.default} | decay


def _with_betas(program: Program) -> Program:
    """Averages written as `interp(new, slot, beta)`, whichever way round they stand."""
    old, statements = set(program.slots), []
    for s in program.statements:
        if s.function == "interp" and s.arguments[0] in old and s.arguments[1] not in old:
            first, second, share = s.arguments
            if isinstance(share, float):
                s = Statement(s.target, s.function, (second, first, constant(1 - share)))
        old.discard(s.target)
        statements.append(s)
    return program.with_statements(statements)


def main() -> None:
    """Identify the program on standard input."""
    program = read()
    analyse(program)
    print(json.dumps(asdict(identified(program))))


if __name__ == "__main__":
    main()
