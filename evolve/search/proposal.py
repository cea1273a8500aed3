"""What a worker does for a search beside training: it proposes children of a parent.

Trainings are what a search has too few of, and drawing a child costs a thousandth of one. So
children are drawn until one looks promising: its steps on recorded gradients differ from the
parent's, but not quite. Whether it is new beside all other programs, the search decides.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from evolve.search.config import RANDOM, Config
from evolve.search.fitting import factor, rescaled, without_idle
from evolve.search.log import described
from evolve.search.mutation import (
    CONSTANTS,
    Mutant,
    gentler,
    mutate,
    mutate_constants,
    random_program,
)
from evolve.search.probe import Stretch, difference, resemblance
from primitives.abstract import analyse
from primitives.functions import LANGUAGES, PAPER
from primitives.program import Program, ProgramError
from primitives.text import from_text, statement_text
from proxy_tasks.evaluation import Evaluator
from proxy_tasks.status import Answer

#: How many children of a parent are drawn at most; and of how many the search is told, since the
#: first may be known, or tried often.
DRAWS, TOLD = 64, 4
#: Children whose updates make a larger angle with their parent's hardly ever learn (of 1,700
#: below 0.4 on `text_transformer` 55 finished), and those that make a smaller one are the
#: parent again, as far as the noise lets tell.
UNLIKE, ALIKE = 0.4, 1 - 1e-3
#: Of the constants that a new statement may have, those with which the cosine is near this are the
#: best: a mixture put into Signum's sign was then worth -0.015 to +0.010, and with smaller cosines
#: -0.03 to -0.09, before anything was tuned.
BEST = 0.9
#: Updates that differ by a smaller share of their size are the same, and constants that change
#: them by less change nothing.
SAME, NO_DIFFERENCE = 4e-3, 5e-3


class _Child(NamedTuple):
    """A child that may be proposed.

    Attributes:
        mutant: the child.
        promising: whether it is worth training.
        alike: whether it steps as its parent does, but is shorter.
    """

    mutant: Mutant
    promising: bool = True
    alike: bool = False

    def told(self, passed: int) -> dict[str, Any]:
        """As the columns of its row, and whether it is promising, and alike."""
        mutant = self.mutant
        return {
            "mutation": mutant.mutation,
            "detail": mutant.detail,
            "rejected": mutant.rejected,
            "passed": passed,
            **described(mutant.program),
            "promising": self.promising,
            "alike": self.alike,
        }


class Proposer:
    """Proposes children.

    Arguments:
        config: of the run.
        stretches: of its tasks; none: children are taken as they come.
    """

    def __init__(self, config: Config, stretches: Sequence[Stretch]) -> None:
        self._config = config
        # Random search chooses nothing.
        self._stretches = stretches if config.probe and config.method != RANDOM else ()
        self._functions = [f for f in LANGUAGES[config.language] if f.name not in config.without]
        self._narrow = config.language != PAPER
        self._program = lru_cache(1024)(from_text)

    def propose(self, program: str, constants: bool, seed: int) -> list[dict[str, Any]]:
        """Children of a parent as plain data, the promising ones after the first.

        The first that was drawn is proposed whatever it is: if it is known, its result costs
        nothing, and programs drift. If the new statement of a promising one has a constant, the
        same with other constants follow, in case that one is known or was tried too often.

        Arguments:
            program: the parent's text.
            constants: whether children are to differ in constants alone, if it has any.
            seed: of all choices.
        """
        parent, rng = self._program(program), random.Random(seed)
        first, children, passed = self._draw(parent, constants, rng)
        fitted = (fit for child in children if (fit := self._fitted(child, parent)))
        told: dict[str, dict[str, Any]] = {}
        for child in islice(fitted, TOLD):
            told.setdefault(child.mutant.analysis.functional_hash, child.told(passed))
        known = first.mutant.analysis.functional_hash in told
        return [*([] if known else [first.told(0)]), *told.values()]

    # -- children ----------------------------------------------------------

    def _draw(
        self, parent: Program, constants: bool, rng: random.Random
    ) -> tuple[_Child, list[_Child], int]:
        """The first child that is drawn, the promising ones, and how many were passed over."""
        if constants and parent.constants:
            mutant = self._other_constants(parent, rng)
            if mutant:
                child = _Child(mutant)
                return child._replace(promising=False), [child], 0
        first: _Child | None = None
        for draw in range(DRAWS):
            mutant = self._other_structure(parent, rng)
            first = first or _Child(mutant, promising=False)
            if _computes_as(mutant, parent):
                if not draw:
                    return first, [], 0
                continue
            if self._is_shorter_alike(mutant, parent):
                return first, [_Child(mutant, alike=True)], draw
            children = [_Child(variant) for variant in self._promising(mutant, parent)]
            if children:
                return first, children, draw
        assert first is not None
        return first, [], DRAWS

    def _other_constants(self, parent: Program, rng: random.Random) -> Mutant | None:
        """A child with other constants that change its steps; none if they hardly can."""
        for _ in range(DRAWS // 4):
            mutant = mutate_constants(parent, rng)
            if _computes_as(mutant, parent):
                continue  # its constants are dead
            changed = difference(mutant.program, parent, self._stretches)
            if not self._stretches or changed > NO_DIFFERENCE:
                return mutant
        return None

    def _other_structure(self, parent: Program, rng: random.Random) -> Mutant:
        if self._config.method == RANDOM:
            return random_program(parent.slots, rng, self._functions, self._narrow)
        return mutate(parent, rng, self._functions, self._config.on_edges, self._narrow)

    def _promising(self, mutant: Mutant, parent: Program) -> list[Mutant]:
        """The child with those constants with which it steps otherwise, but not quite.

        Those that change the parent's steps by about as much as is best stand first. One that
        steps alike and keeps less in memory trains a larger model.
        """
        if not self._stretches:
            return [mutant]
        keeps_less = mutant.analysis.trees < analyse(parent).trees
        found = []
        for variant in (mutant, *gentler(mutant)):
            alike = resemblance(variant.program, parent, self._stretches)
            if alike > UNLIKE and (alike < ALIKE or keeps_less):
                found.append((abs(alike - BEST), variant))
        return [variant for _, variant in sorted(found, key=lambda each: each[0])]

    def _is_shorter_alike(self, mutant: Mutant, parent: Program) -> bool:
        """Whether a child steps as its parent does, with fewer statements and as many slots."""
        before = analyse(parent)
        return (
            bool(self._stretches)
            and mutant.analysis.statements < before.statements
            and mutant.analysis.kinds == before.kinds
            and difference(mutant.program, parent, self._stretches) < SAME
        )

    # -- as it is trained --------------------------------------------------

    def _fitted(self, child: _Child, parent: Program) -> _Child | None:
        """A child with steps as large as its parent's, and no idle statements.

        None if no constant does that.
        """
        mutant = child.mutant
        if not self._stretches or not self._config.fitting or mutant.mutation == CONSTANTS:
            return child
        program, gone = without_idle(mutant.program, self._stretches)
        detail = "; without ".join([mutant.detail, *map(statement_text, gone)])
        by = factor(mutant.program, parent, self._stretches)
        if by != 1:
            detail += f"; steps times {by:g}"
            try:
                program = rescaled(program, by, self._stretches)
            except ProgramError:  # its steps are so small that the factor is beyond float32
                return None
        fitted = mutant._replace(program=program, detail=detail, analysis=analyse(program))
        return child._replace(mutant=fitted)


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
        """`children`; see `Proposer.propose`."""
        assert self._proposer is not None
        asked = {name: value for name, value in request.items() if name != "action"}
        return {"children": self._proposer.propose(**asked)}


def _computes_as(mutant: Mutant, parent: Program) -> bool:
    return mutant.analysis.functional_hash == analyse(parent).functional_hash
