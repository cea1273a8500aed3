"""Decoupled weight decay: a part of the update that frameworks know how to apply themselves.

`(direction + c * w) * lr` and `direction + lr * c * w` are found, with products and
sums in any order, where nothing else reads the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from evolve.export.expressions import Expression, Variable
from evolve.export.lines import Line


@dataclass(frozen=True)
class Decay:
    """Where the decay stands.

    Attributes:
        constant: the name of the constant.
        total: the target of the line that adds it.
        rest: what it is added to.
        product: the targets of the lines that compute it.
    """

    constant: str
    total: Variable
    rest: Variable
    product: frozenset[Expression]

    def removed_from(self, lines: Sequence[Line], update: Variable) -> tuple[list[Line], Variable]:
        """The lines and the update without the decay."""
        kept = []
        for line in lines:
            if line.target == self.total or line.target in self.product:
                continue
            arguments = (self.rest if a == self.total else a for a in line.arguments)
            kept.append(replace(line, arguments=tuple(arguments)))
        return kept, self.rest if update == self.total else update


def find_decay(
    lines: Sequence[Line],
    update: Variable,
    ends: Sequence[Variable],
    constants: Container[str],
    inputs: tuple[Variable, Variable],
) -> Decay | None:
    """The decay of an update, if it has one.

    Arguments:
        lines: with a target of its own each.
        ends: the values of the slots after the step.
        constants: the names of the values that are constants.
        inputs: the weights and the learning rate.
    """
    search = _Search({line.target: line for line in lines}, Counter(ends))
    search.uses.update(a for line in lines for a in line.arguments)
    weights, rate = inputs
    if search.uses[weights] != 1 or search.uses[update]:
        return None
    total, pending = update, {weights, rate}
    outer = search.lines.get(update)
    if outer is not None and outer.function == "multiply" and rate in outer.arguments:
        total = next((a for a in outer.arguments if a != rate), rate)  # type: ignore[assignment]
        pending = {weights}
    if search.uses[total] > 1:
        return None
    return search.decay_in(total, pending, constants)


@dataclass
class _Search:
    lines: dict[Expression, Line]
    uses: Counter[Expression]

    def decay_in(
        self, total: Variable, pending: set[Variable], constants: Container[str]
    ) -> Decay | None:
        line = self.lines.get(total)
        if line is None or line.function != "add":
            return None
        for term, rest in (line.arguments, line.arguments[::-1]):
            factors, product = self._factors(term)
            others = [f for f in factors if f not in pending]
            complete = len(factors) == len(pending) + 1 and pending < set(factors)
            if not complete or not isinstance(rest, Variable) or rest.kind != total.kind:
                continue
            constant = others[0].name if isinstance(others[0], Variable) else ""
            if constant in constants and self.uses[others[0]] == 1:
                return Decay(constant, total, rest, frozenset(product))
        return None

    def _factors(self, value: Expression) -> tuple[list[Expression], list[Expression]]:
        """The factors of a product, and the targets of the lines that multiply them."""
        line = self.lines.get(value)
        if line is None or line.function != "multiply" or self.uses[value] != 1:
            return [value], []
        parts = [self._factors(a) for a in line.arguments]
        return parts[0][0] + parts[1][0], [value, *parts[0][1], *parts[1][1]]
