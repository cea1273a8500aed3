"""A program's lines in PyTorch, on lists of tensors.

Where every number is a plain one the lines use `torch._foreach_*`. Programs
with sums over all arrays, or with functions of single numbers, are written as
comprehensions in which each tensor brings its own hyperparameters, as 0-d tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

from evolve.export import listing, source
from evolve.export.expressions import Binary, Call, Expression, Negative, Number, Sum, Value
from evolve.export.lowering import DECAY, LR, SCHEDULE, Line, Lowered
from evolve.export.printing import Printer
from primitives.functions import SCALAR

#: Functions of the table that PyTorch has under another name, or treats otherwise.
NAMES = {"power": "torch.pow", "sign": "_sign", "cbrt": "_cbrt"}
_EACH = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_OPERATORS = {operator: name for name, operator in _EACH.items()}
#: Functions with a `torch._foreach_` form.
_FOREACH = {
    "arccos": "acos",
    "arcsin": "asin",
    "arctan": "atan",
    **{name: name for name in ["abs", "cos", "cosh", "exp", "expm1", "log", "log10", "log2"]},
    **{name: name for name in ["sin", "sinh", "sqrt", "tan", "tanh"]},
}
#: What Python computes with numbers as the table does, and without exceptions.
_PLAIN = frozenset({"add", "subtract", "multiply", "negative", "square", "cube"})


def plain(lowered: Lowered) -> bool:
    """Whether the lines can be written with `torch._foreach_*` and plain numbers."""
    numbers = [line.function for line in lowered.lines if line.target.kind == SCALAR]
    return not lowered.whole_tree and set(numbers) <= _PLAIN


def list_step(lowered: Lowered) -> str:
    """`_step` with comprehensions; numbers are lists of 0-d tensors."""
    numbers = [LR, SCHEDULE, *(Value(name) for name in lowered.names)]
    lines = listing.list_lines(lowered, _PRINTER, numbers)
    return _function(lowered, [*lines, f"torch._foreach_sub_(w, {lowered.update.name})"])


def foreach_step(lowered: Lowered) -> str:
    """`_step` with `torch._foreach_*`; an average that is a slot is updated in place."""
    lines, last = list(lowered.lines), f"torch._foreach_sub_(w, {lowered.update.name})"
    direction = _direction(lowered)
    signed = None
    if direction is not None:
        lines.pop()
        last = f"_subtract(w, {direction.name}, lr)"
        signed = _final_sign(lowered, direction)
    writer = _Writer(set(lowered.slot_names))
    written = [text for i, line in enumerate(lines) for text in writer.lines(line, i == signed)]
    if signed is not None:
        last = f"_subtract(w, {direction.name}, lr / _BOUND)"  # type: ignore[union-attr]
    if lowered.decay:
        written += [f"if {DECAY} != 0:", f"    torch._foreach_mul_(w, 1.0 - lr * {DECAY})"]
    return _function(lowered, [*written, last])


def _function(lowered: Lowered, lines: list[str]) -> str:
    numbers = [LR.name, *([SCHEDULE.name] if SCHEDULE in lowered.reads else []), *lowered.names]
    head = source.one_line("def _step", ["w", "g", *lowered.slot_names, *numbers])
    ends = ", ".join(["w", *(end.name for _, end in lowered.slots)])
    ends = ends if lowered.slots else "(w,)"
    what = '"""The lists of weights, which change in place, and of slots after the step."""'
    return head + "\n" + source.indented("\n".join([what, *lines, f"return {ends}"]))


def _direction(lowered: Lowered) -> Value | None:
    """What the last line multiplies with the learning rate to give the update."""
    if not lowered.lines:
        return None
    line, ends = lowered.lines[-1], [end for _, end in lowered.slots]
    if line.target != lowered.update or line.target in ends or line.function != "multiply":
        return None
    others = [a for a in line.arguments if a != LR]
    if len(others) != 1 or not isinstance(others[0], Value) or others[0].kind == SCALAR:
        return None
    return others[0]


def _final_sign(lowered: Lowered, direction: Value) -> int | None:
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

    def lines(self, line: Line, clamped: bool) -> list[str]:
        """One line; `clamped` writes a sign as a multiple of `_BOUND`."""
        name = line.target.name
        average = _lerp(line) if line.function == "interp" else None
        if average is not None and name in self.slots and average[0] == name:
            return [f"torch._foreach_lerp_({', '.join(average)})"]
        if clamped:
            (of,) = line.arguments
            assert isinstance(of, Value)
            clamp = "clamp_" if of.name == name and name in self.own else "clamp"
            text = f"[x.{clamp}(-_BOUND, _BOUND) for x in {of.name}]"
            return ["# The sign times _BOUND; torch.sign would make 0 of NaN.", f"{name} = {text}"]
        self.slots.discard(name)
        self.own.add(name)
        if average is not None:
            return [f"{name} = torch._foreach_lerp({', '.join(average)})"]
        if line.function == "interp":
            return listing.list_line(line, _PRINTER)
        return [f"{name} = {_Foreach().text(line.formula)}"]


def _lerp(line: Line) -> tuple[str, str, str] | None:
    """An interpolation of two lists: where it starts, where it ends, and how far it goes."""
    x, y, a = line.arguments
    if SCALAR in (x.kind, y.kind) or x.kind != y.kind:
        return None
    names = [v.name for v in (x, y, a) if isinstance(v, Value)]
    if len(names) < 3:
        return None
    if names[0] == line.target.name:
        return names[0], names[1], names[2]
    return names[1], names[0], f"1.0 - {names[2]}"


@dataclass(frozen=True)
class _Foreach:
    """Writes formulas in which trees are lists and scalars are numbers."""

    def text(self, formula: Expression) -> str:
        if formula.kind == SCALAR:
            return Printer().text(formula)
        match formula:
            case Value(name=name):
                return name
            case Negative(of=of):
                return f"torch._foreach_neg({self.text(of)})"
            case Sum(of=of):
                return f"[torch.sum(x) for x in {self.text(of)}]"
            case Binary():
                return self._binary(formula)
            case Call():
                return self._call(formula)
        raise TypeError(f"no formula: {formula!r}")

    def _binary(self, formula: Binary) -> str:
        name, left, right = _OPERATORS[formula.operator], formula.left, formula.right
        if left.kind == SCALAR:
            if formula.operator in "-/":
                number = _Foreach._closed(self.text(left))
                return f"[{number} {formula.operator} x for x in {self.text(right)}]"
            left, right = right, left
        return f"torch._foreach_{name}({self.text(left)}, {self.text(right)})"

    def _call(self, call: Call) -> str:
        texts = [self.text(a) for a in call.arguments]
        kinds = [a.kind for a in call.arguments]
        match call.function:
            case "minimum" | "maximum" if SCALAR in kinds:
                number, of = texts if kinds[0] == SCALAR else texts[::-1]
                side = {"minimum": "max", "maximum": "min"}[call.function]
                return f"torch._foreach_clamp_{side}({of}, {number})"
            case "minimum" | "maximum":
                return f"torch._foreach_{call.function}({', '.join(texts)})"
            case "power":
                return f"torch._foreach_pow({', '.join(texts)})"
        if call.function in _FOREACH:
            return f"torch._foreach_{_FOREACH[call.function]}({texts[0]})"
        name = NAMES.get(call.function, f"torch.{call.function}")
        return f"[{name}(x) for x in {texts[0]}]"

    @staticmethod
    def _closed(text: str) -> str:
        return f"({text})" if " " in text else text
