"""What a worker does for a search beside training: it proposes children.

Trainings are what a search has too few of, and drawing a child costs a thousandth of one. So a
child is drawn of each of several parents, again and again until it looks promising: its steps on
recorded gradients differ from its parent's, but not quite. The child that may be best of these,
by what is known of programs that step alike (`surrogate`), is proposed. Whether it is new beside
all other programs, the search decides.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from evolve.search.config import RANDOM, Config
from evolve.search.fitting import factor, rescaled, without_idle
from evolve.search.mutation import (
    CONSTANTS,
    Mutant,
    gentler,
    mutate,
    mutate_constants,
    random_program,
)
from evolve.search.probe import Stretch, difference, resemblance
from evolve.search.surrogate import Guess, Knowledge, Surrogate, steps_of
from primitives.abstract import analyse
from primitives.functions import FUNCTIONS
from primitives.program import Program, ProgramError
from primitives.text import from_text, statement_text, to_text
from proxy_tasks.evaluation import Evaluator
from proxy_tasks.status import Answer

#: How many children of a parent are drawn at most; and of how many the search is told, since the
#: first may be known, or tried often.
DRAWS, TOLD = 64, 4
#: Children whose updates make a larger angle with their parent's hardly ever learn (of 1,700
#: below 0.4 on `text_transformer` 55 finished), and those that make a smaller one are the
#: parent again, as far as the noise lets tell.
UNLIKE, ALIKE = 0.4, 1 - 1e-3
#: Updates that differ by a smaller share of their size are the same, and constants that change
#: them by less change nothing.
SAME, NO_DIFFERENCE = 4e-3, 5e-3
#: How many standard deviations of what is not known count as promise.
BENEFIT = 1.0


class _Child(NamedTuple):
    """A child that may be proposed.

    Attributes:
        parent: its number.
        mutant: the child.
        factor: by which its steps are to be multiplied.
        guess: of its fitness, if anything is known.
        promising: whether it is worth training.
        alike: whether it steps as its parent does, but is shorter.
    """

    parent: int
    mutant: Mutant
    factor: float = 1.0
    guess: Guess | None = None
    promising: bool = True
    alike: bool = False

    def told(self, passed: int) -> dict[str, Any]:
        """As the columns of its row, and whether it is promising, and alike."""
        mutant, analysis = self.mutant, self.mutant.analysis
        return {
            "parent": self.parent,
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
            "guess": self.guess and [*self.guess],
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
        self._functions = [f for f in FUNCTIONS if f.name not in config.without]
        self._known: dict[int, Surrogate] = {}
        self._program = lru_cache(1024)(from_text)
        # Of all programs that two versions of knowledge tell of.
        self._steps = lru_cache(4096)(lambda text: steps_of(self._program(text), self._stretches))

    def learn(self, version: int, knowledge: Knowledge) -> None:
        """What is known of programs that were trained; this version and the one before are kept."""
        if not self._stretches:
            return
        kept = {old: known for old, known in self._known.items() if old == version - 1}
        self._known = {**kept, version: Surrogate(knowledge, self._steps)}

    def propose(
        self,
        tournaments: Sequence[Sequence[tuple[int, str]]],
        constants: bool,
        seed: int,
        version: int = 0,
    ) -> list[dict[str, Any]]:
        """Children as plain data, the most promising first.

        Before them stands the first that was drawn, whatever it is: if it is known, its result
        costs nothing, and programs drift. One that steps as its parent does but is shorter is
        proposed as soon as it is drawn: it costs nothing, too.

        Arguments:
            tournaments: for each candidate the numbers and texts of those among which its
                parent is chosen, the fittest first, as far as the search knows.
            constants: whether children are to differ from their parent in constants alone, if
                it has any.
            seed: of all choices.
            version: of the knowledge to use; 0: nothing is known.
        """
        rng = random.Random(seed)
        known = self._known[version] if version and self._stretches else None
        drawn: list[_Child] = []
        firsts: list[_Child] = []
        passed = 0
        for tournament in tournaments if known else tournaments[:1]:
            number, text = self._winner(tournament, known) if known else tournament[0]
            first, children, draws = self._draw(number, text, constants, known, rng)
            firsts.append(first)
            passed += draws
            if children and children[0].alike:
                drawn = children
                break
            drawn = [*drawn, *children]
            if not drawn and not draws:
                break  # the parent again: it is known
        ranked = self._ranked(drawn, known) if known else drawn
        fitted = (fit for child in ranked if (fit := self._fitted(child)))
        told = [child.told(passed) for child in islice(fitted, TOLD)]
        before = firsts[0].told(0)
        return told if told and told[0]["program"] == before["program"] else [before, *told]

    # -- parents -----------------------------------------------------------

    def _winner(self, tournament: Sequence[tuple[int, str]], known: Surrogate) -> tuple[int, str]:
        """Who is worth most by all that is known: few seeds tell little of one program."""
        if len(tournament) == 1:
            return tournament[0]
        return max(tournament, key=lambda member: self._worth(member[1], known))

    def _worth(self, text: str, known: Surrogate) -> tuple[float, int]:
        """The fitness that is guessed, less what live statements cost; of equals, the shorter."""
        program = self._program(text)
        analysis = analyse(program)
        fitness = known.fitness(text, len(analysis.slots))
        cost = self._config.complexity_cost * analysis.statements
        return fitness - cost, -len(program.statements)

    # -- children ----------------------------------------------------------

    def _draw(
        self, number: int, text: str, constants: bool, known: Surrogate | None, rng: random.Random
    ) -> tuple[_Child, list[_Child], int]:
        """The first child of a parent that is drawn, the promising ones, and how many were passed.

        Those are one child and, if its new statement has a constant, the same with others.
        """
        parent = self._program(text)
        if constants and parent.constants:
            mutant = self._other_constants(parent, rng)
            if mutant:
                child = _Child(number, mutant)
                return child._replace(promising=False), [child], 0
        first: _Child | None = None
        for draw in range(DRAWS):
            mutant = self._other_structure(parent, rng)
            first = first or _Child(number, mutant, promising=False)
            if _computes_as(mutant, parent):
                if not draw:
                    return first, [], 0
                continue
            if self._is_shorter_alike(mutant, parent):
                return first, [_Child(number, mutant, alike=True)], draw
            if known and mutant.analysis.structure in known.spent:
                continue
            children = [
                _Child(number, variant, self._factor(variant, parent))
                for variant in (mutant, *(gentler(mutant) if self._stretches else ()))
                if self._is_promising(variant, parent)
            ]
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
            return random_program(parent.slots, rng, self._functions)
        return mutate(parent, rng, self._functions, self._config.on_edges)

    def _is_promising(self, mutant: Mutant, parent: Program) -> bool:
        """Whether a child steps otherwise than its parent, but not quite.

        One that steps alike and keeps less in memory trains a larger model.
        """
        if not self._stretches:
            return True
        alike = resemblance(mutant.program, parent, self._stretches)
        keeps_less = len(mutant.analysis.slots) < len(analyse(parent).slots)
        return alike > UNLIKE and (alike < ALIKE or keeps_less)

    def _is_shorter_alike(self, mutant: Mutant, parent: Program) -> bool:
        """Whether a child steps as its parent does, with fewer statements and as many slots."""
        before = analyse(parent)
        return (
            bool(self._stretches)
            and mutant.analysis.statements < before.statements
            and len(mutant.analysis.slots) == len(before.slots)
            and difference(mutant.program, parent, self._stretches) < SAME
        )

    # -- which one ---------------------------------------------------------

    def _ranked(self, children: list[_Child], known: Surrogate) -> list[_Child]:
        """The children that may well be worth most first; no end of it where nothing is known."""
        asked = []
        for child in children:
            steps, by = steps_of(child.mutant.program, self._stretches), math.log2(child.factor)
            sizes = [size and size + by for size in steps.sizes]
            asked.append((len(child.mutant.analysis.slots), steps._replace(sizes=sizes)))
        guesses = known.guess(asked)
        guessed = [
            child._replace(guess=guess) for child, guess in zip(children, guesses, strict=True)
        ]
        return sorted(guessed, key=self._promise, reverse=True)

    def _promise(self, child: _Child) -> float:
        if child.guess is None:
            return math.inf
        cost = self._config.complexity_cost * child.mutant.analysis.statements
        return child.guess.mean + BENEFIT * child.guess.deviation - cost

    # -- as it is trained --------------------------------------------------

    def _factor(self, mutant: Mutant, parent: Program) -> float:
        fits = self._stretches and self._config.fitting
        return factor(mutant.program, parent, self._stretches) if fits else 1.0

    def _fitted(self, child: _Child) -> _Child | None:
        """A child with steps as large as its parent's, and no idle statements.

        None if no constant does that.
        """
        mutant = child.mutant
        if not self._stretches or not self._config.fitting or mutant.mutation == CONSTANTS:
            return child
        program, gone = without_idle(mutant.program, self._stretches)
        detail = "; without ".join([mutant.detail, *map(statement_text, gone)])
        if child.factor != 1:
            detail += f"; steps times {child.factor:g}"
            try:
                program = rescaled(program, child.factor, self._stretches)
            except ProgramError:  # its steps are so small that the factor is beyond float32
                return None
        analysis = analyse(program)
        same = len(analysis.slots) == len(mutant.analysis.slots)
        fitted = mutant._replace(program=program, detail=detail, analysis=analysis)
        # What was guessed of one with more slots was for a smaller model.
        return child._replace(mutant=fitted, guess=child.guess if same else None)


class SearchWorker(Evaluator):
    """An evaluator that proposes, too."""

    ACTIONS = (*Evaluator.ACTIONS, "propose", "learn")

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

    def learn(self, request: dict[str, Any]) -> Answer:
        """See `Proposer.learn`."""
        assert self._proposer is not None
        self._proposer.learn(request["version"], Knowledge(*request["knowledge"]))
        return {}


def _computes_as(mutant: Mutant, parent: Program) -> bool:
    return mutant.analysis.functional_hash == analyse(parent).functional_hash
