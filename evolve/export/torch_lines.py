"""A program's lines in PyTorch.

Where no number of a program depends on tensors, its lines are written as `do.name(...)`, which
stands for the operation on one tensor or on a list of them (see `runtime.torch_elementwise`).
Programs with sums over all arrays, or with functions of single numbers, are written as
comprehensions in which each tensor brings its own hyperparameters, as 0-d tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

from evolve.export import listing
from evolve.export.expressions import (
    SHAPED,
    Binary,
    Call,
    Expression,
    Negative,
    Number,
    Sum,
    Variable,
)
from evolve.export.lines import Line
from evolve.export.lowering import DECAY, LR, SCHEDULE, Lowered
from evolve.export.printing import Printer
from primitives.functions import SCALAR

#: Functions of the table that PyTorch has under another name, or treats otherwise.
NAMES = {"power": "torch.pow", "sign": "_sign", "cbrt": "_cbrt", **SHAPED}
_OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div"}
#: Functions that `do` has.
_DO = {
    "arccos": "acos",
    "arcsin": "asin",
    "arctan": "atan",
    **{name: name for name in ["abs", "cos", "cosh", "exp", "expm1", "log", "log10", "log2"]},
    **{name: name for name in ["sin", "sinh", "sqrt", "tan", "tanh"]},
}
#: What Python computes with numbers as the table does, and without exceptions.
_PLAIN = frozenset({"add", "subtract", "multiply", "negative", "square", "cube"})


def elementwise(lowered: Lowered) -> bool:
    """Whether no number depends on tensors, and tensors are only multiplied with the schedule.

    Nor does anything see rows and columns, which tensors computed together would not have. The
    learning rate may itself be a tensor, which not every operation on lists takes.
    """
    numbers = [line.function for line in lowered.lines if line.target.kind == SCALAR]
    if lowered.whole_tree or lowered.shaped or lowered.narrow or not set(numbers) <= _PLAIN:
        return False
    varying: set[Expression] = {LR, SCHEDULE}
    for line in lowered.lines:
        if not varying & set(line.arguments):
            varying.discard(line.target)
        elif line.target.kind == SCALAR:
            varying.add(line.target)
        elif line.function != "multiply":
            return False
    return True


def whole_lines(lowered: Lowered) -> list[str]:
    """The lines with comprehensions; numbers are lists of 0-d tensors."""
    numbers = [LR, SCHEDULE, *lowered.numbers, *(Variable(name) for name in lowered.names)]
    lines = listing.list_lines(lowered, _PRINTER, numbers, depth=8)
    return [*lines, f"for x, y in zip(w, {lowered.update.name}, strict=True):", "    x.sub_(y)"]


def elementwise_lines(lowered: Lowered) -> list[str]:
    """The lines with `do`; an average that is a slot is updated in place."""
    lines, last = list(lowered.lines), f"do.sub_(w, {lowered.update.name})"
    direction = _direction(lowered)
    signed = None
    if direction is not None:
        lines.pop()
        signed = _final_sign(lowered, direction)
        rate = "lr" if signed is None else "lr / (2.0 * info.eps)"
        last = f"_subtract(do, w, {direction.name}, {rate})"
    writer = _Writer(set(lowered.slot_names))
    written = []
    for i, line in enumerate(lines):
        later = [a for other in lines[i + 1 :] for a in other.arguments]
        kept = {*later, *(end for _, end in lowered.slots)}
        names = {value.name for value in kept if isinstance(value, Variable)}
        written.append(writer.line(line, i == signed, names))
    if lowered.decay:
        written += [f"if {DECAY} != 0:", f"    _decay(do, w, 1.0 - lr * {DECAY})"]
    return [*written, last]


def _direction(lowered: Lowered) -> Variable | None:
    """What the last line multiplies with the learning rate to give the update."""
    if not lowered.lines:
        return None
    line, ends = lowered.lines[-1], [end for _, end in lowered.slots]
    if line.target != lowered.update or line.target in ends or line.function != "multiply":
        return None
    others = [a for a in line.arguments if a != LR]
    if len(others) != 1 or not isinstance(others[0], Variable) or others[0].kind == SCALAR:
        return None
    return others[0]


def _final_sign(lowered: Lowered, direction: Variable) -> int | None:
    """The line that takes the sign of something, when only the last line reads it."""
    lines = lowered.lines[:-1]
    made = [i for i, line in enumerate(lines) if line.target == direction]
    if not made or lines[made[-1]].function != "sign":
        return None
    later = [line for line in lines[made[-1] + 1 :] if direction in line.arguments]
    return None if later or direction in [end for _, end in lowered.slots] else made[-1]


class _ListPrinter(Printer):
    def _call(self, call: Call) -> str:
        bound = _with_number(call)
        if bound is not None:
            side = {"minimum": "max", "maximum": "min"}[call.function]
            return f"torch.clamp({self.text(bound[0])}, {side}={self.text(bound[1])})"
        return super()._call(call)


_PRINTER = _ListPrinter(
    prefix="torch.", names=NAMES, sum_array=lambda p, of: f"torch.sum({p.text(of)})"
)


def _with_number(call: Call) -> tuple[Expression, Expression] | None:
    """What is bounded and the number that bounds it; None for anything else."""
    if call.function not in ("minimum", "maximum"):
        return None
    left, right = call.arguments
    if isinstance(right, Number):
        return left, right
    return (right, left) if isinstance(left, Number) else None


class _Writer:
    """Writes lines in order; knows which names stand for new tensors, and which for slots."""

    def __init__(self, slots: set[str]) -> None:
        self.slots = slots
        self.own: set[str] = set()

    def line(self, line: Line, scaled: bool, kept: set[str]) -> str:
        """One line; `scaled` writes a sign as `_signs`, which changes its argument.

        `kept` are the names that are read later on.
        """
        name = line.target.name
        average = _lerp(line) if line.function == "interp" else None
        if average is not None and name in self.slots and average[0] == name:
            return f"do.lerp_({', '.join(average)})"
        self.slots.discard(name)
        if scaled:
            (of,) = line.arguments
            assert isinstance(of, Variable)
            free = of.name in self.own and (of.name == name or of.name not in kept)
            given = of.name if free else f"do.mul({of.name}, 1.0)"
            text = f"_signs(do, info, {given})"
        elif average is not None:
            text = f"do.lerp({', '.join(average)})"
        else:
            text = _Do().text(line.formula)
        self.own.add(name)
        return f"{name} = {text}"


def _lerp(line: Line) -> tuple[str, str, str] | None:
    """An interpolation of two trees: where it starts, where it ends, and how far it goes."""
    x, y, a = line.arguments
    if SCALAR in (x.kind, y.kind) or x.kind != y.kind or a.kind != SCALAR:
        return None
    names = [v.name for v in (x, y, a) if isinstance(v, Variable)]
    if len(names) < 3:
        return None
    if names[0] == line.target.name:
        return names[0], names[1], names[2]
    return names[1], names[0], f"1.0 - {names[2]}"


@dataclass(frozen=True)
class _Do:
    """Writes formulas in which trees are what `do` takes and scalars are numbers."""

    def text(self, formula: Expression) -> str:
        if formula.kind == SCALAR:
            return Printer().text(formula)
        match formula:
            case Variable(name=name):
                return name
            case Negative(of=of):
                return f"do.neg({self.text(of)})"
            case Sum(of=of):
                return f"do.each(torch.sum, {self.text(of)})"
            case Binary():
                return self._binary(formula)
            case Call():
                return self._call(formula)
        raise TypeError(f"no formula: {formula!r}")

    def _binary(self, formula: Binary) -> str:
        name, left, right = _OPERATORS[formula.operator], formula.left, formula.right
        if left.kind == SCALAR:
            if formula.operator in "-/":
                number = _closed(self.text(left))
                return self._lambda(f"{number} {formula.operator} x", right)
            left, right = right, left
        return f"do.{name}({self.text(left)}, {self.text(right)})"

    def _call(self, call: Call) -> str:
        texts = [self.text(a) for a in call.arguments]
        kinds = [a.kind for a in call.arguments]
        match call.function:
            case "minimum" | "maximum" if SCALAR in kinds:
                number, of = texts if kinds[0] == SCALAR else texts[::-1]
                side = {"minimum": "max", "maximum": "min"}[call.function]
                return f"do.clamp_{side}({of}, {number})"
            case "minimum" | "maximum":
                return f"do.{call.function}({', '.join(texts)})"
            case "power" if kinds[0] == SCALAR:
                return self._lambda(f"torch.pow({texts[0]}, x)", call.arguments[1])
            case "power":
                return f"do.pow({', '.join(texts)})"
        if call.function in _DO:
            return f"do.{_DO[call.function]}({texts[0]})"
        name = NAMES.get(call.function, f"torch.{call.function}")
        return f"do.each({name}, {texts[0]})"

    def _lambda(self, body: str, of: Expression) -> str:
        return f"do.each(lambda x: {body}, {self.text(of)})"


def _closed(text: str) -> str:
    return f"({text})" if " " in text else text
