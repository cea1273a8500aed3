"""The register machine: programs are data, compiled once for every program.

A value of a program is one row of a register file `[rows, P]`, where P is the
number of places of the tree (see `Layout`): a tree as it is, a per-array value
repeated over its array, a scalar at the first place (what else stands in its row
means nothing, and is not read beside a tree). So a leaf-wise function of several
operands needs one branch for each choice of those that are scalars, a reduction
one for each choice of kinds. A program is a table of instructions (branch, three
operand rows, result row) and the values of its constants; the loop over it runs
`lax.switch` on the branch, which on a CPU executes that branch alone.

The branches read the register file and return one row, which is written
outside the switch: a file that goes through the branches would be copied.

Rows: weights, gradient, schedule, live slots, constants, then temporaries.

Against the reference interpreter a statement agrees within the tolerance of its
function, and in what is NaN and infinite, with two provisos. Subnormal numbers
(below 2^-126) count as zero, as operands, as results and on the way, as XLA
flushes them on CPUs. A product and a sum may be fused, so `interp` and reductions
may keep a number where a term overflows by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from primitives.abstract import CONSTANT, ZERO, Analysis, constant_value
from primitives.functions import (
    ALL,
    BY_NAME,
    FUNCTIONS,
    PER_ARRAY,
    SCALAR,
    TREE,
    Function,
    Kinds,
)
from primitives.layout import Layout
from primitives.program import GRADIENT, RATE, WEIGHTS

WEIGHTS_ROW, GRADIENT_ROW, RATE_ROW, FIRST_SLOT_ROW = range(4)
_COPY = ("copy", (TREE,))


def branch_of(function: Function, kinds: Kinds) -> tuple[str, Kinds]:
    """The branch that computes a function: its name, and what of the kinds matters to it."""
    if function.reduces or (function.shaped and kinds == (SCALAR,)):
        return function.name, kinds
    if function.shaped:  # values of narrower kinds are spread: means of them are right as well
        return function.name, (TREE,)
    trees = (TREE,) * function.arity
    if set(kinds) == {SCALAR} and trees in function.signatures:
        return function.name, trees  # on whole rows: slower, but one branch less to compile
    return function.name, tuple(SCALAR if kind == SCALAR else TREE for kind in kinds)


def _branches(functions: Sequence[Function]) -> tuple[tuple[str, Kinds], ...]:
    return (
        _COPY,
        *dict.fromkeys(
            branch_of(function, kinds)
            for function in functions
            if function.arity
            for kinds in function.signatures
        ),
    )


#: Every branch of the switch: those of the paper's language, which most programs need alone, and
#: then those of the extended one, which take long to compile.
PAPER_BRANCHES, BRANCHES = _branches(FUNCTIONS), _branches(ALL)
_OPCODE = {branch: opcode for opcode, branch in enumerate(BRANCHES)}


class Code(NamedTuple):
    """A program for the machine; every field is an array, so it can be traced.

    Attributes:
        instructions: int32 `[n, 5]`: branch, three operand rows, result row.
        length: how many of them to run; the rest is padding.
        constants: float32 `[rows]`, the value that each row starts with.
        slots: the number of live slots, in the rows from `FIRST_SLOT_ROW`.
        numbers: bool `[rows]`: which of the slots is one number.
        update: the row of the update.
    """

    instructions: np.ndarray
    length: np.int32
    constants: np.ndarray
    slots: np.int32
    numbers: np.ndarray
    update: np.int32


def assemble(analysis: Analysis, rows: int = 16, length: int = 32) -> Code:
    """Allocate rows and emit instructions for the live part of a program.

    Rows and length are the least capacities; each is doubled until the program
    fits, so that nearly all programs share one compilation.
    """
    allocator = _Allocator(analysis)
    for node in analysis.live_nodes():
        allocator.emit(node)
    allocator.finish()
    while rows < allocator.rows:
        rows *= 2
    while length < len(allocator.instructions):
        length *= 2
    constants = np.zeros(rows, np.float32)
    for row, value in allocator.constants.items():
        constants[row] = value
    numbers = np.zeros(rows, bool)
    numbers[: len(analysis.kinds)] = [kind == SCALAR for kind in analysis.kinds]
    table = np.zeros((length, 5), np.int32)
    table[: len(allocator.instructions)] = allocator.instructions
    return Code(
        table,
        np.int32(len(allocator.instructions)),
        constants,
        np.int32(len(analysis.slots)),
        numbers,
        np.int32(allocator.row[analysis.update]),
    )


class _Allocator:
    """Linear-scan register allocation over the live nodes of one program."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.instructions: list[tuple[int, ...]] = []
        self.constants: dict[int, float] = {}
        self.row: dict[int, int] = {}
        self.free: list[int] = []
        self.last_use = self._last_uses()
        self.slot_row = {
            position: FIRST_SLOT_ROW + i for i, (position, _) in enumerate(analysis.slots)
        }
        self.rows = FIRST_SLOT_ROW + len(analysis.slots)
        self.home = self._homes()

    def _last_uses(self) -> dict[int, int]:
        end = len(self.analysis.nodes)
        uses = {}
        for index in self.analysis.live_nodes():
            node = self.analysis.nodes[index]
            if node.function in BY_NAME:
                uses.update(dict.fromkeys(node.arguments, index))
        return uses | dict.fromkeys((self.analysis.update, *self._finals()), end)

    def _finals(self) -> list[int]:
        return [node for _, node in self.analysis.slots]

    def _homes(self) -> dict[int, int]:
        """Nodes that may be computed straight into the row of the slot they end in."""
        start_node = {
            node.arguments[0]: index
            for index, node in enumerate(self.analysis.nodes)
            if node.function == "slot"
        }
        homes: dict[int, int] = {}
        for position, node in self.analysis.slots:
            if self.last_use.get(start_node[position], -1) <= node:
                homes.setdefault(node, self.slot_row[position])
        return homes

    def emit(self, index: int) -> None:
        node = self.analysis.nodes[index]
        inputs = {WEIGHTS: WEIGHTS_ROW, GRADIENT: GRADIENT_ROW, RATE: RATE_ROW}
        if node.function in inputs:
            self.row[index] = inputs[node.function]
        elif node.function == "slot":
            self.row[index] = self.slot_row[node.arguments[0]]
        elif node.function in (CONSTANT, ZERO):
            self.row[index] = self._new_row()
            value = constant_value(node) if node.function == CONSTANT else 0.0
            self.constants[self.row[index]] = value
        else:
            self._compute(index)

    def _compute(self, index: int) -> None:
        node = self.analysis.nodes[index]
        kinds = tuple(self.analysis.nodes[a].kind for a in node.arguments)
        operands = [self.row[a] for a in node.arguments]
        for argument in set(node.arguments):
            temporary = self.analysis.nodes[argument].function in BY_NAME
            if temporary and self.last_use[argument] == index:
                self.free.append(self.row[argument])
        target = self.home.get(index)
        if target is None:
            # The smallest free row, so that allocation does not depend on set order.
            target = (
                self.free.pop(self.free.index(min(self.free))) if self.free else self._new_row()
            )
        self.row[index] = target
        self._append(branch_of(BY_NAME[node.function], kinds), operands, target)

    def finish(self) -> None:
        """Copy what was not computed in place into the rows of the slots."""
        for position, node in self.analysis.slots:
            if self.row[node] != self.slot_row[position]:
                self._append(_COPY, [self.row[node]], self.slot_row[position])

    def _append(self, branch: tuple[str, Kinds], operands: list[int], target: int) -> None:
        padded = [*operands, *[0] * (3 - len(operands))]
        self.instructions.append((_OPCODE[branch], *padded, target))

    def _new_row(self) -> int:
        self.rows += 1
        return self.rows - 1


class _RowOps:
    """JAX's functions, and the reductions of rows that hold one kind of value.

    The sum of one number is kept apart from what comes after it: XLA would make
    `sqrt(x * x)` an `abs(x)`, which neither overflows nor underflows.
    """

    def __init__(self, layout: Layout, kind: str) -> None:
        self._layout = layout
        self._kind = kind

    def array_sum(self, x: Array) -> Array:
        if self._kind in (SCALAR, PER_ARRAY):
            return lax.optimization_barrier(x)
        starts, places = self._layout.starts, self._layout.places
        sums = [
            lax.optimization_barrier(jnp.sum(x[start : start + count]))
            for start, count in zip(starts, self._layout.counts, strict=True)
        ]
        return jnp.concatenate([jnp.full(n, s) for n, s in zip(places, sums, strict=True)])

    def tree_sum(self, x: Array) -> Array:
        if self._kind == SCALAR:
            return lax.optimization_barrier(x)
        if self._kind == PER_ARRAY:
            return lax.optimization_barrier(jnp.sum(x[self._layout.starts]))
        elements = self._layout.elements
        return jnp.sum(x if elements is None else jnp.where(elements, x, 0.0))

    def row_mean(self, x: Array) -> Array:
        return self._mean(x, 1)

    def column_mean(self, x: Array) -> Array:
        return self._mean(x, 0)

    def _mean(self, x: Array, axis: int) -> Array:
        if self._kind == SCALAR:
            return x

        def spread(matrix: Array) -> Array:
            return jnp.broadcast_to(jnp.mean(matrix, axis, keepdims=True), matrix.shape)

        return self._by_matrix(x, spread)

    def by_matrix(
        self, x: Array, function: Callable[..., Array], otherwise: Callable[..., Array]
    ) -> Array:
        if self._kind == SCALAR:
            return otherwise(jnp, x)
        with jax.default_matmul_precision("highest"):
            return self._by_matrix(x, partial(function, jnp), partial(otherwise, jnp))

    def _by_matrix(
        self,
        x: Array,
        function: Callable[[Array], Array],
        otherwise: Callable[[Array], Array] | None = None,
    ) -> Array:
        """A function of every array as a matrix; another of those with fewer than two axes."""
        layout = self._layout
        parts = []
        for array, shape, places in zip(
            layout.unflatten(x), layout.shapes, layout.places, strict=True
        ):
            if not array.size:
                flat = array.ravel()
            elif otherwise is not None and len(shape) < 2:
                flat = otherwise(array).ravel()
            else:
                flat = function(
                    array.reshape(shape[0] if len(shape) > 1 else -1, -1 if len(shape) > 1 else 1)
                ).ravel()
            parts += [flat, jnp.zeros(places - flat.size)]
        return jnp.concatenate(parts)

    # These two are computed in ways that would see subnormal numbers.

    def cbrt(self, x: Array) -> Array:
        return jnp.cbrt(_flushed(x))

    def power(self, x: Array, y: Array) -> Array:
        return jnp.power(_flushed(x), _flushed(y))

    def __getattr__(self, name: str) -> Callable[..., Array]:
        return getattr(jnp, name)


def _flushed(x: Any) -> Array:
    return jnp.where(jnp.abs(x) < np.finfo(np.float32).tiny, x * 0.0, x)


def _branch(layout: Layout, name: str, kinds: Kinds) -> Callable[[Array, Array, Array], Array]:
    if (name, kinds) == _COPY:
        return lambda registers, table, i: row(registers, table[i, 1])
    function, ops = BY_NAME[name], _RowOps(layout, kinds[0])

    def branch(registers: Array, table: Array, i: Array) -> Array:
        read = [number if kind == SCALAR else row for kind in kinds]
        operands = [read[k](registers, table[i, 1 + k]) for k in range(function.arity)]
        return jnp.broadcast_to(function.compute(ops, *operands), (layout.size,))

    return branch


def number(registers: Array, index: Any) -> Array:
    """The scalar in a row of a register file."""
    return registers[index, 0]


def row(registers: Array, index: Any) -> Array:
    """One row of a register file."""
    return lax.dynamic_index_in_dim(registers, index, keepdims=False)


def start(layout: Layout, code: Code, weights: Array) -> Array:
    """The register file `[rows, P]` before the first step; `weights` is a vector `[P]`."""
    constants = jnp.asarray(code.constants)
    registers = jnp.broadcast_to(constants[:, None], (constants.shape[0], layout.size))
    return registers.at[WEIGHTS_ROW].set(weights)


def load(
    layout: Layout, registers: Array, weights: Array, gradient: Sequence[Array], rate: Array
) -> Array:
    """Set the inputs of a step.

    The weights are a vector `[P]`, the gradient is a list of arrays (each is
    written where it belongs, which saves a copy), the rate the schedule's value.
    """
    registers = registers.at[WEIGHTS_ROW].set(weights)
    for place, array in zip(layout.starts, gradient, strict=True):
        part = array.reshape(1, -1).astype(jnp.float32)
        registers = lax.dynamic_update_slice(registers, part, (GRADIENT_ROW, int(place)))
    return registers.at[RATE_ROW, 0].set(rate)


def is_extended(code: Code) -> bool:
    """Whether a program needs more than the branches of the paper's language."""
    return bool((code.instructions[:, 0] >= len(PAPER_BRANCHES)).any())


def execute(layout: Layout, code: Code, registers: Array, extended: bool = False) -> Array:
    """Run the program once on a register file whose inputs are loaded.

    Traceable; returns the register file with the update in row `code.update`
    and the new slots in theirs. The weights are not changed. `extended` programs
    need more branches.
    """
    branches = [_branch(layout, *branch) for branch in (BRANCHES if extended else PAPER_BRANCHES)]
    table = jnp.asarray(code.instructions)

    def instruct(i: Array, registers: Array) -> Array:
        # The branches look their operands up themselves: one kernel less per instruction.
        result = lax.switch(table[i, 0], branches, registers, table, i)
        return lax.dynamic_update_index_in_dim(registers, result, table[i, 4], 0)

    return lax.fori_loop(0, code.length, instruct, registers)
