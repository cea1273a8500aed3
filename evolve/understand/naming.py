"""The name of what a simplification ends with: by its formula, and by what its ablations show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evolve.understand.identify import Identity, identify
from primitives.abstract import analyse, live_program
from primitives.program import RATE, Program
from primitives.text import from_text
from primitives.zoo import zoo


def is_sought(program: Program) -> bool:
    """Whether a program is Lion but for its constants: a run from it discovers nothing."""
    statements = live_program(program).statements
    named = {name for s in statements for name in (s.target, *s.arguments)}
    slots = tuple(slot for slot in program.slots if slot in named)
    narrow = tuple((slot, kind) for slot, kind in program.narrow if slot in named)
    lean = Program(statements, slots, narrow)
    return analyse(lean).structure == analyse(zoo("lion")).structure


def name(simplified: Program, kept: Sequence[dict[str, Any]] = ()) -> Identity:
    """What a simplified program is; `kept` is what ablations could not take from it.

    One whose statement that matters least leaves, taken away, an optimizer of the zoo, is that
    optimizer with the statement as an extra, not exact: how much the statement is worth has
    been measured, and everything else is worth more. Such a statement may stand beside a formula
    of that name (a schedule of its own: `identify` takes any factor for a step size) or make
    it one without a name (a term). What makes a parameter of the optimizer, as weight decay
    does, is no extra.

    Raises:
        EvolveError: if the algebra failed.
    """
    found = identify(simplified)
    measured = [each for each in kept if each["loss_of_quality"] and _follows_lr(each)]
    if not measured:
        return found
    least = min(measured, key=lambda each: each["loss_of_quality"]["mean"])
    bare = identify(from_text(least["program"]))
    if bare.family is None or found.family not in (None, bare.family):
        return found
    if found.family is not None and found.parameters.keys() != bare.parameters.keys():
        return found
    loss = least["loss_of_quality"]
    shown = f"loss of quality {loss['mean']:.4f} ± {loss['error']:.4f}"
    extra = [*bare.extra, f"a statement that matters ({least['statement']}: {shown})"]
    return replace(bare, exact=False, extra=extra, nearest=bare.family, distance=found.distance)


def _follows_lr(kept: dict[str, Any]) -> bool:
    """Whether what was left follows the schedule: every optimizer does, so that is no extra."""
    statements = live_program(from_text(kept["program"])).statements
    return any(RATE in statement.arguments for statement in statements)
