"""Ablations: what can be left away of a structure, by the rule that chooses a champion.

Every statement is taken out in turn: its value is replaced by one of its arguments. What that
leaves are structures like any other, so they are judged like any other: each at its own best
constants, beginning with those of the structure that it comes from, on the same tasks and the same
fresh seeds. If one of them becomes the champion, which is the simplest within one standard error
of the best, the same is done with it, and with the best, until nothing can be left away any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from random import Random
from typing import Any

from evolve.judge.tournament import (
    Structure,
    Tournament,
    best_of,
    champion,
    difference,
    seed_by_seed,
)
from evolve.judge.trials import Trials
from evolve.search.fitting import factor, rescaled
from evolve.search.mutation import (
    Edit,
    change,
    child_rng,
    delete,
    delete_on_edge,
    first_valid,
)
from evolve.search.probe import Stretch, resemblance
from evolve.understand.algebraic import cost
from evolve.understand.chain import ABLATION, TUNING, Step, proven_steps
from primitives.abstract import analyse, live_program
from primitives.program import Program, ProgramError, Statement, constant
from primitives.text import to_text
from primitives.values import Operand, Value, to_program, values_of

#: Of what is tried at a time, so many at most are trained on fresh seeds.
SURVIVORS = 2
#: Updates with at least this cosine are those of the same rule with another ornament.
ALIKE = 0.95

Show = Callable[[Step], None]


@dataclass
class Ablation:
    """Takes statements out of the champion of a tournament, and out of its best structure.

    Arguments:
        tournament: that judges.
        rounds: the generations of constants of each round.
        task: whose constants the programs shown have.
        may_go_on: asked before anything is trained; once it says no, all stays as it is.
        show: called with each step of the champion, as soon as it is made.

    Attributes:
        judged: what was trained on fresh seeds.
        kept: what cannot be left away of the last champion, with figures.
        whole: whether all was tried that could be left away.
    """

    tournament: Tournament
    rounds: Sequence[int]
    task: str
    may_go_on: Callable[[], bool] = lambda: True
    show: Show = lambda step: None
    judged: list[Structure] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)
    whole: bool = True
    _tried: set[str] = field(default_factory=set)
    _parents: dict[str, Structure] = field(default_factory=dict)
    _steps: dict[str, list[Step]] = field(default_factory=dict)

    def reduce(self, found: Sequence[Structure]) -> Structure:
        """The champion of structures, and of all that can be left away of it."""
        self.judged, self._tried = list(found), {s.key for s in found}
        return self._reduced()

    def challenge(self, programs: Sequence[Program], how: str, best: Structure) -> Structure:
        """The champion, when other programs take part that come from the last one."""
        before = best.tuned[self.task]
        others = [
            self._variant(best, p, [Step(ABLATION, how, before, p, {})], how) for p in programs
        ]
        self._challenge(others)
        after = champion(self.judged)
        return after if after is best else self._reduced()

    def chain(self, structure: Structure) -> list[Step]:
        """The steps from the program that it was found as, constants tuned in the tournament."""
        parent = self._parents.get(structure.key)
        before = self.chain(parent) if parent else []
        return [*before, *self._own(structure)]

    def round(self, best: Structure) -> Step | None:
        """Round the constants to as few digits as lose nothing that can be shown."""
        before = best.tuned[self.task]
        for digits in (1, 2, 3):
            tuned = {name: round_constants(p, digits) for name, p in best.tuned.items()}
            rounded = Structure(best.program, best.starts, tuned=tuned)
            self.tournament.score([best, rounded])
            mean, error = seed_by_seed(rounded, best)  # nothing was tuned, so no luck of tunings
            if mean <= error:
                shown = {"loss_of_quality": {**(_loss(rounded, best) or {}), "error": error}}
                best.tuned = tuned
                how = f"constants rounded to {digits} significant digit{'s' if digits > 1 else ''}"
                return Step(ABLATION, how, before, tuned[self.task], shown)
        return None

    def _reduced(self) -> Structure:
        """The champion, when nothing can be left away of it any more, nor of the best.

        The best may be a rule with an ornament, and the champion another one that is simpler than
        both together: so the rule itself is to be judged, too.
        """
        shorter: dict[str, dict[str, Structure]] = {}
        shown = None
        while True:
            winner = champion(self.judged)
            if winner is not shown:
                self._show(winner)
                shown = winner
            heads = [s for s in (winner, best_of(self.judged)) if s.key not in shorter]
            if not heads:
                break
            head = heads[0]
            shorter[head.key] = dict(self._shorter(head))
            if not self.may_go_on():
                self.whole = False
                return winner
            self._challenge([*self._proven(head), *shorter[head.key].values()])
        judged = {s.key: s for s in self.judged}
        self.kept = [
            _kept(how, judged.get(variant.key, variant), winner, self.task)
            for how, variant in shorter[winner.key].items()
        ]
        return winner

    def _challenge(self, variants: Sequence[Structure]) -> None:
        """Judge the structures among these that were not yet."""
        new = {v.key: v for v in variants if v.key not in self._tried}
        self._tried |= new.keys()
        if new:
            self.judged += self.tournament.play([*new.values()], self.rounds, SURVIVORS)
            self.tournament.score(self.judged)

    def _shorter(self, best: Structure) -> Iterator[tuple[str, Structure]]:
        """Every structure, no longer, in which one value is replaced by one of its arguments."""
        found = {name: self._removals(best.tuned[name], name) for name in best.tuned}
        for key, (how, programs) in found[self.task].items():
            if key == best.key:
                continue
            starts = {name: of.get(key, (how, programs))[1] for name, of in found.items()}
            step = Step(ABLATION, how, best.tuned[self.task], programs[0], {})
            yield how, self._descended(Structure(programs[0], starts), best, how, [step])

    def _removals(self, program: Program, task: str) -> dict[str, tuple[str, list[Program]]]:
        """By structure how it comes about, and its constants: as they are, and for as large steps.

        Where none of them can make the steps as large as before, a factor may: a value that adds
        a term and sets the scale, as `interp(sign, average, 0.999)` does, hides a simpler rule.
        """
        found: dict[str, tuple[str, list[Program]]] = {}
        stretches = self.tournament.stretches(task)
        for how, shorter in removals(program):
            found.setdefault(analyse(shorter).structure, (how, []))[1].append(shorter)
            try:
                scaled = rescaled(shorter, factor(shorter, program, stretches), stretches)
            except ProgramError:
                continue
            if cost(scaled) <= cost(program) and _functions(scaled) != _functions(program):
                key = analyse(scaled).structure
                found.setdefault(key, (f"{how} for a factor", []))[1].append(scaled)
        return found

    def _proven(self, best: Structure) -> Iterator[Structure]:
        """What the champion is proven to be equal to, if that is another structure."""
        steps = list(proven_steps(best.tuned[self.task]))
        if steps and analyse(steps[-1].after).structure != best.key:
            yield self._variant(
                best, steps[-1].after, steps, "without what is proven to do nothing"
            )

    def _variant(self, best: Structure, program: Program, steps: list[Step], how: str) -> Structure:
        starts = {name: [program] for name in best.tuned}
        return self._descended(Structure(program, starts), best, how, steps)

    def _descended(
        self, structure: Structure, parent: Structure, how: str, steps: list[Step]
    ) -> Structure:
        structure.origin = {**parent.origin, "how": how}
        if structure.key not in self._tried:
            self._parents[structure.key], self._steps[structure.key] = parent, steps
        return structure

    def _own(self, structure: Structure) -> list[Step]:
        """The steps from the parent's program to this structure's, with its own constants."""
        steps, parent = self._steps.get(structure.key, []), self._parents.get(structure.key)
        if parent and steps[-1].kind == ABLATION:
            shown = {"loss_of_quality": _loss(structure, parent)}
            after = structure.tuned[self.task]
            return [*steps[:-1], Step(ABLATION, steps[-1].how, steps[-1].before, after, shown)]
        before, after = structure.program, structure.tuned[self.task]
        if before == after:
            return steps
        trials = {name: constants.trials for name, constants in structure.constants.items()}
        how = f"constants tuned in {max(trials.values())} trials"
        return [*steps, Step(TUNING, how, before, after, {"trials": trials})]

    def _show(self, best: Structure) -> None:
        for step in self._own(best):
            self.show(step)


def _kept(how: str, variant: Structure, best: Structure, task: str) -> dict[str, Any]:
    """A removal that lost, and by how much; that is not known if it came to no fresh seeds."""
    return {
        "statement": how,
        "program": to_text(variant.tuned.get(task, variant.program)),
        "loss_of_quality": _loss(variant, best) if variant.scores else None,
    }


def _loss(structure: Structure, other: Structure) -> dict[str, Any] | None:
    """By how much a structure is worse than another; None if a training failed."""
    if structure.failed or other.failed:
        return None
    mean, error = difference(structure, other)
    pairs = min(len(structure.fresh), len(other.fresh))
    return {"mean": mean, "error": error, "pairs": pairs}


def _functions(program: Program) -> list[str]:
    return sorted(statement.function for statement in live_program(program).statements)


def removals(program: Program) -> Iterator[tuple[str, Program]]:
    """Every shorter program in which one value is replaced by one of its arguments."""
    program = live_program(program)
    try:
        values, ends = values_of(analyse(program), program.slots)
    except ProgramError:  # a constant that is not finite
        return
    seen = {analyse(program).functional_hash}
    for index, value in enumerate(values):
        for argument in dict.fromkeys(value.arguments):
            candidate = _replaced(values, ends, index, argument)
            if candidate is None or analyse(candidate).functional_hash in seen:
                continue
            seen.add(analyse(candidate).functional_hash)
            if cost(candidate) < cost(program):
                yield f"{value.function} removed ({_described(value, argument)} stays)", candidate


def core(program: Program, stretches: Sequence[Stretch]) -> Program:
    """The shortest program that is left when what hardly turns the updates is removed.

    Rules that differ in ornaments have the same core. It is no better rule: what turns updates
    little may still matter, as the scale and the schedule do.
    """
    found = program
    while shorter := [
        other for _, other in removals(found) if resemblance(other, program, stretches) > ALIKE
    ]:
        found = min(shorter, key=lambda p: (analyse(p).statements, to_text(p)))
    return found


def removed_statement(program: Program, place: int) -> list[Program]:
    """The valid programs in which a statement's value is one of its arguments, or as before."""
    statement = program.statements[place]
    variants = [[*program.statements[:place], *program.statements[place + 1 :]]]
    for argument in statement.arguments:
        if isinstance(argument, str) and argument != statement.target:
            copy = Statement(statement.target, "multiply", (argument, 1.0))
            variants.append([*program.statements[:place], copy, *program.statements[place + 1 :]])
    found = []
    for statements in variants:
        try:
            candidate = live_program(program.with_statements(statements))
        except ProgramError:
            continue
        if analyse(candidate).learns:
            found.append(candidate)
    return found


def _described(value: Value, argument: Operand) -> str:
    position = ("first", "second", "third")[value.arguments.index(argument)]
    return argument if isinstance(argument, str) else f"its {position} argument"


def _replaced(
    values: Sequence[Value], ends: dict[str, Operand], index: int, by: Operand
) -> Program | None:
    def new(operand: Operand) -> Operand:
        return by if operand == index and type(operand) is int else operand

    changed = [Value(v.function, tuple(new(a) for a in v.arguments)) for v in values]
    try:
        candidate = live_program(to_program(changed, {name: new(e) for name, e in ends.items()}))
        return candidate if analyse(candidate).learns else None
    except ProgramError:  # a number in the place of a tree
        return None


def round_constants(program: Program, digits: int) -> Program:
    """Constants with so many significant digits; of one near 1, its distance from 1 has them."""

    def rounded(value: float) -> float:
        if 0.5 < value < 1:
            return constant(1 - float(f"{1 - value:.{digits - 1}e}"))
        return constant(float(f"{value:.{digits - 1}e}"))

    return program.with_statements(
        Statement(
            s.target,
            s.function,
            tuple(a if isinstance(a, str) else rounded(a) for a in s.arguments),
        )
        for s in program.statements
    )


def _smaller(program: Program, rng: Random) -> Edit | None:
    """One statement less, or one argument changed."""
    if rng.random() < 0.5:
        return change(program, rng)
    return (delete_on_edge if rng.random() < 0.5 else delete)(program, rng)


def evolved(trials: Trials, program: Program, evaluations: int, seed: int = 0) -> list[Program]:
    """The best few of the smaller programs that a small evolution by deletions and changes finds.

    What is as large and only as good as the program would be in their way.
    """
    levels = {analyse(program).functional_hash: (trials.choose([program])[0], program)}
    population = [program] * 20
    number = 0
    while len(levels) <= evaluations and number < 50 * evaluations:
        children = []
        for _ in range(8):
            rng = child_rng(seed, number)
            number += 1
            drawn = [population[rng.randrange(len(population))] for _ in range(5)]
            parent = min(drawn, key=lambda p: levels[analyse(p).functional_hash][0])
            children.append(first_valid(partial(_smaller, parent, rng)).program)
        levels_of = trials.choose(children)
        for child, level in zip(children, levels_of, strict=True):
            levels.setdefault(analyse(child).functional_hash, (level, child))
        population = [*population, *children][-100:]
    ranked = sorted(levels.values(), key=lambda entry: entry[0])
    found = (candidate for _, candidate in ranked if cost(candidate) < cost(program))
    return [live_program(candidate) for candidate in islice(found, 8)]
