"""Ablations: what can go without loss of quality on the proxy tasks.

A program is first put at its best: the best scale of its update, and constants tuned
on the tasks if that is shown to be better. Then every statement is taken out in turn
(its value replaced by one of its arguments), each variant at the best scale of its
own update. A statement goes only if two things are shown on fresh seeds: the paired
95 % interval of the loss of quality ends below the margin, and a positive control,
the program without memory or without its signs, is found worse by the same test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

from evolve.judge.trials import Interval, Trials
from evolve.search.mutation import (
    Edit,
    change,
    child_rng,
    delete,
    delete_on_edge,
    first_valid,
)
from evolve.understand.algebraic import cost, written
from evolve.understand.chain import ABLATION, Step
from primitives.abstract import analyse, live_program
from primitives.algebra.reading import CannotRead, expressions
from primitives.program import GRADIENT, Program, ProgramError, Statement, constant
from primitives.text import to_text
from primitives.values import Operand, Value, to_program, values_of

#: The most quality that may be lost, in units of what the program gains by training.
MARGIN = 0.005
#: Pairs of trainings that decide; twice and four times as many if these leave it open.
PAIRS = 24
#: Trainings (times two seeds) that tune the constants.
TUNING = 320


class Ablation:
    """The ablation steps of one simplification."""

    def __init__(self, trials: Trials, margin: float = MARGIN, pairs: int = PAIRS) -> None:
        self._trials = trials
        self._margin = margin
        self._pairs = pairs

    def at_its_best(self, program: Program) -> Step | None:
        """The program with the scale and constants that suit the tasks, if that is better."""
        ((best, _),) = self._trials.at_best_scale([program])
        tuned = self._trials.tune(best, TUNING) if best.constants else best
        shown = self._trials.excess(tuned, program, self._pairs)
        failed = self._trials.excess(program, program, 2) is None
        if not failed and (shown is None or shown.high >= 0):
            return None
        how = f"constants and scale tuned on the tasks ({TUNING} trials), shown to be better"
        return Step(ABLATION, how, program, tuned, _facts(shown, self._margin))

    def control(self, program: Program) -> dict[str, Any] | None:
        """The positive control: a mutilated program that is found to be worse; None if none is."""
        for name, mutilated in _controls(program):
            ((best, _),) = self._trials.at_best_scale([mutilated])
            shown = self._trials.excess(best, program, self._pairs)
            if shown is None or shown.low > 0:
                return {"control": name, **_facts(shown, self._margin)}
        return None

    def removal(self, program: Program) -> tuple[Step | None, list[dict[str, Any]]]:
        """The largest removal that loses no quality; and what was tried and kept, with figures."""
        variants = list(removals(program))
        plain = self._trials.choose([variant for _, variant in variants])
        at_best = self._trials.at_best_scale([variant for _, variant in variants])
        shorter = []
        for (how, variant), own, (best, level) in zip(variants, plain, at_best, strict=True):
            merged = merged_scale(best)
            # A removed factor that the best scale brings back is no removal; a removed term is.
            brought_back = _size(merged) >= _size(program)
            shorter.append((how, variant, own) if brought_back else (how, merged, level))
        ((_, level),) = self._trials.at_best_scale([program])
        kept: list[dict[str, Any]] = []
        for how, best, best_level in sorted(shorter, key=lambda x: (_size(x[1]), x[2])):
            # What is far worse on the choosing seeds need not be trained on the others.
            hopeless = best_level > level * (1 + 20 * self._margin)
            shown = None if hopeless else self._decided(best, program)
            facts = _facts(shown, self._margin)
            if shown is not None and shown.high <= self._margin:
                return Step(ABLATION, how, program, best, facts), kept
            tried = {"statement": how, "program": to_text(best), "hopeless": hopeless}
            kept.append({**tried, **facts})
        return None, kept

    def rounding(self, program: Program) -> Step | None:
        """Constants with as few digits as lose no quality."""
        for digits in (1, 2, 3):
            rounded = round_constants(program, digits)
            if rounded == program:
                return None
            shown = self._decided(rounded, program)
            if shown is not None and shown.high <= self._margin:
                how = f"constants rounded to {digits} significant digits"
                return Step(ABLATION, how, program, rounded, _facts(shown, self._margin))
        return None

    def evolved(self, program: Program, evaluations: int, seed: int = 0) -> Step | None:
        """What evolution without insertions makes of the program: shorter, or better."""
        found = _evolved(self._trials, program, evaluations, seed)
        for candidate in found:
            shown = self._decided(candidate, program)
            shorter = cost(candidate) < cost(program)
            if shown is not None and (shown.high < 0 or (shorter and shown.high <= self._margin)):
                how = f"{evaluations} evaluations of evolution without insertions"
                after = live_program(candidate)
                return Step(ABLATION, how, program, after, _facts(shown, self._margin))
        return None

    def _decided(self, program: Program, reference: Program) -> Interval | None:
        shown = None
        for factor in (1, 2, 4):
            shown = self._trials.excess(program, reference, factor * self._pairs)
            if shown is None or not shown.low <= self._margin < shown.high:
                break
        return shown


def _facts(shown: Interval | None, margin: float) -> dict[str, Any]:
    """The evidence as plain data; no interval means that a training failed."""
    return {"loss_of_quality": shown._asdict() if shown else None, "margin": margin}


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


def _size(program: Program) -> tuple[int, ...]:
    """What removals make smaller: the cost, then the values read, numbers not counted.

    `interp(a, b, 0.99)` is a term and a scale: `a * 0.01` is as long, and simpler.
    """
    reads = [a for s in live_program(program).statements for a in s.arguments]
    return (*cost(program), sum(isinstance(a, str) for a in reads))


def _described(value: Value, argument: Operand) -> str:
    position = ("first", "second", "third")[value.arguments.index(argument)]
    return argument if isinstance(argument, str) else f"its {position} argument"


def merged_scale(program: Program) -> Program:
    """The program with the scale of its update merged into another factor, if it has one."""
    try:
        merged = written(expressions(program))
    except CannotRead:
        return program
    return merged if merged is not None and cost(merged) < cost(program) else program


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


def _controls(program: Program) -> Iterator[tuple[str, Program]]:
    """The program without its memory, and without its signs."""
    values, ends = values_of(analyse(program), program.slots)
    slots = [name for name in ends if name in program.slots]
    if slots:
        blind = [
            Value(v.function, tuple(GRADIENT if a in slots else a for a in v.arguments))
            for v in values
        ]
        yield "the memory removed", live_program(to_program(blind, ends))
    unsigned = [Value(v.function, v.arguments) for v in values]
    signs = [i for i, v in enumerate(values) if v.function == "sign"]
    for i in signs:
        unsigned[i] = Value("multiply", (values[i].arguments[0], 1.0))
    if signs:
        yield "the signs removed", live_program(to_program(unsigned, ends))


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


def _evolved(trials: Trials, program: Program, evaluations: int, seed: int) -> list[Program]:
    """The best few programs of a small evolution by deletions and changes."""
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
    return [candidate for _, candidate in ranked[:8] if candidate is not program]
