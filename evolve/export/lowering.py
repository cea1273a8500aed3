"""From a program to lines and hyperparameters, before any framework.

The live statements become `Line`s. Every constant becomes a hyperparameter,
named by its role; what is computed from constants alone is one constant. Where
the program multiplies the schedule with its peak the learning rate itself
stands: `lr * 0.001` is `lr`, bit for bit, and any other use of the schedule
sees `schedule = lr / peak_lr`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evolve.export.decay import Decay, find_decay
from evolve.export.expressions import Expression, Sum, Variable, is_shaped, parts
from evolve.export.lines import ZEROS, Line
from evolve.export.naming import new_names, renamed, slot_names
from primitives import reference
from primitives.abstract import analyse, live_program
from primitives.functions import COLUMN, PER_ARRAY, ROW, SCALAR, TREE
from primitives.program import GRADIENT, RATE, UPDATE, WEIGHTS, Program, Statement

#: The values that exist before the first line; `lr` is the peak times the schedule.
W, G = Variable(WEIGHTS, TREE), Variable(GRADIENT, TREE)
LR, SCHEDULE = Variable(RATE), Variable("schedule")
PEAK, DECAY = "peak_lr", "weight_decay"
#: What a constant does: it weighs two averaged terms, it decays the weights, or another thing.
BETA, CONSTANT = "beta", "constant"
#: A constant outside of these is no peak: the schedule would not survive the division.
_PEAKS = 1e-30, 1e30


@dataclass(frozen=True)
class Hyperparameter:
    """A constant of the program.

    Attributes:
        name: `b1`, `b2`, ... for the betas, `c1`, `c2`, ... for other constants.
        default: the float32 value it has in the program.
        role: BETA, DECAY, PEAK or CONSTANT.
    """

    name: str
    default: float
    role: str = CONSTANT

    @property
    def text(self) -> str:
        """The shortest decimal that reads back as the same float32."""
        text = str(np.float32(self.default)).replace("e+", "e")
        return text if np.isfinite(self.default) else f'float("{text}")'

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Between which values it makes sense; None where the program's own is not finite.

        A program whose own constant lies outside of what is usual is free of that bound.
        """
        low, high = {BETA: (0.0, 1.0), DECAY: (0.0, np.inf), PEAK: (0.0, np.inf)}.get(
            self.role, (-np.inf, np.inf)
        )
        if not np.isfinite(self.default):
            return None
        return (low, high) if low <= self.default <= high else (-np.inf, np.inf)


@dataclass(frozen=True)
class Lowered:
    """A program, ready to be written in any framework.

    Attributes:
        lines: what one step computes, in order.
        slots: the slots that live from step to step, each with its value after the step.
        update: what is subtracted from the weights.
        hyperparameters: the constants, without the peak.
        peak: the program's own peak learning rate; 1 when it has none.
        reads: which of the values that exist before the first line are read.
        kinds: the kind of each slot; a number has a copy for each array.
        decay: whether `weight_decay` is a hyperparameter; it is where the update is
            `direction + lr * weight_decay * w` and nothing else reads the weights.
    """

    lines: tuple[Line, ...]
    slots: tuple[tuple[str, Variable], ...]
    update: Variable
    hyperparameters: tuple[Hyperparameter, ...]
    peak: Hyperparameter
    reads: frozenset[Expression]
    kinds: tuple[str, ...]
    decay: bool

    @property
    def slot_names(self) -> tuple[str, ...]:
        """The names of the slots."""
        return tuple(name for name, _ in self.slots)

    @property
    def narrow(self) -> dict[str, str]:
        """The kinds of the slots that are no trees."""
        pairs = zip(self.slot_names, self.kinds, strict=True)
        return {name: kind for name, kind in pairs if kind != TREE}

    @property
    def shapes(self) -> dict[str, str]:
        """The functions of `runtime.narrow` that give the shapes of these."""
        names = {ROW: "_rows_of", COLUMN: "_columns_of", PER_ARRAY: "_one_of", SCALAR: "_one_of"}
        return {slot: names[kind] for slot, kind in self.narrow.items()}

    @property
    def shape_pairs(self) -> str:
        """The same as source: a tuple of pairs."""
        pairs = [f'("{slot}", {of})' for slot, of in self.shapes.items()]
        return f"({', '.join(pairs)}{',' if len(pairs) == 1 else ''})"

    @property
    def runtime(self) -> list[str]:
        """What of `runtime` narrow slots need."""
        return ["narrow"] if self.narrow else []

    @property
    def number_names(self) -> list[str]:
        """The slots that are one number; every array has a copy of it."""
        return [name for name, kind in self.narrow.items() if kind == SCALAR]

    @property
    def numbers(self) -> list[Expression]:
        """The same as values."""
        return [Variable(name) for name in self.number_names]

    def ended(self, arrays: str) -> list[str]:
        """What the slots end with, as source on lists of arrays of which one is called `arrays`."""
        own = self.number_names
        return [f"_copies({end.name}, {arrays})" if s in own else end.name for s, end in self.slots]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the hyperparameters, without the peak."""
        return tuple(h.name for h in self.hyperparameters)

    @property
    def betas(self) -> tuple[str, ...]:
        """The names of those that weigh two averaged terms."""
        return tuple(h.name for h in self.hyperparameters if h.role == BETA)

    @property
    def shaped(self) -> bool:
        """Whether a value depends on the rows and columns of arrays."""
        return any(is_shaped(line.formula) for line in self.lines)

    @property
    def whole_tree(self) -> bool:
        """Whether a value depends on more than one array."""
        return any(_sums_whole(line.formula) for line in self.lines)


def lower(program: Program, *, apart: bool = False) -> Lowered:
    """Take a valid program apart.

    Arguments:
        apart: leave a decoupled weight decay out of the lines (`decay` is still
            true), for frameworks that apply it themselves.
    """
    return _Lowering(program).result(apart)


def _sums_whole(formula: Expression) -> bool:
    if isinstance(formula, Sum) and formula.whole:
        return True
    return any(_sums_whole(part) for part in parts(formula))


class _Lowering:
    """One pass over the live statements; every line has a target of its own, named later."""

    def __init__(self, program: Program) -> None:
        analysis = analyse(program)
        live = [program.slots[position] for position, _ in analysis.slots]
        self.slots = slot_names(live)
        self.lines: list[Line] = []
        self.wanted: dict[str, str] = {}  # the name that the program gives each target
        self.constants: dict[str, float] = {}  # of the values that are constants
        self.betas: set[str] = set()
        self.peak: float | None = None
        self.env: dict[str, Variable] = {WEIGHTS: W, GRADIENT: G, RATE: SCHEDULE}
        self.kinds = {slot: program.kind_of(slot) for slot in self.slots}
        self.env |= {slot: Variable(name, self.kinds[slot]) for slot, name in self.slots.items()}
        for statement in live_program(program).statements:
            self._lower(statement)

    def result(self, apart: bool) -> Lowered:
        update, ends = self.env[UPDATE], [self.env[slot] for slot in self.slots]
        decay = find_decay(self.lines, update, ends, self.constants, (W, LR))
        names = self._hyperparameter_names(decay, ends)
        hyperparameters = [
            Hyperparameter(new, self.constants[old], self._role(old, decay))
            for old, new in names.items()
        ]
        lines = self.lines
        if decay and apart:
            lines, update = decay.removed_from(lines, update)
        names |= new_names(
            [line.target for line in lines],
            [line.arguments for line in lines],
            [update, *ends],
            [WEIGHTS, GRADIENT, *self.slots.values()],
            self.wanted,
            tuple(names.values()),
        )
        slots = zip(self.slots.values(), [_renamed(end, names) for end in ends], strict=True)
        return Lowered(
            lines=tuple(_renamed_line(line, names) for line in lines),
            slots=tuple(slots),
            update=_renamed(update, names),
            hyperparameters=tuple(hyperparameters),
            peak=Hyperparameter(PEAK, 1.0 if self.peak is None else self.peak, PEAK),
            reads=frozenset([*(a for line in lines for a in line.arguments), *ends])
            & {W, G, LR, SCHEDULE},
            kinds=tuple(self.kinds.values()),
            decay=decay is not None,
        )

    def _lower(self, statement: Statement) -> None:
        arguments = tuple(self._argument(a) for a in statement.arguments)
        known = [self.constants[a.name] for a in arguments if a.name in self.constants]
        if len(known) == len(arguments):
            folded = reference.apply(statement.function, *map(np.float32, known))
            self.env[statement.target] = self._constant(float(folded))
        elif self._is_peak(statement.function, arguments):
            self.env[statement.target] = LR
        else:
            if statement.function == "interp" and arguments[2].name in self.constants:
                self.betas.add(arguments[2].name)
            self._add(statement.target, statement.function, arguments)

    def _argument(self, argument: str | float) -> Variable:
        if isinstance(argument, float):
            return self._constant(argument)
        if argument not in self.env:  # a slot that is never written: zero for ever
            self._add(argument, ZEROS, (G,))
        return self.env[argument]

    def _constant(self, value: float) -> Variable:
        name = f"constant {len(self.constants)}"
        self.constants[name] = value
        return Variable(name)

    def _add(self, target: str, function: str, arguments: tuple[Variable, ...]) -> None:
        value = Variable(f"line {len(self.lines)}")
        value = replace(value, kind=Line(value, function, arguments).formula.kind)
        self.wanted[value.name] = self.slots.get(target, target)
        self.lines.append(Line(value, function, arguments))
        self.env[target] = value

    def _is_peak(self, function: str, arguments: tuple[Variable, ...]) -> bool:
        """Whether this is the schedule times the peak, which is the first such constant."""
        if function != "multiply" or SCHEDULE not in arguments:
            return False
        other = arguments[1] if arguments[0] == SCHEDULE else arguments[0]
        value = self.constants.get(other.name, 0.0)
        if self.peak is None and _PEAKS[0] <= value <= _PEAKS[1]:
            self.peak = value
        return value == self.peak

    def _hyperparameter_names(
        self, decay: Decay | None, ends: Sequence[Variable]
    ) -> dict[str, str]:
        """The names of the constants that lines read, and that slots end with."""
        names: dict[str, str] = {}
        count = Counter[str]()
        for name in _names([*(a for line in self.lines for a in line.arguments), *ends]):
            if name not in self.constants or name in names:
                continue
            role = self._role(name, decay)
            count[role] += 1
            names[name] = DECAY if role == DECAY else f"{role[0]}{count[role]}"
        return names

    def _role(self, constant: str, decay: Decay | None) -> str:
        if decay and constant == decay.constant:
            return DECAY
        return BETA if constant in self.betas else CONSTANT


def _names(values: Iterable[Expression]) -> Iterable[str]:
    return (value.name for value in values if isinstance(value, Variable))


def _renamed(value: Variable, names: dict[str, str]) -> Variable:
    return replace(value, name=names.get(value.name, value.name))


def _renamed_line(line: Line, names: dict[str, str]) -> Line:
    return Line(
        _renamed(line.target, names),
        line.function,
        tuple(renamed(argument, names) for argument in line.arguments),
    )
