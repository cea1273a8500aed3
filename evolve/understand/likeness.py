"""How alike two programs are: what they keep in their slots, and the functions they use."""

from __future__ import annotations

from collections import Counter
from functools import cache

import sympy

from primitives.abstract import analyse
from primitives.algebra.reading import Expressions, expressions, slot_symbol
from primitives.functions import BY_NAME, EXTENDED
from primitives.program import Program
from primitives.zoo import EXTENDED_NAMES, NAMES, zoo

#: What a slot counts, where a function counts 1.
_SLOT = 2
#: Functions that every optimizer uses; they tell nothing.
_PLAIN = ("add", "subtract", "multiply", "interp", "negative", "square")


#: The optimizers that a program can be likened to: not the programs of the paper's search.
FAMILIES = tuple(name for name in NAMES if not name.startswith("paper-"))


def families(program: Program) -> tuple[str, ...]:
    """The optimizers that a program may be: those of the extended language if it is of that."""
    extended = is_extended(program)
    others = (name for name in EXTENDED_NAMES if extended or not is_extended(zoo(name)))
    return (*FAMILIES, *others)


def is_extended(program: Program) -> bool:
    """Whether a program could not be said in the paper's language."""
    functions = {statement.function for statement in program.statements}
    return bool(program.narrow or functions & {function.name for function in EXTENDED})


def distances(program: Program) -> list[tuple[str, float]]:
    """The optimizers of the zoo with their distances, the nearest first.

    1 minus the weighted share of common features (Jaccard): for each slot, what it
    collects and whether it forgets; and every function used.
    """
    mine = _features(program)
    ranked = [(name, _distance(mine, _known(name))) for name in families(program)]
    return sorted(ranked, key=lambda entry: entry[1])


@cache
def _known(name: str) -> Counter[str]:
    return _features(zoo(name))


def _distance(a: Counter[str], b: Counter[str]) -> float:
    weight = {feature: _SLOT if feature.startswith("slot") else 1 for feature in a | b}
    common = sum(weight[f] * n for f, n in (a & b).items())
    return 1 - common / max(sum(weight[f] * n for f, n in (a | b).items()), 1)


def _features(program: Program) -> Counter[str]:
    analysis = analyse(program)
    functions = (analysis.nodes[n].function for n in analysis.live_nodes())
    found = Counter(f for f in functions if f in BY_NAME and f not in _PLAIN)
    what = expressions(program)
    found.update(_slot_feature(what, name) for name in what.slots)
    return found


def _slot_feature(what: Expressions, name: str) -> str:
    """What a slot collects, and whether it forgets: its coefficient in the sum it stands in."""
    slot = slot_symbol(name)
    sums = [e for e in sympy.preorder_traversal(sympy.expand(what.slots[name])) if e.is_Add]
    for e in sums:
        coefficient = e.coeff(slot)
        if coefficient != 0:
            fresh = e - coefficient * slot
            forgets = "forgets" if coefficient != 1 else "keeps all"
            moment = "square" if fresh.has(sympy.Pow) else "first power"
            return f"slot: {moment} of {_collected(fresh)}, {forgets}"
    return f"slot: {what.slots[name].func.__name__}"


def _collected(fresh: sympy.Expr) -> str:
    return ", ".join(sorted({"g" if str(s) == "g" else "past" for s in fresh.free_symbols}))
