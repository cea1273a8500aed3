"""Sign rules on a recorded stream of gradients: how often do two of them differ?"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import sympy

from evolve.understand.stream import recorded
from primitives.algebra.reading import Expressions, G
from primitives.algebra.writing import write
from primitives.reference import run_step


class SignRule(NamedTuple):
    """sign((1 - beta1) x + beta1 m), with m = (1 - beta2) x + beta2 m after it.

    Attributes:
        fresh: x, a function of the gradient and the schedule.
        beta1, beta2: the two weights of the past.
    """

    fresh: sympy.Expr
    beta1: float
    beta2: float


#: Elements of each step that are compared; the others tell the same.
_STRIDE = 7
#: What the one-beta rules are tried at.
_ODDS = np.concatenate([[0.0], 1 / (1 + np.exp(-np.linspace(-4, 9, 105)))])


@cache
def gradients(fresh: sympy.Expr = G) -> np.ndarray:
    """The function of the gradient on the stream, float64 `[steps, elements]`."""
    stream = recorded()
    program = None if fresh == G else write(Expressions(fresh, {}))
    rows = []
    for weights, gradient, rate in zip(*stream, strict=True):
        if program is not None:
            gradient, _ = run_step(program, weights, gradient, {}, rate)
        rows.append(np.concatenate([leaf.ravel() for leaf in gradient])[::_STRIDE])
    return np.stack(rows).astype(np.float64)


def rule_signs(rule: SignRule) -> np.ndarray:
    """The signs of a rule on the stream, `[steps, elements]`."""
    rows = gradients(rule.fresh)
    memory = np.zeros_like(rows[0])
    signs = np.empty(rows.shape, np.int8)
    for step, row in enumerate(rows):
        signs[step] = np.sign((1 - rule.beta1) * row + rule.beta1 * memory)
        memory = (1 - rule.beta2) * row + rule.beta2 * memory
    return signs


def one_beta_signs(beta: float, fresh: sympy.Expr = G) -> np.ndarray:
    """The signs of a moving average that includes the present gradient."""
    return rule_signs(SignRule(fresh, beta, beta))


@cache
def _one_beta_table() -> np.ndarray:
    return np.stack([one_beta_signs(float(beta)) for beta in _ODDS])


def best_one_beta(rule: SignRule) -> tuple[float, float]:
    """The one beta whose signs differ least from a rule's, and the share that differs."""
    signs = rule_signs(rule)
    shares = (_one_beta_table() != signs).mean(axis=(1, 2))
    best = int(np.argmin(shares))
    low, high = _ODDS[max(best - 1, 0)], _ODDS[min(best + 1, len(_ODDS) - 1)]
    finer = [
        (float((one_beta_signs(float(beta)) != signs).mean()), float(beta))
        for beta in [*np.linspace(low, high, 9), *np.linspace(rule.beta1, rule.beta2, 9)]
    ]
    share, beta = min([(float(shares[best]), float(_ODDS[best])), *finer])
    return beta, share
