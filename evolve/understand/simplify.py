"""From a program to the smallest that does the same, then to the smallest that does as well.

The proven steps (exact, algebraic, limit) come first. Then the ablations, each followed
by the proven steps that it makes possible, until nothing goes any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from evolve.understand.ablation import Ablation
from evolve.understand.chain import Step, proven_steps
from primitives.program import Program
from primitives.text import to_text


@dataclass
class Chain:
    """A simplification.

    Attributes:
        program: it began with.
        steps: in order; each begins where the one before ended.
        control: the positive control of the ablations; None if nothing was found worse.
        kept: what the last round of ablations tried to remove and kept, with figures.
    """

    program: Program
    steps: list[Step] = field(default_factory=list)
    control: dict[str, Any] | None = None
    kept: list[dict[str, Any]] = field(default_factory=list)

    @property
    def simplified(self) -> Program:
        """What the chain ends with."""
        return self.steps[-1].after if self.steps else self.program

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "program": to_text(self.program),
            "simplified": to_text(self.simplified),
            "steps": [step.to_json() for step in self.steps],
            "control": self.control,
            "kept": self.kept,
        }


Show = Callable[[Step], None]


def prove(program: Program, show: Show = lambda step: None) -> Chain:
    """The proven steps alone; they need no training."""
    chain = Chain(program)
    _prove(chain, show)
    return chain


def simplify(
    program: Program,
    ablation: Ablation,
    evaluations: int = 0,
    show: Show = lambda step: None,
) -> Chain:
    """All steps.

    Arguments:
        program: valid.
        ablation: with trainings on the proxy tasks.
        evaluations: of a further evolution without insertions.
        show: called with every step as soon as it is made.
    """
    chain = prove(program, show)
    _add(chain, ablation.at_its_best(chain.simplified), show)
    _prove(chain, show)
    chain.control = ablation.control(chain.simplified)
    if chain.control is None:
        return chain  # a test that finds nothing worse cannot show that nothing is lost
    _remove(chain, ablation, show)
    if evaluations and _add(chain, ablation.evolved(chain.simplified, evaluations), show):
        _prove(chain, show)
        _remove(chain, ablation, show)
    _add(chain, ablation.rounding(chain.simplified), show)
    return chain


def _remove(chain: Chain, ablation: Ablation, show: Show) -> None:
    while True:
        step, chain.kept = ablation.removal(chain.simplified)
        if not _add(chain, step, show):
            return
        _prove(chain, show)


def _prove(chain: Chain, show: Show) -> None:
    for step in proven_steps(chain.simplified):
        _add(chain, step, show)


def _add(chain: Chain, step: Step | None, show: Show) -> bool:
    if step is None:
        return False
    chain.steps.append(step)
    show(step)
    return True
