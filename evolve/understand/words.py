"""What a program does, in words: for an optimizer that has no name."""

from __future__ import annotations

from collections import Counter

from primitives.abstract import analyse
from primitives.program import GRADIENT, RATE, UPDATE, WEIGHTS, Program
from primitives.values import Operand, Value, values_of

_VARIABLES = {GRADIENT: "the gradient", WEIGHTS: "the weights", RATE: "the schedule"}
_OF = {
    "sign": "the sign of",
    "abs": "the size of",
    "sqrt": "the square root of",
    "square": "the square of",
    "cube": "the cube of",
    "cbrt": "the cube root of",
    "reciprocal": "one over",
    "negative": "minus",
    "row_mean": "the row means of",
    "column_mean": "the column means of",
    "matrix_sign": "the polar factor of",
    "matrix_cube": "the matrix cube of",
}
_BETWEEN = {"add": "plus", "subtract": "less", "multiply": "times", "divide": "over"}


def described(program: Program) -> str:
    """What each step is but for its size: `the sign of m, where m is a moving average of ...`.

    Raises:
        ProgramError: if what is computed from constants alone is not finite.
    """
    return _Words(*values_of(analyse(program), program.slots)).whole()


class _Words:
    def __init__(self, values: list[Value], ends: dict[str, Operand]) -> None:
        self._values, self._ends = values, ends
        self._slots = {end: slot for slot, end in ends.items() if slot != UPDATE}
        uses = Counter(a for value in values for a in value.arguments if isinstance(a, int))
        uses.update(end for end in ends.values() if isinstance(end, int))
        #: What is told once, under a name: each slot, and what is used again.
        self._names: dict[Operand, str] = {}
        for index, value in enumerate(values):
            if index in self._slots:
                self._names[index] = self._slots[index].partition(".")[0]
            elif uses[index] > 1 and not self._is_size(index) and len(value.arguments) > 1:
                self._names[index] = f"x{len(self._names)}"

    def whole(self) -> str:
        """The update, then what its names stand for."""
        told = [self._text(self._ends[UPDATE], UPDATE)]
        where = [f"{name} is {self._text(index, name)}" for index, name in self._names.items()]
        return told[0] + (f", where {'; '.join(where)}" if where else "")

    def _is_size(self, operand: Operand) -> bool:
        """Whether it is a number, or made of numbers and the schedule."""
        if isinstance(operand, int):
            return all(self._is_size(a) for a in self._values[operand].arguments)
        return not isinstance(operand, str) or operand == RATE

    def _text(self, operand: Operand, telling: str = "") -> str:
        """A value; one with a name is told in full where `telling` is that name."""
        if not isinstance(operand, int):
            if isinstance(operand, str):
                return _VARIABLES.get(operand, operand.partition(".")[0])
            return f"{operand:g}"
        name = self._names.get(operand)
        if name is not None and telling != name:
            return name
        return self._function(self._values[operand], telling)

    def _function(self, value: Value, telling: str) -> str:
        function, arguments = value
        sizes = [self._is_size(a) for a in arguments]
        scaled = any(sizes) if function == "multiply" else function == "divide" and sizes[1]
        if scaled and not all(sizes):
            return self._text(arguments[sizes.index(False)])
        if function == "interp":
            first, second = arguments[:2]
            slot = next((s for s in self._ends if s.partition(".")[0] == telling), None)
            if slot in (first, second) and slot is not None:
                return f"a moving average of {self._part(second if first == slot else first)}"
            return f"a mixture of {self._part(first)} and {self._part(second)}"
        if function == "clip":
            return f"{self._part(arguments[0])} clipped at {self._part(arguments[1])}"
        if function in _BETWEEN:
            parts = [
                f"({p})" if " of " in p and p[0] != "(" else p for p in map(self._part, arguments)
            ]
            return f" {_BETWEEN[function]} ".join(parts)
        of = _OF.get(function, f"the {function.replace('_', ' ')} of")
        return f"{of} {' and '.join(map(self._part, arguments))}"

    def _part(self, operand: Operand) -> str:
        """In brackets, where it is of several words that could be read otherwise."""
        text = self._text(operand)
        return f"({text})" if any(f" {word} " in text for word in _JOINING) else text


_JOINING = (*_BETWEEN.values(), "and", "clipped at")
