"""Random programs, rewrites that keep a program's behaviour, and random trees.

Also the register machine of a layout, compiled once for all tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import jax
import numpy as np
from hypothesis import strategies as st

from primitives import machine, reference
from primitives.functions import (
    BY_NAME,
    COLUMN,
    FUNCTIONS,
    PER_ARRAY,
    ROW,
    SCALAR,
    TREE,
    Function,
)
from primitives.layout import Layout
from primitives.program import Program, Statement, constant

LONG = os.environ.get("EVOLVE_LONG") == "1"


def examples(quick: int, long: int) -> int:
    """The number of examples of a test, in the quick and in the long mode."""
    return long if LONG else quick


# Programs -----------------------------------------------------------------------------

COMMON = [0.9, 0.99, 0.001, 1e-8, 0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1.109, 3e38, 1e-40, -1e-30]
constants = st.one_of(
    st.sampled_from(COMMON),
    st.floats(-3, 3, width=32),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
).map(constant)
tame_constants = st.floats(0.0625, 0.9375, width=32).map(constant)

#: One statement as small integers: function, signature, three arguments, target; a constant.
_choices = st.tuples(*[st.integers(0, 2**16)] * 6, constants)
_tame_choices = st.tuples(*[st.integers(0, 2**16)] * 6, tame_constants)
_NAMES = ("a", "b", "c", "d", "e", "f1", "update")


def _build(
    choices: Sequence[tuple],
    slots: tuple[str, ...],
    functions: Sequence[Function],
    fresh: int = 0,
    gather: bool = False,
) -> Program:
    """A valid program from small integers, so that hypothesis can shrink it.

    There are `fresh` more names for targets. `gather` makes every last value live, and
    with an average in each slot before them most slots too.
    """
    kinds = Program((), slots).inputs()
    statements = []
    if gather:
        statements += [Statement(slot, "interp", (slot, "g", 0.25)) for slot in slots]
    for which, signature, *arguments, target, number in choices:
        function = functions[which % len(functions)]
        present = {*kinds.values(), SCALAR}
        possible = [s for s in function.signatures if present.issuperset(s)]
        wanted = possible[signature % len(possible)]
        chosen = []
        for kind, choice in zip(wanted, arguments, strict=False):
            variables = [name for name, k in kinds.items() if k == kind]
            if kind == SCALAR:  # a constant stands last, so that it is a frequent choice
                variables += [number] * max(1, len(variables) // 2)
            chosen.append(variables[choice % len(variables)])
        result = function.signatures[wanted]
        names = list(dict.fromkeys([*kinds, *_NAMES, *(f"t{i}" for i in range(fresh))]))
        name = names[target % len(names)]
        if result != TREE and [k for k, v in kinds.items() if v == TREE] == [name]:
            name = "spare"  # the last tree must stay, for the update
        statements.append(Statement(name, function.name, tuple(chosen)))
        kinds[name] = result
    tree = next(name for name, kind in kinds.items() if kind == TREE)
    for output in ("update", *slots):
        if kinds.get(output) != TREE:
            factor = output if output in kinds else 0.5
            statements.append(Statement(output, "multiply", (factor, tree)))
            kinds[output] = TREE
    if gather:
        others = [name for name in kinds if name != "update"]
        statements += [Statement("update", "add", ("update", name)) for name in others]
    return Program(tuple(statements), slots)


@st.composite
def programs(
    draw: st.DrawFn,
    max_statements: int = 20,
    max_slots: int = 3,
    functions: Sequence[Function] = FUNCTIONS,
    tame: bool = False,
) -> Program:
    """Valid programs of any functions of the table."""
    slots = ("m", "v", "u", "s4", "s5", "s6", "s7", "s8")[: draw(st.integers(0, max_slots))]
    choices = draw(st.lists(_tame_choices if tame else _choices, max_size=max_statements))
    return _build(choices, slots, functions, gather=draw(st.booleans()))


def wide_program(seed: int, statements: int, slots: int) -> Program:
    """A long valid program, by a plain generator: hypothesis is slow at this size."""
    random = Random(seed)
    choices = [
        (*[random.randrange(2**16) for _ in range(6)], constant(random.gauss(0, 1)))
        for _ in range(statements)
    ]
    names = tuple(f"s{i}" for i in range(slots))
    return _build(choices, names, FUNCTIONS, fresh=50, gather=True)


# Rewrites that keep the behaviour, bit for bit ------------------------------------------


def _swap(program: Program, random: Random) -> Program:
    return program.with_statements(
        Statement(s.target, s.function, s.arguments[::-1])
        if BY_NAME[s.function].commutative and random.random() < 0.5
        else s
        for s in program.statements
    )


def _insert_dead(program: Program, random: Random) -> Program:
    """Statements whose targets nothing reads."""
    statements = list(program.statements)
    for i in range(random.randint(1, 4)):
        place = random.randint(0, len(statements))
        names = ["w", "g", *program.slots]
        dead = random.choice(
            [
                Statement(f"dead{i}", "sin", (1.5,)),
                Statement(f"dead{i}", "exp", (random.choice(names),)),
            ]
        )
        statements.insert(place, dead)
    return program.with_statements(statements)


def _rename(program: Program, random: Random) -> Program:
    """Other names for slots and temporaries, and another order of the slots."""
    names = {s.target for s in program.statements} | set(program.slots)
    names -= {"w", "g", "lr", "update"}
    fresh = [f"x{i}" for i in range(len(names))]
    random.shuffle(fresh)
    new = dict(zip(sorted(names), fresh, strict=True))
    slots = [new[slot] for slot in program.slots]
    random.shuffle(slots)
    return Program(
        tuple(
            Statement(
                new.get(s.target, s.target),
                s.function,
                tuple(new.get(a, a) if isinstance(a, str) else a for a in s.arguments),
            )
            for s in program.statements
        ),
        tuple(slots),
    )


def _permute(program: Program, random: Random) -> Program:
    """Swap neighbours that do not depend on each other."""
    statements = list(program.statements)
    for _ in range(2 * len(statements)):
        i = random.randrange(max(1, len(statements) - 1))
        if i + 1 >= len(statements):
            break
        a, b = statements[i : i + 2]
        if a.target not in (b.target, *b.arguments) and b.target not in a.arguments:
            statements[i : i + 2] = [b, a]
    return program.with_statements(statements)


def _unfold(program: Program, random: Random) -> Program:
    """Compute some constants from others, exactly."""
    statements = []
    for i, s in enumerate(program.statements):
        arguments = list(s.arguments)
        for j, a in enumerate(arguments):
            if isinstance(a, float) and random.random() < 0.5:
                name = f"k{i}_{j}"
                statements.append(
                    random.choice(
                        [Statement(name, "negative", (-a,)), Statement(name, "maximum", (a, a))]
                    )
                )
                arguments[j] = name
        statements.append(Statement(s.target, s.function, tuple(arguments)))
    return program.with_statements(statements)


def _recompute(program: Program, random: Random) -> Program:
    """Compute a value twice, and read the copy once."""
    statements = list(program.statements)
    for i in range(len(statements) - 1):
        a, b = statements[i : i + 2]
        if a.target not in a.arguments and a.target in b.arguments and random.random() < 0.7:
            j = b.arguments.index(a.target)
            arguments = (*b.arguments[:j], "copy", *b.arguments[j + 1 :])
            statements[i + 1] = Statement(b.target, b.function, arguments)
            statements.insert(i + 1, Statement("copy", a.function, a.arguments))
            break
    return program.with_statements(statements)


REWRITES: tuple[Callable[[Program, Random], Program], ...] = (
    _swap,
    _unfold,
    _recompute,
    _permute,
    _insert_dead,
    _rename,
)


# Trees ----------------------------------------------------------------------------------

SPECIAL = np.array(
    [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-40, -1e-44, 3e38, -2e-38, 1e19, 1e-20],
    np.float32,
)
MODES = ("normal", "scales", "special", "mixed", "zero", "equal")


def values(mode: str, size: int, seed: int) -> np.ndarray:
    """`size` float32 values: of order 1, of all scales, special ones, or a mix."""
    random = np.random.default_rng(seed)
    normal = random.normal(size=size)
    scales = np.copysign(10 ** random.uniform(-38, 38, size), normal)
    special = random.choice(SPECIAL, size)
    mixed = np.choose(random.integers(0, 4, size), [normal, scales, special, normal])
    sets = {"normal": normal, "scales": scales, "special": special, "mixed": mixed}
    sets |= {"zero": np.zeros(size), "equal": np.full(size, normal[:1].sum())}
    return sets[mode].astype(np.float32)


def tree(layout: Layout, mode: str, seed: int) -> list[np.ndarray]:
    """A tree of a layout."""
    parts = np.split(values(mode, sum(layout.counts), seed), np.cumsum(layout.counts)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, layout.shapes, strict=True)]


modes = st.sampled_from(MODES)
seeds = st.integers(0, 2**32 - 1)


# Machines -------------------------------------------------------------------------------

#: Several arrays with an empty and a 0-d one; one number; one element beside an empty
#: array; vectors longer than a SIMD register.
LAYOUTS = (
    Layout(((3, 4), (), (5,), (0, 2), (2, 2, 2))),
    Layout(((),)),
    Layout(((1,), (0,))),
    Layout(((17,), (33, 3))),
)
ROWS, LENGTH = 64, 64


def paper_signatures(function: Function) -> dict[tuple[str, ...], str]:
    """Those without rows and columns, which `test_extended` tries."""
    found = function.signatures.items()
    return {kinds: kind for kinds, kind in found if not {ROW, COLUMN} & set(kinds)}


class PerArray(reference.Tree):
    """A per-array value: a tree whose arrays may be 0-d too cannot tell by itself."""


def kind(value: np.float32 | reference.Tree) -> str:
    """The kind of a value of the reference interpreter."""
    if isinstance(value, PerArray):
        return PER_ARRAY
    return TREE if isinstance(value, reference.Tree) else SCALAR


@dataclass(frozen=True)
class Machine:
    """A compiled machine; `execute` takes and gives NumPy arrays."""

    layout: Layout

    def __post_init__(self) -> None:
        layout = self.layout
        compiled = jax.jit(lambda code, registers: machine.execute(layout, code, registers))
        object.__setattr__(self, "_compiled", compiled)

    def execute(self, code: machine.Code, registers: np.ndarray) -> np.ndarray:
        return np.array(self._compiled(code, registers))  # type: ignore[attr-defined]

    def instruct(self, registers: np.ndarray, instruction: np.ndarray) -> np.ndarray:
        """The row that one instruction computes; the capacity is the shared one."""
        table = np.zeros((LENGTH, 5), np.int32)
        table[0] = instruction
        code = machine.Code(
            table,
            np.int32(1),
            np.zeros(len(registers), np.float32),
            np.int32(0),
            np.zeros(len(registers), bool),
            np.int32(0),
        )
        return self.execute(code, registers)[instruction[4]]

    def apply(self, name: str, *operands: np.float32 | reference.Tree) -> np.ndarray:
        """One function of the table on values like those of `reference.apply`: a row."""
        registers = np.zeros((ROWS, self.layout.size), np.float32)
        for i, operand in enumerate(operands):
            registers[i] = self.row(operand)
        branch = machine.branch_of(BY_NAME[name], tuple(kind(x) for x in operands))
        opcode = machine.BRANCHES.index(branch)
        return self.instruct(registers, np.array([opcode, 0, 1, 2, len(operands)]))

    def row(self, value: np.float32 | reference.Tree) -> np.ndarray:
        """How the machine holds a value: a scalar before noise, per-array values repeated."""
        if kind(value) == SCALAR:
            noise = np.resize(np.float32([np.nan, np.inf, 3.0]), self.layout.size)
            noise[0] = value
            return noise
        if kind(value) == PER_ARRAY:
            return np.repeat(np.array(value.leaves, np.float32), self.layout.places)
        return self.flatten(value.leaves)

    def value(self, row: np.ndarray, kind: str) -> np.float32 | PerArray | reference.Tree:
        """The value in a row."""
        if kind == SCALAR:
            return np.float32(row[0])
        if kind == PER_ARRAY:
            return PerArray([np.asarray(row[start]) for start in self.layout.starts])
        return reference.Tree(self.layout.unflatten(row))

    def flatten(self, leaves: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(self.layout.flatten(leaves))

    def start(self, code: machine.Code, weights: Sequence[np.ndarray]) -> np.ndarray:
        return np.array(machine.start(self.layout, code, self.flatten(weights)))


@cache
def compiled(layout: Layout) -> Machine:
    """The machine of a layout; it compiles once per capacity."""
    return Machine(layout)


def replay_reference(
    program: Program,
    weights: list[np.ndarray],
    gradients: Sequence[list[np.ndarray]],
    rate: float,
    disturbed: Callable[[list[np.ndarray]], list[np.ndarray]] = list,
) -> list[list[np.ndarray]]:
    """The update of every step by the reference interpreter; the weights follow.

    `disturbed` is what becomes of weights and slots between steps.
    """
    slots = reference.zero_slots(program, weights)
    updates = []
    for gradient in gradients:
        update, slots = reference.run_step(program, weights, gradient, slots, rate)
        slots = {name: disturbed(slot) for name, slot in slots.items()}
        weights = disturbed(_stepped(weights, update))
        updates.append(update)
    return updates


def replay_machine(
    of: Machine,
    code: machine.Code,
    weights: list[np.ndarray],
    gradients: Sequence[list[np.ndarray]],
    rate: float,
) -> list[list[np.ndarray]]:
    """The update of every step by the register machine; the weights follow."""
    registers = of.start(code, weights)
    updates = []
    for gradient in gradients:
        registers[machine.GRADIENT_ROW] = of.flatten(gradient)
        registers[machine.RATE_ROW] = rate
        registers = of.execute(code, registers)
        update = of.layout.unflatten(registers[int(code.update)])
        weights = _stepped(weights, update)
        registers[machine.WEIGHTS_ROW] = of.flatten(weights)
        updates.append(update)
    return updates


def _stepped(weights: list[np.ndarray], update: list[np.ndarray]) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return [np.asarray(w - u) for w, u in zip(weights, update, strict=True)]


def bits(leaves: Sequence[np.ndarray]) -> list[bytes]:
    """The bits of a tree; NaNs are one, since no program can tell them apart."""
    return [np.where(np.isnan(leaf), np.float32(np.nan), leaf).tobytes() for leaf in leaves]
