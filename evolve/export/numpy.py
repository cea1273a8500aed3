"""The NumPy target: two functions, `init` and `update`, on lists of arrays."""

from __future__ import annotations

from collections.abc import Mapping

from evolve.export import listing, source
from evolve.export.expressions import Expression
from evolve.export.lowering import LR, PEAK, SCHEDULE, G, Lowered, W, lower
from evolve.export.printing import Printer
from evolve.export.source import Style, indented
from primitives.program import Program

_TREE_SUM = '''
def _tree_sum(arrays):
    """The sum over all arrays."""
    return np.sum([np.sum(x) for x in arrays], dtype=np.asarray(arrays[0]).dtype)
'''


def emit(
    program: Program, name: str, provenance: Mapping[str, str], style: Style | None = None
) -> str:
    """The source of a module."""
    style = style or Style()
    lowered = lower(program)
    return source.joined(
        source.docstring(lowered, name, provenance, style, "learning_rate")
        + "\n\nimport numpy as np",
        _TREE_SUM if lowered.whole_tree else "",
        _init(lowered),
        _update(lowered, style),
    )


def _init(lowered: Lowered) -> str:
    zeros = "".join(
        f'        "{slot}": [np.zeros_like(w) for w in weights],\n' for slot in lowered.slot_names
    )
    state = f"{{\n{zeros}    }}" if zeros else "{}"
    return f'''
def init(weights):
    """The state before the first step: for each slot a list of zeros, shaped like the weights."""
    return {state}'''


def _update(lowered: Lowered, style: Style) -> str:
    arguments = [
        "weights",
        "gradients",
        "state",
        f"learning_rate={None if style.own_peak else 1.0}",
    ]
    head = source.signature("def update", [*arguments, "*", *source.keywords(lowered, style)])
    body = '''"""One step: what to subtract from the weights, and the state after it.

Arguments:
    weights, gradients: lists of floating-point arrays of the same shapes, at least one.
    state: what `init` or the step before gave.
    learning_rate: the peak times the schedule.
"""
'''
    body += "\n".join([*_scalars(lowered, style), *_steps(lowered)])
    return f'@np.errstate(all="ignore")\n{head}\n{indented(body)}'


def _scalars(lowered: Lowered, style: Style) -> list[str]:
    lines = [f"learning_rate = {PEAK} if learning_rate is None else learning_rate"]
    number = [f"{name} = number({name})" for name in lowered.names]
    if LR in lowered.reads:
        number.append("lr = number(learning_rate)")
    if SCHEDULE in lowered.reads:
        number.append(f"schedule = number(learning_rate) / number({PEAK})")
    if number:
        lines.append("number = gradients[0].dtype.type")
    return (lines if style.own_peak else lines[1:]) + number


def _steps(lowered: Lowered) -> list[str]:
    ends = {slot: end.name for slot, end in lowered.slots}
    if lowered.whole_tree:
        given = _inputs(lowered, {W: "weights", G: "gradients"}, "")
        printer = Printer(prefix="np.", sum_array=_array_sum)
        lines = [*given, *listing.list_lines(lowered, printer)]
        state = "".join(f'    "{slot}": {end},\n' for slot, end in ends.items())
        after = f"{{\n{state}}}" if state else "{}"
        return [*lines, f"after = {after}", f"return {lowered.update.name}, after"]
    empty = ["after = {slot: [] for slot in state}"]
    given = _inputs(lowered, {W: "weights", G: "gradients"}, "[i]")
    lines = [*given, *listing.array_lines(lowered, Printer(prefix="np.", sum_array=_array_sum))]
    lines.append(f"updates.append(np.asarray({lowered.update.name}))")
    lines += [f'after["{slot}"].append(np.asarray({end}))' for slot, end in ends.items()]
    loop = indented("\n".join(lines))
    return [
        "updates = []",
        *empty,
        f"for i in range(len(gradients)):\n{loop}",
        "return updates, after",
    ]


def _inputs(lowered: Lowered, names: Mapping[Expression, str], index: str) -> list[str]:
    given = [f"{v.name} = {name}{index}" for v, name in names.items() if v in lowered.reads]  # type: ignore[attr-defined]
    return given + [f'{slot} = state["{slot}"]{index}' for slot in lowered.slot_names]


def _array_sum(printer: Printer, of: Expression) -> str:
    return f"np.sum({printer.text(of)})"
