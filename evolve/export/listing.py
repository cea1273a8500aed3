"""A lowered program's lines as Python source, on single arrays or on lists of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from evolve.export.expressions import Expression, Sum, Variable, parts, replaced, values
from evolve.export.lines import Line
from evolve.export.lowering import Lowered
from evolve.export.printing import Printer
from evolve.export.source import WIDTH
from primitives.functions import SCALAR

#: Names of elements, for comprehensions over several lists.
_ELEMENTS = ("x", "y", "z", "x4", "x5", "x6", "x7")


def array_lines(lowered: Lowered, printer: Printer) -> list[str]:
    """The lines as source on single arrays."""
    return [f"{line.target.name} = {printer.text(line.formula)}" for line in lowered.lines]


def list_lines(
    lowered: Lowered, printer: Printer, lists: Iterable[Expression] = (), depth: int = 4
) -> list[str]:
    """The lines as source on lists of arrays, with comprehensions.

    Arguments:
        lists: scalars that are lists too, of one number for each array.
        depth: how far to the right the source will stand.
    """
    writer = _ListWriter(printer, set(lists), depth)
    return [text for line in lowered.lines for text in writer.lines(line)]


@dataclass
class _ListWriter:
    printer: Printer
    lists: set[Expression]
    depth: int

    def __post_init__(self) -> None:
        self.printer = replace(self.printer, sum_whole=self._sum_whole)

    def lines(self, line: Line) -> list[str]:
        """One line; each sum over all arrays, and what is made of them, has a line before it."""
        formula, written = line.formula, []
        if not isinstance(formula, Sum):
            for i, total in enumerate(whole_sums(formula)):
                name = Variable("total" if i == 0 else f"total_{i + 1}")
                written.append(self._assignment(name, total))
                formula = replaced(formula, total, name)
            scale = _scale(formula) if written and formula.kind != SCALAR else None
            if scale is not None:
                written.append(self._assignment(Variable("scale"), scale))
                formula = replaced(formula, scale, Variable("scale"))
        return [*written, self._assignment(line.target, formula)]

    def _assignment(self, target: Variable, formula: Expression) -> str:
        listed = self._listed(formula)
        if target.kind == SCALAR:
            (self.lists.add if listed else self.lists.discard)(target)
        text = self._comprehension(formula, listed) if listed else self.printer.text(formula)
        line = f"{target.name} = {text}"
        if len(line) + self.depth <= WIDTH or not text.startswith("["):
            return line
        inner = text[1:-1]
        if len(inner) + self.depth + 4 > WIDTH:
            inner = "\n    for ".join(inner.rsplit(" for ", 1))
        return f"{target.name} = [\n    {inner}\n]"

    def _comprehension(self, formula: Expression, listed: Sequence[Variable]) -> str:
        names = dict(zip([v.name for v in listed], _ELEMENTS, strict=False))
        inner = replace(self.printer, rename=names).text(formula)
        if len(names) == 1:
            ((name, element),) = names.items()
            return f"[{inner} for {element} in {name}]"
        lists = ", ".join(names)
        return f"[{inner} for {', '.join(names.values())} in zip({lists}, strict=True)]"

    def _sum_whole(self, printer: Printer, of: Expression) -> str:
        return f"_tree_sum({self._comprehension(of, self._listed(of))})"

    def _listed(self, formula: Expression) -> list[Variable]:
        """The lists that a formula reads element by element."""
        if isinstance(formula, Sum) and formula.whole:
            return []
        return [v for v in values(formula) if v.kind != SCALAR or v in self.lists]


def whole_sums(formula: Expression) -> list[Expression]:
    """The distinct sums over all arrays in a formula."""
    if isinstance(formula, Sum) and formula.whole:
        return [formula]
    return list(dict.fromkeys(s for part in parts(formula) for s in whole_sums(part)))


def _scale(formula: Expression) -> Expression | None:
    """A number that is computed for all arrays at once, from their sum."""
    if formula.kind == SCALAR:
        return formula if any(v.name == "total" for v in values(formula)) else None
    return next((s for part in parts(formula) if (s := _scale(part)) is not None), None)
