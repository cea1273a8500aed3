"""From a program to the smallest that does the same, then to the smallest that does as well.

The proven steps (exact, algebraic, limit) come first. Then the ablations, and the proven steps
that they make possible, until nothing goes any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evolve.judge.tournament import ROUNDS, Structure, Tournament
from evolve.understand.ablation import Ablation, Show, evolved
from evolve.understand.chain import Step, proven_steps
from primitives.program import Program
from primitives.text import to_text


@dataclass
class Chain:
    """A simplification.

    Attributes:
        program: it began with.
        steps: in order; each begins where the one before ended.
        kept: what the last round of ablations tried to remove and kept, with figures.
    """

    program: Program
    steps: list[Step] = field(default_factory=list)
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
            "kept": self.kept,
        }


def prove(program: Program, show: Show = lambda step: None) -> Chain:
    """The proven steps alone; they need no training."""
    chain = Chain(program)
    for step in proven_steps(program):
        _add(chain, step, show)
    return chain


def simplify(
    program: Program,
    tournament: Tournament,
    rounds: Sequence[int] = ROUNDS,
    evaluations: int = 0,
    show: Show = lambda step: None,
) -> Chain:
    """All steps.

    Arguments:
        program: valid.
        tournament: that judges what can be left away.
        rounds: its generations of constants, in each round.
        evaluations: of a further evolution without insertions.
        show: called with every step as soon as it is made.
    """
    chain = prove(program, show)
    ablation = Ablation(tournament, rounds, tournament.tasks[0], show=show)
    structure = Structure(chain.simplified, {t: [chain.simplified] for t in tournament.tasks})
    found = tournament.play([structure], rounds)
    tournament.score(found)
    best = ablation.reduce(found)
    if evaluations:
        how = f"{evaluations} evaluations of evolution without insertions"
        others = evolved(tournament.trials, best.tuned[tournament.tasks[0]], evaluations)
        best = ablation.challenge(others, how, best)
    return finish(chain, ablation, best, show)


def finish(
    chain: Chain, ablation: Ablation, best: Structure, show: Show = lambda step: None
) -> Chain:
    """A chain with the steps to a champion, its constants rounded at last."""
    chain.steps += ablation.chain(best)
    chain.kept = ablation.kept
    _add(chain, ablation.round(best), show)
    return chain


def _add(chain: Chain, step: Step | None, show: Show) -> None:
    if step is not None:
        chain.steps.append(step)
        show(step)
