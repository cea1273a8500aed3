"""A simplification as a chain of steps, each with its evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from evolve.understand import evidence
from evolve.understand.algebraic import ALGEBRAIC, LIMIT, Found, found_by_child
from primitives.abstract import analyse, live_program
from primitives.program import Program, ProgramError
from primitives.text import to_text
from primitives.values import to_program, values_of

EXACT, ABLATION, TUNING = "exact", "ablation", "tuning"
#: Seconds that sympy may take for one program.
ALGEBRA_LIMIT = 60.0


@dataclass(frozen=True)
class Step:
    """One step of a simplification.

    Attributes:
        kind: `exact`, `algebraic`, `limit`, `ablation` or `tuning` (of constants alone).
        how: what was done.
        before, after: the programs.
        evidence: what was measured; for an ablation the paired comparison.
        assumptions: under which the programs are equal.
    """

    kind: str
    how: str
    before: Program
    after: Program
    evidence: dict[str, Any]
    assumptions: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "kind": self.kind,
            "how": self.how,
            "before": to_text(self.before),
            "after": to_text(self.after),
            "assumptions": list(self.assumptions),
            "evidence": self.evidence,
        }


def proven_steps(program: Program) -> Iterator[Step]:
    """The exact, algebraic and limit steps from a program on."""
    for step in exact_steps(program):
        yield step
        program = step.after
    for found in found_by_child(program, ALGEBRA_LIMIT):
        step = _checked(program, found)
        if not step.evidence["holds"]:
            return  # what follows was found from a program that does something else
        yield step
        program = found.program


def exact_steps(program: Program) -> Iterator[Step]:
    """Dead statements out, then duplicates out and constants folded: bit for bit, or not at all."""
    lean = live_program(program)
    if len(lean.statements) < len(program.statements):
        count = len(program.statements) - len(lean.statements)
        step = _exact_step(f"{count} dead statements removed", program, lean)
        if not step.evidence["holds"]:
            return
        yield step
        program = lean
    analysis = analyse(program)
    try:
        shared = to_program(*values_of(analysis, program.slots))
    except ProgramError:  # a constant that is not finite has no text
        return
    if len(shared.statements) < len(program.statements) or len(shared.slots) < len(program.slots):
        how = "duplicates shared, constants folded, slots that are not needed dropped"
        step = _exact_step(how, program, shared)
        if step.evidence["holds"]:
            yield step


def _exact_step(how: str, before: Program, after: Program) -> Step:
    return Step(EXACT, how, before, after, evidence.exact(before, after))


def _checked(before: Program, found: Found) -> Step:
    if found.kind == LIMIT:
        shown = evidence.limit(before, found.program, found.divisors)
    else:
        assert found.kind == ALGEBRAIC
        shown = evidence.algebraic(before, found.program)
    return Step(found.kind, found.how, before, found.program, shown, found.assumptions)
