"""A line of a lowered program."""

from __future__ import annotations

from dataclasses import dataclass

from evolve.export.expressions import Call, Expression, Variable, computed

#: The function of a line that is no function of the table.
ZEROS = "zeros_like"


@dataclass(frozen=True)
class Line:
    """`target = function(*arguments)`; a function of the table, or `zeros_like`."""

    target: Variable
    function: str
    arguments: tuple[Expression, ...]

    @property
    def formula(self) -> Expression:
        """What the table says that the function computes."""
        if self.function == ZEROS:
            return Call(ZEROS, self.arguments)
        return computed(self.function, *self.arguments)
