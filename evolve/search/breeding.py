"""Which children are worth training.

Valid children are drawn until one of them is: trainings are what a search has too few of,
and drawing costs a thousandth of one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from evolve.search.config import RANDOM, Config
from evolve.search.idle import without_idle
from evolve.search.mutation import AS_PARENT, TUNE, Mutant, gentler, mutate, mutate_constants
from evolve.search.random_programs import random_program
from evolve.search.stretches import Stretch, difference, factor, rescaled, resemblance
from evolve.search.tries import Tries
from primitives.abstract import analyse
from primitives.functions import FUNCTIONS
from primitives.program import Program, ProgramError
from primitives.text import from_text, statement_text

#: How many children are drawn, at most; then the last one is taken.
DRAWS = 64
#: Children whose updates make a larger angle with their parent's hardly ever learn (of 1,700
#: below 0.4 on `text_transformer` 55 finished), and those that make a smaller one are the
#: parent again, as far as the noise lets tell.
UNLIKE, ALIKE = 0.4, 1 - 1e-3
#: Updates that differ by a smaller share of their size are the same.
SAME = 4e-3
#: The share of children with other constants that differ little.
FINELY = 0.5
#: Constants that change the updates by a smaller share of their size change nothing.
NO_DIFFERENCE = 5e-3


class Breeding:
    """Draws children.

    Arguments:
        config: of the run.
        stretches: of its tasks; none: children are not looked at before they are trained.
        known: functional hashes of programs whose result is known, or will be.
        tries: of structures.
    """

    def __init__(
        self,
        config: Config,
        stretches: Sequence[Stretch],
        known: Mapping[str, int],
        tries: Tries,
    ) -> None:
        self._config = config
        self._stretches = stretches
        self._known = known
        self._tries = tries
        self._slots = from_text(config.start).slots
        self._functions = [f for f in FUNCTIONS if f.name not in config.without]

    def other_structure(self, parent: Program, rng: random.Random) -> list[Mutant]:
        """A child by one of the paper's mutations that is worth training.

        If its new statement has a constant, then with several: at a random one a statement
        is worth little, and one near 0 or 1 changes less.

        Or a child whose result is known, if it is drawn first: that costs nothing, and it lets
        programs drift. (Taken whenever they are drawn, they were 15 of 16 children.)
        One that steps as its parent does but is shorter is taken whenever it is drawn, and
        takes its parent's result.
        """
        for passed in range(DRAWS):
            mutant = self._draw(parent, rng)._replace(passed=passed)
            if mutant.analysis.functional_hash in self._known:
                if passed:
                    continue
                break
            if self._is_shorter_alike(mutant, parent):
                return [mutant._replace(alike=True, mutation=f"{mutant.mutation}{AS_PARENT}")]
            if self._tries.lately(mutant.analysis.structure) >= self._config.structure_tries:
                continue
            if not self._stretches:
                break
            variants = self._variants(mutant, parent)
            if variants:
                return variants
        return [mutant]

    def _variants(self, mutant: Mutant, parent: Program) -> list[Mutant]:
        """The child, with other constants too: those that step otherwise, but not quite."""
        if self._config.method == RANDOM:
            variants = [mutant]
        else:
            variants = [
                variant
                for variant in (mutant, *gentler(mutant))
                if UNLIKE < resemblance(variant.program, parent, self._stretches) < ALIKE
            ]
        return [
            variant._replace(factor=factor(variant.program, parent, self._stretches))
            for variant in variants
        ]

    def _draw(self, parent: Program, rng: random.Random) -> Mutant:
        if self._config.method == RANDOM:
            return random_program(self._slots, rng, self._functions)
        config = self._config
        return mutate(parent, rng, config.max_statements, self._functions, config.on_edges)

    def _is_shorter_alike(self, mutant: Mutant, parent: Program) -> bool:
        """Whether the child steps as its parent does, with fewer statements and as many slots."""
        before = analyse(parent)
        return (
            bool(self._stretches)
            and self._config.method != RANDOM
            and mutant.analysis.statements < before.statements
            and len(mutant.analysis.slots) == len(before.slots)
            and difference(mutant.program, parent, self._stretches) < SAME
        )

    def other_constants(self, parent: Program, rng: random.Random) -> Mutant:
        """A child with other constants that change its steps."""
        for passed in range(DRAWS):
            mutant = mutate_constants(parent, rng, FINELY)._replace(passed=passed)
            if not self._stretches:
                break
            if difference(mutant.program, parent, self._stretches) > NO_DIFFERENCE:
                break
        return mutant

    def ready(self, mutant: Mutant) -> Mutant | None:
        """The child as it is trained: without idle statements, its steps times its factor.

        None if no constant does that.
        """
        mutant = self._lean(mutant)
        if mutant.factor == 1:
            return mutant
        try:
            program = rescaled(mutant.program, mutant.factor, self._stretches)
        except ProgramError:  # its steps are so small that the factor is beyond float32
            return None
        return mutant._replace(
            program=program,
            analysis=analyse(program),
            mutation=f"{mutant.mutation}; steps times {mutant.factor:g}",
        )

    def _lean(self, mutant: Mutant) -> Mutant:
        if mutant.mutation.startswith(TUNE) or self._config.method == RANDOM:
            return mutant
        program, gone = without_idle(mutant.program, self._stretches)
        if not gone:
            return mutant
        analysis = analyse(program)
        same_size = len(analysis.slots) == len(mutant.analysis.slots)
        return mutant._replace(
            program=program,
            analysis=analysis,
            mutation=f"{mutant.mutation}; without {', '.join(map(statement_text, gone))}",
            guess=mutant.guess if same_size else None,  # that was for a smaller model
        )
