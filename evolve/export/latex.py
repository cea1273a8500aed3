r"""The LaTeX target: the step as an `align*` environment (needs `amsmath`).

`\beta_1` and its like are interpolations, `\lambda` a decoupled weight decay,
`\eta` the learning rate and `s` the schedule. The bare `\sum` goes over all arrays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from evolve.export.expressions import Binary, Call, Expression, Negative, Number, Sum, Variable
from evolve.export.lowering import DECAY, LR, PEAK, SCHEDULE, Lowered, W, lower
from primitives.functions import PER_ARRAY
from primitives.program import Program

_PLAIN = "cos sin tan arcsin arccos arctan sinh cosh tanh exp log"
_OPERATORS = {name: rf"\{name}" for name in _PLAIN.split()}
_SUM, _PRODUCT, _ATOM = range(3)


def emit(program: Program, name: str, provenance: Mapping[str, str]) -> str:
    """An `align*` environment, after comments with the provenance."""
    lowered = lower(program)
    lines = [f"% {name}", *(f"% {key}: {value}" for key, value in provenance.items())]
    lines += [r"\begin{align*}", *_rows(lowered), r"\end{align*}"]
    return "\n".join(lines) + "\n"


def _rows(lowered: Lowered) -> list[str]:
    rows = [rf"    s &\leftarrow \eta / {_symbol(PEAK)}"] if SCHEDULE in lowered.reads else []
    rows += [
        rf"    {_text(line.target)} &\leftarrow {_text(line.formula)}" for line in lowered.lines
    ]
    rows.append(rf"    w &\leftarrow w - {_text(lowered.update)}")
    constants = [*lowered.hyperparameters, lowered.peak]
    given = ",\\; ".join(f"{_symbol(h.name)} = {_number(h.default)}" for h in constants)
    rows.append(rf"    & {given}")
    return [row + r" \\" for row in rows[:-1]] + rows[-1:]


def _text(formula: Expression) -> str:
    return _bound(formula)[0]


def _bound(formula: Expression) -> tuple[str, int]:
    match formula:
        case Variable(name=name):
            return _symbol(name), _ATOM
        case Number(value=value):
            return _number(value), _ATOM
        case Negative(of=of):
            return f"-{_within(of, _PRODUCT)}", _SUM
        case Binary(operator="/", left=left, right=right):
            return rf"\frac{{{_text(left)}}}{{{_text(right)}}}", _ATOM
        case Binary(operator="*", left=left, right=right):
            sign = r" \cdot " if isinstance(right, Number) else r" \, "
            return f"{_within(left, _PRODUCT)}{sign}{_within(right, _ATOM)}", _PRODUCT
        case Binary(operator=operator, left=left, right=right):
            return f"{_within(left, _SUM)} {operator} {_within(right, _PRODUCT)}", _SUM
        case Sum(of=of):
            below = r"_{\text{array}}" if formula.kind == PER_ARRAY else ""
            return rf"\sum{below} {_within(of, _PRODUCT)}", _PRODUCT
        case Call():
            return _call(formula)
    raise TypeError(f"no formula: {formula!r}")


def _call(call: Call) -> tuple[str, int]:
    texts = [_text(a) for a in call.arguments]
    match call.function:
        case "abs":
            return rf"\left|{texts[0]}\right|", _ATOM
        case "sqrt":
            return rf"\sqrt{{{texts[0]}}}", _ATOM
        case "cbrt":
            return rf"\sqrt[3]{{{texts[0]}}}", _ATOM
        case "power":
            return f"{{{_within(call.arguments[0], _ATOM)}}}^{{{texts[1]}}}", _PRODUCT
        case "log2" | "log10":
            return rf"\log_{{{call.function[3:]}}}\left({texts[0]}\right)", _ATOM
        case "zeros_like":
            return "0", _ATOM
        case "row_mean" | "column_mean":
            below = {"row_mean": "columns", "column_mean": "rows"}[call.function]
            return rf"\operatorname{{mean}}_{{\text{{{below}}}}}\left({texts[0]}\right)", _ATOM
        case "matrix_sign":
            return rf"\operatorname{{msign}}\left({texts[0]}\right)", _ATOM
        case "matrix_cube":
            return rf"\operatorname{{mcube}}\left({texts[0]}\right)", _ATOM
    name = {"minimum": r"\min", "maximum": r"\max"}.get(
        call.function, _OPERATORS.get(call.function)
    )
    name = name or rf"\operatorname{{{call.function}}}"
    return rf"{name}\left({', '.join(texts)}\right)", _ATOM


def _within(formula: Expression, level: int) -> str:
    text, own = _bound(formula)
    return text if own >= level else rf"\left({text}\right)"


def _symbol(name: str) -> str:
    """A letter with its index, or an upright word."""
    known = {W.name: "w", LR.name: r"\eta", SCHEDULE.name: "s"}
    known |= {PEAK: r"\eta_{\max}", DECAY: r"\lambda"}
    if name in known:
        return known[name]
    match = re.fullmatch(r"([A-Za-z]+?)_?(\d*)", name)
    if match is None or len(match[1]) > 1:
        escaped = name.replace("_", r"\_")
        return rf"\mathit{{{escaped}}}"
    letter = r"\beta" if match[1] == "b" and match[2] else match[1]
    return f"{letter}_{{{match[2]}}}" if match[2] else letter


def _number(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": r"\mathrm{NaN}", "inf": r"\infty", "-inf": r"-\infty"}[str(value)]
    text = str(np.float32(value))
    mantissa, _, exponent = text.partition("e")
    text = mantissa.removesuffix(".0")
    return rf"{text} \cdot 10^{{{int(exponent)}}}" if exponent else text
