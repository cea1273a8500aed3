"""Programs as frozen values.

A program is a straight-line function `train(w, g, <slots>, lr) -> update, <slots>`:
`w` the weights, `g` the gradient, `lr` the value of the schedule (peak 1), and
any number of *slots*, which start at zero and live from step to step. They are
trees, as all are in the paper, unless another kind is written behind the name
(`v: row`). The training loop does `w = w - update`. (arXiv 2302.06675, section 2.1.)
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from primitives.functions import BY_NAME, KINDS, SCALAR, TREE

#: An argument: the name of a variable, or a constant (a float32 value).
Argument: TypeAlias = str | float

WEIGHTS, GRADIENT, RATE, UPDATE = "w", "g", "lr", "update"
_RESERVED = frozenset({WEIGHTS, GRADIENT, RATE, UPDATE, "train"}) | BY_NAME.keys()


class ProgramError(ValueError):
    """A text or a value is not a valid program; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Statement:
    """`target = function(*arguments)`."""

    target: str
    function: str
    arguments: tuple[Argument, ...]

    def with_argument(self, position: int, argument: Argument) -> Statement:
        """The same with another argument at a position (from 0)."""
        arguments = (*self.arguments[:position], argument, *self.arguments[position + 1 :])
        return Statement(self.target, self.function, arguments)


@dataclass(frozen=True, slots=True)
class Program:
    """A straight-line program.

    Attributes:
        statements: executed in order.
        slots: the names of what it remembers, in the order of the signature.
        narrow: slots that are no trees, with their kinds, in that order.
        memo: what others found of the program before, by keys of their own; no part of it.

    Raises:
        ProgramError: if a slot's name is repeated, reserved or no identifier.
    """

    statements: tuple[Statement, ...]
    slots: tuple[str, ...] = ("m", "v")
    narrow: tuple[tuple[str, str], ...] = ()
    memo: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        for slot in self.slots:
            check_name(slot)
            if slot in (WEIGHTS, GRADIENT, RATE, UPDATE):
                raise ProgramError(f"'{slot}' cannot be the name of a slot; choose another name")
        if len(set(self.slots)) < len(self.slots):
            raise ProgramError(f"a slot is named twice in {', '.join(self.slots)}; rename one")
        for slot, kind in self.narrow:
            if kind not in KINDS[:-1] or slot not in self.slots:
                raise ProgramError(f"'{slot}' cannot be a {kind}; the kinds are {', '.join(KINDS)}")

    @property
    def constants(self) -> tuple[float, ...]:
        """The constants among the arguments, in order."""
        return tuple(
            a for statement in self.statements for a in statement.arguments if isinstance(a, float)
        )

    def with_statements(self, statements: Iterable[Statement]) -> Program:
        """The same slots with other statements."""
        return Program(tuple(statements), self.slots, self.narrow)

    def kind_of(self, slot: str) -> str:
        """The kind of a slot."""
        return dict(self.narrow).get(slot, TREE)

    def inputs(self) -> dict[str, str]:
        """The kind of each variable that exists before the first statement."""
        kinds = {WEIGHTS: TREE, GRADIENT: TREE}
        kinds.update((slot, TREE) for slot in self.slots)
        kinds.update(self.narrow)
        kinds[RATE] = SCALAR
        return kinds


def check_name(name: str) -> None:
    """Raise `ProgramError` unless `name` can name a variable."""
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise ProgramError(f"'{name}' is not a name; use letters, digits and _")
    if name in _RESERVED and name not in (WEIGHTS, GRADIENT, RATE, UPDATE):
        raise ProgramError(f"'{name}' is the name of a function; choose another variable name")


def constant(value: float) -> float:
    """`value` rounded to float32, as every constant of a program is.

    Raises:
        ProgramError: if it is NaN, or too large for float32.
    """
    with np.errstate(over="ignore"):
        rounded = float(np.float32(value))
    if not np.isfinite(rounded):
        raise ProgramError(f"the constant {value!r} is not a finite float32; use a smaller one")
    return rounded
