"""A program line by line: what each statement computes, how large, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evolve.judge.trials import Interval, Trials
from evolve.search.log import RunLog
from evolve.understand.ablation import removed_statement
from evolve.understand.stream import recorded
from primitives.abstract import analyse
from primitives.program import Program, Statement
from primitives.reference import Tree, run_step, zero_slots
from primitives.text import from_text, statement_text

#: Pairs of trainings behind each loss.
PAIRS = 8


@dataclass(frozen=True)
class Explanation:
    """One statement of a program, explained.

    Attributes:
        text: of the statement.
        live: whether anything depends on it.
        kind: of what it computes: `scalar`, `per_array` or `tree`.
        magnitude: the median over a recorded stream of the root mean square of its
            value; None if it is never finite.
        loss: of quality when it is removed, at the best scale of the update; None if it
            is dead, or cannot be removed, or no training finished.
        origin: the mutation that brought it in, and its program's number; None if not of a run.
    """

    text: str
    live: bool
    kind: str
    magnitude: float | None
    loss: Interval | None
    origin: str | None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**vars(self), "loss": self.loss._asdict() if self.loss else None}


def explain(
    program: Program, trials: Trials | None, origins: Sequence[str | None]
) -> list[Explanation]:
    """Every statement of a program.

    Arguments:
        program: valid.
        trials: to measure what is lost without a statement; None leaves that out.
        origins: for each statement what brought it in.
    """
    live, magnitudes = analyse(program).live, _magnitudes(program)
    losses: list[Interval | None] = [None] * len(live)
    if trials is not None:
        losses = _losses(program, live, trials)
    kinds = _kinds(program)
    lines = zip(program.statements, live, kinds, magnitudes, losses, origins, strict=True)
    return [Explanation(statement_text(s), *rest) for s, *rest in lines]


def _kinds(program: Program) -> list[str]:
    from primitives.kinds import kinds_before

    places = range(1, len(program.statements) + 1)
    return [kinds_before(program, i)[program.statements[i - 1].target] for i in places]


def _magnitudes(program: Program) -> list[float | None]:
    stream = recorded()
    slots = zero_slots(program, stream.weights[0])
    sizes = np.full((len(stream.rates), len(program.statements)), np.nan)
    for step, (weights, gradient, rate) in enumerate(zip(*stream, strict=True)):
        values: list[Any] = []
        _, slots = run_step(program, weights, gradient, slots, rate, values.append)
        sizes[step] = [_size(value) for value in values]
    with np.errstate(all="ignore"):
        return [_median(column) for column in sizes.T]


def _size(value: Any) -> float:
    leaves = value.leaves if isinstance(value, Tree) else [np.asarray(value)]
    flat = np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(np.float64)
    return float(np.sqrt(np.mean(flat**2)))


def _median(column: np.ndarray) -> float | None:
    finite = column[np.isfinite(column)]
    return float(np.median(finite)) if finite.size else None


def _losses(program: Program, live: Sequence[bool], trials: Trials) -> list[Interval | None]:
    """What is lost at best without each statement, against the program at its best scale."""
    without = {
        place: removed_statement(program, place) for place, alive in enumerate(live) if alive
    }
    variants = [(place, v) for place, found in without.items() for v in found]
    best: dict[int, tuple[Program, float]] = {}
    at_best = trials.at_best_scale([program, *[v for _, v in variants]])
    (reference, _), *rest = at_best
    for (place, _), candidate in zip(variants, rest, strict=True):
        if place not in best or candidate[1] < best[place][1]:
            best[place] = candidate
    return [
        trials.excess(best[place][0], reference, PAIRS) if place in best else None
        for place in range(len(live))
    ]


# -- where the lines of a run's program came from ------------------------------------


def origins(folder: Path, number: int) -> list[str | None]:
    """For each statement of a run's program the mutation that brought it in its present form."""
    with RunLog.open(folder) as log:
        line = log.ancestry(number)
    brought: list[tuple[Statement, str]] = []
    for record in line:
        program = from_text(record.program)
        brought = _carried(brought, program, f"#{record.number}: {record.told}")
    return [origin for _, origin in brought]


def _carried(
    before: list[tuple[Statement, str]], program: Program, mutation: str
) -> list[tuple[Statement, str]]:
    """A child differs from its parent in one stretch: what is around it keeps its origin."""
    now, then = list(program.statements), [statement for statement, _ in before]
    head = 0
    while head < min(len(now), len(then)) and now[head] == then[head]:
        head += 1
    tail = 0
    while tail < min(len(now), len(then)) - head and now[-1 - tail] == then[-1 - tail]:
        tail += 1
    middle = now[head : len(now) - tail]
    if len(middle) == len(then) - head - tail:  # constants tuned: those untouched keep theirs
        kept = [o for s, o in before[head : len(then) - tail]]
        old = then[head : len(then) - tail]
        origins = [
            o if s == past else mutation for s, past, o in zip(middle, old, kept, strict=True)
        ]
    else:
        origins = [mutation] * len(middle)
    return [
        *before[:head],
        *zip(middle, origins, strict=True),
        *(before[len(before) - tail :] if tail else []),
    ]
