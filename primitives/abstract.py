"""Abstract execution: run a program on stand-ins, without data.

One pass over the statements gives three answers (arXiv 2302.06675, section 2.3):
the kind of every value (or that the program is invalid), which statements are
live, and a *functional hash* that is equal only for programs with bit-equal
behaviour. Liveness counts across steps: a slot that no live statement of the
next step reads is dead. The hash covers `update` and the live slots.

The paper's hash knows no algebra. This one uses rewrites that are exact in
float32, NaN and infinities included, and no others: swapped arguments of
commutative functions, common subexpressions, functions of constants folded in
float32, slots that are never written (they stay zero), slots renamed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import count, permutations
from typing import NamedTuple

import numpy as np

from primitives.functions import BY_NAME, SCALAR, TREE
from primitives.kinds import kinds_before
from primitives.program import (
    GRADIENT,
    RATE,
    UPDATE,
    WEIGHTS,
    Program,
    ProgramError,
    Statement,
)

CONSTANT, ZERO = "constant", "zero"

#: Up to how many live slots the hash looks for the same program under other names.
MAX_PERMUTED_SLOTS = 4


class Node(NamedTuple):
    """One value of a program in single-assignment form.

    Attributes:
        function: a function of the table; or `w`, `g`, `lr`; or `slot`, `constant`, `zero`.
        arguments: indices of earlier nodes; for a slot its position among the
            program's slots; for a constant its float32 value.
        kind: the kind of the value.
    """

    function: str
    arguments: tuple
    kind: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """What abstract execution finds.

    Attributes:
        nodes: the inputs and every value that a live statement computes; arguments come first.
        update: the node of the update.
        slots: for each live slot, in the order of the program: its position
            among the program's slots, and the node of its value after the step.
        live: for each statement, whether an output of this or a later step depends on it.
        functional_hash: 32 hexadecimal digits; equal hashes mean equal behaviour.
        learns: whether the update depends on the gradient, of this or an earlier step.
        kinds: for each live slot its kind.
    """

    nodes: list[Node]
    update: int
    slots: tuple[tuple[int, int], ...]
    live: tuple[bool, ...]
    functional_hash: str
    learns: bool
    kinds: tuple[str, ...]

    @property
    def statements(self) -> int:
        """The number of live statements."""
        return sum(self.live)

    @property
    def trees(self) -> int:
        """The number of live slots as large as the weights."""
        return self.kinds.count(TREE)

    def memory(self, sizes: Mapping[str, float]) -> float:
        """What the live slots hold, in numbers for each weight.

        Arguments:
            sizes: how many numbers a value of each kind but a tree has, for each weight; what is
                missing counts nothing.
        """
        return self.trees + sum(sizes.get(kind, 0.0) for kind in self.kinds if kind != TREE)

    @property
    def structure(self) -> str:
        """32 hexadecimal digits; equal for copies of a program with other constants."""
        rest = [
            (node.function, () if node.function == CONSTANT else node.arguments)
            for node in (self.nodes[index] for index in self.live_nodes())
        ]
        narrow = [kind for kind in self.kinds if kind != TREE] and self.kinds
        found = (rest, self.update, self.slots, *([narrow] if narrow else []))
        return blake2b(repr(found).encode(), digest_size=16).hexdigest()

    def live_nodes(self) -> list[int]:
        """The nodes that the update and the live slots depend on, ascending."""
        return sorted(_reachable(self.nodes, [self.update, *(node for _, node in self.slots)]))


def analyse(program: Program) -> Analysis:
    """Execute a program abstractly.

    Raises:
        ProgramError: if a variable is used before it is assigned, a function is given
            kinds it does not take, or an output is missing or not of its kind.
    """
    found = program.memo.get(analyse)
    if found is None:
        found = program.memo[analyse] = _analyse(program)
    return found


def _analyse(program: Program) -> Analysis:
    flow = _flow(program)
    live, kept = _liveness(flow)
    nodes, where = _single_assignment(program, flow, live)
    slots = tuple([(position, where[flow.ends[position + 1]]) for position in kept])
    update = where[flow.ends[0]]
    kinds = tuple([program.kind_of(program.slots[position]) for position in kept])
    reached = sorted(_reachable(nodes, [update, *[node for _, node in slots]]))
    return Analysis(
        nodes=nodes,
        update=update,
        slots=slots,
        live=live,
        functional_hash=_functional_hash(nodes, reached, update, slots),
        learns=GRADIENT in {nodes[n].function for n in reached},
        kinds=kinds,
    )


def live_program(program: Program) -> Program:
    """The program without its dead statements; the slots keep their names."""
    live = analyse(program).live
    lean = [s for s, alive in zip(program.statements, live, strict=True) if alive]
    return program.with_statements(_rename_spent_slots(lean, program))


def _rename_spent_slots(lean: list[Statement], program: Program) -> list[Statement]:
    """Give another name to slots that would not end as what they are.

    Such a slot serves as a variable of another kind, and the dead statement that
    made it a tree again is gone.
    """
    kinds = kinds_before(program.with_statements(lean), len(lean))
    new = {}
    for slot in program.slots:
        if kinds[slot] != program.kind_of(slot):
            new[slot] = next(n for i in count(2) if (n := f"{slot}_{i}") not in kinds)
            kinds[new[slot]] = SCALAR
    return [
        Statement(
            new.get(s.target, s.target),
            s.function,
            tuple([new.get(a, a) if isinstance(a, str) else a for a in s.arguments]),
        )
        for s in lean
    ]


class _Flow(NamedTuple):
    """Which value each statement reads, values being numbered inputs first, then statements.

    Attributes:
        inputs: the names that exist before the first statement.
        kinds: the kind of each value.
        reads: for each statement its arguments: numbers of values, or constants.
        ends: the values that the update and the slots have at return.
    """

    inputs: tuple[str, ...]
    kinds: list[str]
    reads: list[list[int | float]]
    ends: list[int]


def _flow(program: Program) -> _Flow:
    """Check a program, and find what each statement reads."""
    given = program.inputs()
    numbers = {name: i for i, name in enumerate(given)}
    kinds = list(given.values())
    reads: list[list[int | float]] = []
    for index, statement in enumerate(program.statements):
        try:
            read = [numbers[a] if isinstance(a, str) else float(a) for a in statement.arguments]
        except KeyError as error:
            what = f"'{error.args[0]}' is used before it is assigned"
            raise _invalid(index, statement, what) from None
        function = BY_NAME[statement.function]
        tried = tuple([kinds[a] if type(a) is int else SCALAR for a in read])
        kind = function.signatures.get(tried)
        if kind is None:
            what = f"'{function.name}' does not take ({', '.join(tried)})"
            raise _invalid(index, statement, what)
        numbers[statement.target] = len(kinds)
        kinds.append(kind)
        reads.append(read)
    if UPDATE not in numbers:
        raise ProgramError("'update' is never assigned; a program must compute it")
    ends = [numbers[name] for name in (UPDATE, *program.slots)]
    for name, end in zip((UPDATE, *program.slots), ends, strict=True):
        wanted = program.kind_of(name)
        if kinds[end] != wanted:
            what = "a tree like the weights" if wanted == TREE else f"a {wanted}, as it begins"
            raise ProgramError(f"'{name}' is a {kinds[end]} at return; it must be {what}")
    return _Flow(tuple(given), kinds, reads, ends)


def _liveness(flow: _Flow) -> tuple[tuple[bool, ...], list[int]]:
    """Which statements are live, and the positions of the live slots.

    The update is wanted at the end of the step, and then what every slot ends
    with whose value from the step before is found to be wanted.
    """
    first = len(flow.inputs)
    position = {number: i for i, number in enumerate(range(2, first - 1))}
    live = [False] * len(flow.reads)
    found: set[int | float] = set()
    stack: list[int | float] = [flow.ends[0]]
    while stack:
        value = stack.pop()
        if type(value) is not int or value in found:
            continue
        found.add(value)
        if value >= first:
            live[value - first] = True
            stack.extend(flow.reads[value - first])
        elif value in position:
            stack.append(flow.ends[position[value] + 1])
    # A slot that is never written is zero for ever, and no state.
    kept = [i for value, i in position.items() if value in found and flow.ends[i + 1] != value]
    return tuple(live), kept


def _single_assignment(
    program: Program, flow: _Flow, live: Sequence[bool]
) -> tuple[list[Node], dict[int, int]]:
    """The nodes of the live part; the node of each of its values."""
    nodes: list[Node] = []
    numbers: dict[tuple, int] = {}

    def number(function: str, arguments: tuple, kind: str) -> int:
        key = (function, arguments, kind) if function == ZERO else (function, arguments)
        found = numbers.get(key)
        if found is None:
            found = numbers[key] = len(nodes)
            nodes.append(Node(function, arguments, kind))
        return found

    first = len(flow.inputs)
    where = {value: number(*_input(flow, value)) for value in range(first)}
    for value, (statement, read, alive) in enumerate(
        zip(program.statements, flow.reads, live, strict=True), first
    ):
        if not alive:
            continue
        arguments = [
            where[a] if type(a) is int else number(CONSTANT, (_bits(a),), SCALAR) for a in read
        ]
        function = BY_NAME[statement.function]
        if function.commutative and arguments[0] > arguments[1]:
            arguments.reverse()
        if {nodes[a].function for a in arguments} <= {CONSTANT}:
            values = [nodes[a].arguments[0] for a in arguments]
            where[value] = number(CONSTANT, (_fold(function.name, *values),), SCALAR)
        else:
            where[value] = number(function.name, tuple(arguments), flow.kinds[value])
    return nodes, where


def _input(flow: _Flow, value: int) -> tuple[str, tuple, str]:
    """The node of an input, as function, arguments and kind."""
    name, position = flow.inputs[value], value - 2
    if name in (WEIGHTS, GRADIENT, RATE):
        return name, (), flow.kinds[value]
    if flow.ends[position + 1] == value:  # never written: zero for ever
        return ZERO, (), flow.kinds[value]
    return "slot", (position,), flow.kinds[value]


def _invalid(index: int, statement: Statement, what: str) -> ProgramError:
    # Most mutants that fail end here, so the statement is not printed.
    return ProgramError(f"statement {index + 1} ('{statement.target} = ...'): {what}")


def _reachable(nodes: Sequence[Node], roots: Sequence[int]) -> set[int]:
    found: set[int] = set()
    stack = list(roots)
    while stack:
        index = stack.pop()
        if index in found:
            continue
        found.add(index)
        node = nodes[index]
        if node.function not in (CONSTANT, "slot"):
            stack.extend(node.arguments)
    return found


def _bits(value: float) -> int:
    """The float32 pattern of a constant: tells -0.0 from 0.0, and NaN equals itself."""
    return struct.unpack("<I", struct.pack("<f", value))[0]


def constant_value(node: Node) -> float:
    """The value of a `constant` node."""
    return struct.unpack("<f", struct.pack("<I", node.arguments[0]))[0]


class _ScalarOps:
    """NumPy on single numbers: sums and means are the identity."""

    @staticmethod
    def array_sum(x: np.float32) -> np.float32:
        return x

    tree_sum = row_mean = column_mean = array_sum

    @staticmethod
    def by_matrix(x: np.float32, function: Callable, otherwise: Callable) -> np.float32:
        return otherwise(np, x)

    def __getattr__(self, name: str) -> Callable:
        return getattr(np, name)


_SCALAR_OPS = _ScalarOps()


@lru_cache(maxsize=1 << 14)
def _fold(function: str, *bits: int) -> int:
    """Apply a function to constants, in float32."""
    values = [np.uint32(b).view(np.float32) for b in bits]
    with np.errstate(all="ignore"):
        result = np.float32(BY_NAME[function].compute(_SCALAR_OPS, *values))
    return int(np.float32(np.nan if np.isnan(result) else result).view(np.uint32))


def _functional_hash(
    nodes: Sequence[Node], reached: Sequence[int], update: int, slots: Sequence[tuple[int, int]]
) -> str:
    """The smallest digest over the ways to number the live slots, so names do not matter.

    With many slots the ways are too many: then the order of the signature counts.
    """
    orders = permutations(slots) if len(slots) <= MAX_PERMUTED_SLOTS else [slots]
    return min(_digest(nodes, reached, update, order) for order in orders).hex()


def _digest(
    nodes: Sequence[Node], reached: Sequence[int], update: int, slots: Sequence[tuple[int, int]]
) -> bytes:
    rank = {position: b"%d" % i for i, (position, _) in enumerate(slots)}
    digests: dict[int, bytes] = {}
    for index in reached:  # ascending, so arguments come before what reads them
        node = nodes[index]
        if node.function == "slot":
            # Whatever reads a slot's past is live, and so is the slot: it has a rank.
            kind = () if node.kind == TREE else (node.kind.encode(),)
            digests[index] = _combined("slot", rank[node.arguments[0]], *kind)
        elif node.function == CONSTANT:
            digests[index] = _combined(CONSTANT, b"%d" % node.arguments[0])
        elif node.function == ZERO and node.kind != TREE:
            digests[index] = _combined(ZERO, node.kind.encode())
        else:
            parts = [digests[a] for a in node.arguments]
            if len(parts) == 2 and BY_NAME[node.function].commutative:
                parts.sort()
            digests[index] = _combined(node.function, *parts)
    return _combined("outputs", digests[update], *[digests[node] for _, node in slots])


@lru_cache(maxsize=1 << 14)  # a child repeats most of its parent
def _combined(function: str, *parts: bytes) -> bytes:
    return blake2b(function.encode() + b"(" + b"".join(parts), digest_size=16).digest()
