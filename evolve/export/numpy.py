"""The NumPy target: two functions, `init` and `update`, on lists of arrays."""

from __future__ import annotations

from collections.abc import Mapping

from evolve.export import listing, source
from evolve.export.expressions import SHAPED, Expression
from evolve.export.lowering import LR, PEAK, SCHEDULE, G, Lowered, W, lower
from evolve.export.printing import Printer
from evolve.export.source import Style, indented
from primitives.program import Program

_TREE_SUM = '''
def _tree_sum(arrays):
    """The sum over all arrays."""
    return np.sum([np.sum(x) for x in arrays], dtype=np.asarray(arrays[0]).dtype)
'''
_UPDATE = '''"""One step: what to subtract from the weights, and the state after it.

Arguments:
    weights, gradients: lists of floating-point arrays of the same shapes, at least one.
    state: what `init` or the step before gave.
    learning_rate: the peak times the schedule.
"""'''


def emit(program: Program, name: str, provenance: Mapping[str, str]) -> str:
    """The source of a module."""
    lowered = lower(program)
    return source.module(
        source.docstring(lowered, name, provenance, Style(), "numpy"),
        (
            "checks",
            *(["matrices_numpy"] if lowered.shaped else []),
            *lowered.runtime,
        ),
        _TREE_SUM if lowered.whole_tree else "",
        _init(lowered),
        _update(lowered),
        imports=("import numpy as np",),
    )


def _init(lowered: Lowered) -> str:
    narrow = {slot: f"np.zeros({of}(w.shape), w.dtype)" for slot, of in lowered.shapes.items()}
    zeros = "".join(
        f'        "{slot}": [{narrow.get(slot, "np.zeros_like(w)")} for w in weights],\n'
        for slot in lowered.slot_names
    )
    state = f"{{\n{zeros}    }}" if zeros else "{}"
    like = "" if narrow else ", shaped like the weights"
    return f'''
def init(weights):
    """The state before the first step: for each slot a list of zeros{like}."""
    return {state}'''


def _update(lowered: Lowered) -> str:
    given = source.keywords(lowered, Style())
    arguments = ["weights", "gradients", "state", "learning_rate=None", "*"]
    head = source.signature("def update", [*arguments, *(f"{k}={v}" for k, v in given.items())])
    pairs = "".join(f'    "{key}": {key},\n' for key in ["learning_rate", *given])
    lines = [
        _UPDATE,
        f"learning_rate = {PEAK} if learning_rate is None else learning_rate",
        f"bounds = {source.bounds(lowered, Style(), 'numpy')}",
        f"given = {{\n{pairs}}}",
        "_check(bounds, given)",
        *_scalars(lowered),
        *_steps(lowered),
    ]
    return f'@np.errstate(all="ignore")\n{head}\n{indented(chr(10).join(lines))}'


def _scalars(lowered: Lowered) -> list[str]:
    numbers = [f"{name} = number({name})" for name in lowered.names]
    if LR in lowered.reads:
        numbers.append("lr = number(learning_rate)")
    if SCHEDULE in lowered.reads:
        numbers.append(f"schedule = number(learning_rate) / number({PEAK})")
    return ["number = gradients[0].dtype.type", *numbers] if numbers else []


def _steps(lowered: Lowered) -> list[str]:
    ends = {slot: end.name for slot, end in lowered.slots}
    if lowered.whole_tree:
        given = _inputs(lowered, {W: "weights", G: "gradients"}, "")
        lines = [*given, *listing.list_lines(lowered, _PRINTER, lowered.numbers)]
        ends |= {v: f"_copies({ends[v]}, weights)" for v in lowered.number_names}
        state = "".join(f'    "{slot}": {end},\n' for slot, end in ends.items())
        after = f"{{\n{state}}}" if state else "{}"
        return [*lines, f"after = {after}", f"return {lowered.update.name}, after"]
    empty = ["after = {slot: [] for slot in state}"]
    given = _inputs(lowered, {W: "weights", G: "gradients"}, "[i]")
    lines = [*given, *listing.array_lines(lowered, _PRINTER)]
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


_PRINTER = Printer(prefix="np.", names=SHAPED, sum_array=lambda p, of: f"np.sum({p.text(of)})")
