"""The Keras 3 target: a subclass of `keras.optimizers.Optimizer`, for every backend.

16-bit variables are computed in float32. A decoupled decay is left to the base
class; programs with sums over all arrays take the step of the whole list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from evolve.export import listing, source
from evolve.export.expressions import SHAPED
from evolve.export.lowering import DECAY, PEAK, SCHEDULE, Lowered, lower
from evolve.export.printing import Printer
from evolve.export.source import Style, indented
from primitives.program import Program

#: The arguments of the base class after the weight decay, with their defaults.
_BASE = {
    "clipnorm": "None",
    "clipvalue": "None",
    "global_clipnorm": "None",
    "use_ema": "False",
    "ema_momentum": "0.99",
    "ema_overwrite_frequency": "None",
    "loss_scale_factor": "None",
    "gradient_accumulation_steps": "None",
    "name": "None",
}
_TREE_SUM = '''
def _tree_sum(arrays):
    """The sum over all arrays."""
    return sum(ops.sum(x) for x in arrays)
'''


def emit(
    program: Program, name: str, provenance: Mapping[str, str], style: Style | None = None
) -> str:
    """The source of a module with one class, called `name` in camel case."""
    style = style or Style()
    lowered = lower(program, apart=True)
    return source.module(
        source.docstring(lower(program), name, provenance, style, "keras"),
        (
            "checks",
            "rounding",
            "keras_base",
            *(["matrices_keras"] if lowered.shaped else []),
            *lowered.runtime,
        ),
        _TREE_SUM if lowered.whole_tree else "",
        _class(lowered, name, style),
    )


def _class(lowered: Lowered, name: str, style: Style) -> str:
    own = _own(lowered, style)
    constants = [
        f"_slots = {source.tuple_text(lowered.slot_names)}",
        f"_bounds = {source.bounds(lowered, style, 'keras')}",
        f"_own = {source.tuple_text(list(own))}",
        *([f"_narrow = {lowered.shape_pairs}"] if lowered.narrow else []),
        *(["_whole = True"] if lowered.whole_tree else []),
    ]
    head = '"""See the top of the file."""'
    parts = [head, "\n".join(constants), _init(lowered, style), _step(lowered, style)]
    text = f"class {source.camel(name)}(_Optimizer):\n{indented(source.apart(parts))}"
    # Two optimizers of one name are two: a saved model must not be loaded with the other.
    package = style.package or f"evolve.{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return f'@keras.saving.register_keras_serializable(package="{package}")\n{text}'


def _own(lowered: Lowered, style: Style) -> dict[str, str]:
    """The hyperparameters that the base class does not know, with their defaults."""
    names = source.argument_names(lowered, "keras")
    given = source.keywords(lowered, style)
    return {names.get(name, name): x for name, x in given.items() if name != DECAY}


def _init(lowered: Lowered, style: Style) -> str:
    own = _own(lowered, style)
    names = source.argument_names(lowered, "keras")
    betas = {names[name]: own[names[name]] for name in lowered.betas}
    others = {name: default for name, default in own.items() if name not in betas}
    decay = next((h.text for h in lowered.hyperparameters if h.name == DECAY), "None")
    rate = {"learning_rate": style.defaults.get("learning_rate", "None")}
    first = rate | betas | {DECAY: style.defaults.get(DECAY, decay)} | _BASE
    pairs = [f"{key}={value}" for key, value in first.items()]
    pairs += ["*", *(f"{key}={value}" for key, value in others.items()), "compensated=False"]
    given = "".join(f'    "{name}": {name},\n' for name in own)
    lines = [f"learning_rate = {PEAK} if learning_rate is None else learning_rate"]
    passed = ["learning_rate", DECAY, "compensated", "own", *(f"{k}={k}" for k in _BASE)]
    lines = (lines if style.own_peak else []) + [
        f"own = {{\n{given}}}" if given else "own = {}",
        source.call("super().__init__", [*passed, "**kwargs"]),
    ]
    head = source.signature("def __init__", ["self", *pairs, "**kwargs"])
    return f"{head}\n{indented(chr(10).join(lines))}"


def _step(lowered: Lowered, style: Style) -> str:
    """The method that computes the lines."""
    names = source.argument_names(lowered, "keras")
    numbers = [f"{name} = self.{names[name]}" for name in lowered.names if name != DECAY]
    numbers += [f"schedule = lr / self.{PEAK}"] if SCHEDULE in lowered.reads else []
    printer = Printer(
        prefix="ops.",
        names={"sign": "_sign", **SHAPED},
        sum_array=lambda p, of: f"ops.sum({p.text(of)})",
    )
    if lowered.whole_tree:
        lines = listing.list_lines(lowered, printer, lowered.numbers, depth=8)
        what = "All variables, as lists: what is subtracted from them, and the slots."
    else:
        lines = listing.array_lines(lowered, printer)
        what = "One variable: what is subtracted from it, and the slots."
    ends = lowered.ended("g") if lowered.whole_tree else [end.name for _, end in lowered.slots]
    outputs = ", ".join([lowered.update.name, *ends])
    outputs += "," if not lowered.slots else ""
    body = "\n".join([f'"""{what}"""', *numbers, *lines, f"return ({outputs})"])
    head = source.one_line("def _step", ["self", "lr", "w", "g", *lowered.slot_names])
    return f"{head}\n{indented(body)}"
