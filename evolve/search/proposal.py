"""What a worker does for a search beside training: it proposes children of a parent.

Trainings are what a search has too few of, and drawing a child costs a thousandth of one. So
children are drawn until one looks promising: its steps on recorded gradients differ from the
parent's, but not quite. Whether it is new beside all other programs, the search decides.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from evolve.search.config import RANDOM, Config
from evolve.search.mutation import Mutant, mutate, mutate_constants, random_program
from evolve.search.probe import Stretch, difference, resemblance
from primitives.abstract import analyse
from primitives.functions import FUNCTIONS
from primitives.program import Program
from primitives.text import from_text, to_text
from proxy_tasks.evaluation import Evaluator
from proxy_tasks.status import Answer

#: How many children are drawn at most.
DRAWS = 64
#: Children whose updates make a larger angle with their parent's hardly ever learn (of 1,700
#: below 0.4 on `text_transformer` 55 finished), and those that make a smaller one are the
#: parent again, as far as the noise lets tell.
UNLIKE, ALIKE = 0.4, 1 - 1e-3
#: Constants that change the updates by a smaller share of their size change nothing.
NO_DIFFERENCE = 5e-3


class Proposer:
    """Proposes children.

    Arguments:
        config: of the run.
        stretches: of its tasks; none: children are taken as they come.
    """

    def __init__(self, config: Config, stretches: Sequence[Stretch]) -> None:
        self._config = config
        self._stretches = stretches if config.probe else ()
        self._functions = [f for f in FUNCTIONS if f.name not in config.without]
        self._program = lru_cache(256)(from_text)

    def propose(self, parent: str, constants: bool, seed: int) -> list[dict[str, Any]]:
        """Children of a parent, as plain data, the promising ones after the first.

        The first is proposed whatever it is: if it is known, its result costs nothing, and
        programs drift.

        Arguments:
            parent: its text.
            constants: whether children are to differ in constants alone, if it has any.
            seed: of all choices.
        """
        rng, program = random.Random(seed), self._program(parent)
        if constants and program.constants:
            found = self._other_constants(program, rng)
            if found:
                return found
        return self._other_structures(program, rng)

    def _other_constants(self, parent: Program, rng: random.Random) -> list[dict[str, Any]]:
        """A child with other constants that change its steps; none if they hardly can."""
        for passed in range(DRAWS // 4):
            mutant = mutate_constants(parent, rng)
            if mutant.analysis.functional_hash == analyse(parent).functional_hash:
                continue  # its constants are dead
            changed = difference(mutant.program, parent, self._stretches)
            if not self._stretches or changed > NO_DIFFERENCE:
                return [_told(mutant, passed, True)]
        return []

    def _other_structures(self, parent: Program, rng: random.Random) -> list[dict[str, Any]]:
        """The first child that is drawn, and the first promising one."""
        found: list[dict[str, Any]] = []
        for draw in range(DRAWS):
            mutant = self._draw(parent, rng)
            if mutant.analysis.functional_hash == analyse(parent).functional_hash:
                if not draw:
                    return [_told(mutant, 0, False)]  # the parent again: it is known
                continue
            promising = self._is_promising(mutant, parent)
            if promising or not draw:
                found.append(_told(mutant, draw, promising))
            if promising:
                break
        return found

    def _draw(self, parent: Program, rng: random.Random) -> Mutant:
        if self._config.method == RANDOM:
            return random_program(parent.slots, rng, self._functions)
        return mutate(parent, rng, self._functions)

    def _is_promising(self, mutant: Mutant, parent: Program) -> bool:
        """Whether a child steps otherwise than its parent, but not quite.

        One that steps alike and keeps less in memory trains a larger model.
        """
        if not self._stretches or self._config.method == RANDOM:
            return True
        alike = resemblance(mutant.program, parent, self._stretches)
        keeps_less = len(mutant.analysis.slots) < len(analyse(parent).slots)
        return alike > UNLIKE and (alike < ALIKE or keeps_less)


class SearchWorker(Evaluator):
    """An evaluator that proposes, too."""

    ACTIONS = (*Evaluator.ACTIONS, "propose")

    def __init__(self) -> None:
        super().__init__()
        self._proposer: Proposer | None = None

    def prepare(self, request: dict[str, Any]) -> Answer:
        """As an evaluator; beside `stretch`, `search` is the configuration of the run."""
        answer = super().prepare(request)
        if "tasks" in answer and request.get("stretch"):
            config = Config.from_json(request["search"])
            stretches = [Stretch(facts["stretch"]) for facts in answer["tasks"].values()]
            self._proposer = Proposer(config, stretches)
        return answer

    def propose(self, request: dict[str, Any]) -> Answer:
        """`children` of a parent; see `Proposer.propose`."""
        assert self._proposer is not None
        children = self._proposer.propose(request["program"], request["constants"], request["seed"])
        return {"children": children}


def _told(mutant: Mutant, passed: int, promising: bool) -> dict[str, Any]:
    """A child as the columns of its row, and whether it is promising."""
    analysis = mutant.analysis
    return {
        "mutation": mutant.mutation,
        "detail": mutant.detail,
        "rejected": mutant.rejected,
        "passed": passed,
        "program": to_text(mutant.program),
        "functional_hash": analysis.functional_hash,
        "structure": analysis.structure,
        "statements": len(mutant.program.statements),
        "live": analysis.statements,
        "slots": len(analysis.slots),
        "promising": promising,
    }
