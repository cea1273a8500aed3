"""What a program's steps would be, found without training.

A program is run on a short recorded stretch of real gradients of each task. That costs a
hundredth of a training, and tells whether it steps as another program does: then training it
only draws lots again; or quite otherwise: then it hardly ever learns.

The loop is open: weights and gradients are given, so that only slots carry anything from one step
to the next. Each statement is computed for all steps together, on rows of elements, unless a slot's
next value depends on it and it depends on a slot's last one; such statements are computed step by
step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from primitives.abstract import live_program
from primitives.functions import BY_NAME, COLUMN, KINDS, PER_ARRAY, ROW, SCALAR, TREE
from primitives.program import GRADIENT, RATE, UPDATE, WEIGHTS, Argument, Program

#: The steps that are compared: the last half of the stretch, when slots have filled.
_LAST = 0.5

#: Kinds of which there is a number for every element kept; rows and columns are spread over them.
_WIDE = frozenset({ROW, COLUMN, TREE})

#: A value: the name of an input or a slot before the step, or the number of a statement.
_Name = str | int


class _Line(NamedTuple):
    """A statement: what it computes, with which sums, of which values; constants as they are."""

    compute: Callable[..., Any]
    ops: _Ops
    reads: list[tuple[_Name | None, Any, bool]]  # a value or None, a constant, and to be spread


class Stretch:
    """One task's stretch, as `proxy_tasks.stretch.record` gives it.

    Values are rows for each step: of all elements end to end, of one number for each array, or of
    one number. Sums over an array are estimated from the elements that were kept.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self._weights = np.asarray(data["weights"], np.float32)
        self._gradients = np.asarray(data["gradients"], np.float32)
        self._rates = np.asarray(data["rates"], np.float32)[:, None]
        kept = np.asarray(data["kept"])
        self._array = np.repeat(np.arange(len(kept)), kept)
        self._scale = (np.asarray(data["counts"]) / np.maximum(kept, 1)).astype(np.float32)
        # Row by row the sums over arrays are the product with this.
        self._sums = np.zeros((len(self._array), len(kept)))
        self._sums[np.arange(len(self._array)), self._array] = 1.0
        #: How many numbers a value of each kind has for a step.
        self._widths = {SCALAR: 1, PER_ARRAY: len(kept)} | dict.fromkeys(_WIDE, len(self._array))
        self._ops = {kind: _Ops(self, kind) for kind in KINDS}
        ends = np.cumsum(kept)
        grids = data.get("grids") or [(count, 1) for count in kept]
        self._grids = [
            (slice(end - m * n, end), m, n)
            for end, (m, n) in zip(ends, grids, strict=True)
            if m * n
        ]

    def updates(self, program: Program) -> np.ndarray:
        """The updates of the last steps, end to end; remembered with the program."""
        found = program.memo.get(self)
        if found is None:
            found = program.memo[self] = self._updates(live_program(program))
        return found

    def _updates(self, program: Program) -> np.ndarray:
        lines, ends = self._lines(program)
        values: dict[_Name, np.ndarray] = {
            WEIGHTS: self._weights,
            GRADIENT: self._gradients,
            RATE: self._rates,
        }
        kinds = {slot: program.kind_of(slot) for slot in program.slots}
        carried = _reaching(lines, set(program.slots))
        needed = _needed(lines, [ends[slot] for slot in program.slots])
        looped = [i for i in range(len(lines)) if carried[i] and needed[i]]
        with np.errstate(all="ignore"):
            for i, line in enumerate(lines):
                if not carried[i]:
                    values[i] = self._computed(line, values)
            self._loop(lines, looped, {slot: ends[slot] for slot in program.slots}, kinds, values)
            for i, line in enumerate(lines):
                if i not in values:
                    values[i] = self._computed(line, values)
        rows = values[ends[UPDATE]]
        last = rows[int(_LAST * len(rows)) :]
        return np.broadcast_to(last, (len(last), self._weights.shape[1])).astype(np.float64).ravel()

    def _loop(
        self,
        lines: list[_Line],
        looped: list[int],
        slots: dict[str, _Name],
        kinds: dict[str, str],
        values: dict[_Name, np.ndarray],
    ) -> None:
        """Fill in the slots before each step, and the statements that they depend on."""
        for slot, end in slots.items():
            values[slot] = np.zeros((len(self._gradients), self._widths[kinds[slot]]), np.float32)
            if end in values and end != slot:  # it depends on no slot
                values[slot][1:] = values[end][:-1]
        turns = [(slot, end) for slot, end in slots.items() if end in looped]
        here: dict[_Name, np.ndarray] = {slot: values[slot][:1] for slot, _ in turns}
        moving = {*here, *looped}
        plan = [(i, *lines[i][:2], self._by_step(lines[i], values, moving)) for i in looped]
        rows: list[list[np.ndarray]] = [[] for _ in looped]
        for step in range(len(self._gradients) if plan else 0):
            for (i, compute, ops, reads), kept in zip(plan, rows, strict=True):
                here[i] = compute(
                    ops, *[r[step] if spread is None else here[r][spread] for r, spread in reads]
                )
                kept.append(here[i])
            for slot, end in turns:
                here[slot] = here[end]
        for i, kept in zip(looped, rows, strict=True):
            values[i] = np.concatenate(kept)
        for slot, end in turns:
            values[slot][1:] = values[end][:-1]

    def _by_step(
        self, line: _Line, values: dict[_Name, np.ndarray], moving: set[_Name]
    ) -> list[tuple[Any, Any]]:
        """For each argument a list with its value at each step, or a name and how it is spread."""
        found: list[tuple[Any, Any]] = []
        for name, number, spread in line.reads:
            if name in moving:
                found.append((name, (slice(None), self._array) if spread else ...))
            elif name is None:
                found.append(([number] * len(self._gradients), None))
            else:
                array = values[name][:, self._array] if spread else values[name]
                found.append(([*array[:, None]], None))
        return found

    def _computed(self, line: _Line, values: dict[_Name, np.ndarray]) -> np.ndarray:
        """A statement at all steps."""
        arguments = [
            number if name is None else values[name][:, self._array] if spread else values[name]
            for name, number, spread in line.reads
        ]
        result = line.compute(line.ops, *arguments)
        return result if np.ndim(result) else np.broadcast_to(np.float32(result), self._rates.shape)

    def _lines(self, program: Program) -> tuple[list[_Line], dict[str, _Name]]:
        """The statements, and for each variable the value that it has at the end."""
        kinds: dict[str, str] = program.inputs()
        now: dict[str, _Name] = {name: name for name in kinds}
        lines = []
        for i, statement in enumerate(program.statements):
            read = [kinds[a] if isinstance(a, str) else SCALAR for a in statement.arguments]
            function = BY_NAME[statement.function]
            spread = bool(_WIDE & set(read))
            lines.append(
                _Line(
                    function.compute,
                    self._ops[read[0] if read else SCALAR],
                    [
                        _read(argument, now, spread and its == PER_ARRAY)
                        for argument, its in zip(statement.arguments, read, strict=True)
                    ],
                )
            )
            kinds[statement.target] = function.signatures[tuple(read)]
            now[statement.target] = i
        return lines, now

    def array_mean(self, x: np.ndarray) -> np.ndarray:
        """The means over the elements kept of each array, for each step."""
        kept = np.maximum(self._sums.sum(0), 1.0)
        return (x.astype(np.float64) @ self._sums / kept).astype(np.float32)

    def by_matrix(self, x: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """A function of every array as a matrix `[steps, m, n]` of the elements kept."""
        found = np.empty((len(x), len(self._array)), np.float32)
        for place, m, n in self._grids:
            found[:, place] = function(x[:, place].reshape(len(x), m, n)).reshape(len(x), -1)
        return found

    def array_sum(self, x: np.ndarray) -> np.ndarray:
        """An estimate of the sums over whole arrays, for each step."""
        return (x.astype(np.float64) @ self._sums).astype(np.float32) * self._scale


def _read(
    argument: Argument, now: dict[str, _Name], spread: bool
) -> tuple[_Name | None, Any, bool]:
    if isinstance(argument, str):
        return now[argument], None, spread
    return None, np.float32(argument), False


def _reaching(lines: list[_Line], slots: set[str]) -> list[bool]:
    """Which statements depend on what a slot was before the step."""
    found: list[bool] = []
    for line in lines:
        names = [name for name, *_ in line.reads]
        found.append(any(n in slots or (isinstance(n, int) and found[n]) for n in names))
    return found


def _needed(lines: list[_Line], ends: list[_Name]) -> list[bool]:
    """Which statements the values of the slots after the step depend on."""
    found = [False] * len(lines)
    waiting = [end for end in ends if isinstance(end, int)]
    while waiting:
        i = waiting.pop()
        if not found[i]:
            found[i] = True
            waiting += [name for name, *_ in lines[i].reads if isinstance(name, int)]
    return found


def resemblance(one: Program, other: Program, stretches: Sequence[Stretch]) -> float:
    """The cosine of the angle between their updates, where it is the smallest.

    NaN if there is none: updates that are zero or not finite.
    """
    pairs = [(s.updates(one), s.updates(other)) for s in stretches]
    with np.errstate(all="ignore"):
        found = [float(u @ v / np.sqrt((u @ u) * (v @ v))) for u, v in pairs]
    return float(np.min(found)) if found else math.nan


def difference(child: Program, parent: Program, stretches: Sequence[Stretch]) -> float:
    """By how much the updates differ, relative to the parent's, where it is the most."""
    pairs = [(s.updates(child), s.updates(parent)) for s in stretches]
    with np.errstate(all="ignore"):
        found = [float(np.linalg.norm(u - v) / np.linalg.norm(v)) for u, v in pairs]
    return float(np.max(found)) if found else math.nan


class _Ops:
    """NumPy on rows, with the two reductions of the language over values of one kind."""

    def __init__(self, stretch: Stretch, kind: str) -> None:
        self._stretch, self._kind = stretch, kind

    def array_sum(self, x: Any) -> Any:
        return self._stretch.array_sum(x) if self._kind == TREE else x

    def tree_sum(self, x: Any) -> Any:
        if self._kind == SCALAR:
            return x
        return np.sum(self.array_sum(x), axis=-1, keepdims=True, dtype=np.float32)

    def row_mean(self, x: Any) -> Any:
        return self._mean(x, 2, ROW, COLUMN)

    def column_mean(self, x: Any) -> Any:
        return self._mean(x, 1, COLUMN, ROW)

    def _mean(self, x: Any, axis: int, own: str, other: str) -> Any:
        """Spread over all elements, as every row and column is; one number each for an array."""
        if self._kind in (SCALAR, PER_ARRAY, own):
            return x
        if self._kind == other:
            return self._stretch.array_mean(x)
        return self._stretch.by_matrix(
            x, lambda m: np.broadcast_to(m.mean(axis, keepdims=True, dtype=np.float32), m.shape)
        )

    def by_matrix(self, x: Any, function: Callable[..., Any], otherwise: Callable[..., Any]) -> Any:
        """An estimate: of the rows and columns that were kept."""
        if self._kind == SCALAR:
            return otherwise(np, x)

        def of(matrices: np.ndarray) -> np.ndarray:
            if matrices.shape[2] == 1:
                return np.asarray(otherwise(np, matrices))
            return np.stack([function(np, matrix) for matrix in matrices])

        return self._stretch.by_matrix(x, of)

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        setattr(self, name, function)  # found at once the next time
        return function
