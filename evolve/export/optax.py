"""The Optax target: a factory of a `GradientTransformationExtraArgs`.

16-bit leaves are computed in float32; updates keep the gradient's dtype, and slots
their own. Nothing branches on the value of a hyperparameter, so all may be traced.
The factory's arguments stand in the order of Optax's own factories.
"""

from __future__ import annotations

from collections.abc import Mapping

from evolve.export import listing, source
from evolve.export.expressions import SHAPED, Variable
from evolve.export.lowering import DECAY, PEAK, SCHEDULE, Lowered, W, lower
from evolve.export.printing import Printer
from evolve.export.source import Style, indented
from primitives.program import Program

#: What the docstring of the factory says of arguments that are no hyperparameters.
_OPTIONS = {
    "mu_dtype": "dtype of the slots; None stands for that of the weights.",
    "mask": "tree of booleans, a prefix of the weights' tree, or a function that gives it:\n"
    "        where weights decay.",
    "compensated": "keep what rounding took from 16-bit weights and add it to later updates\n"
    "        (Kahan), so that small steps are not lost; one more slot of the weights' dtype.",
}
_TREE_SUM = '''
def _tree_sum(arrays):
    """The sum over all arrays."""
    return sum(jnp.sum(x) for x in arrays)
'''


def emit(
    program: Program, name: str, provenance: Mapping[str, str], style: Style | None = None
) -> str:
    """The source of a module with one factory, called `name`."""
    style = style or Style()
    lowered = lower(program)
    return source.module(
        source.docstring(lowered, name, provenance, style, "optax"),
        ("checks", "optax_base", *(["matrices_optax"] if lowered.shaped else []), *lowered.runtime),
        _TREE_SUM if lowered.whole_tree else "",
        _state(lowered, name),
        _factory(lowered, name, style),
        _step(lowered, style),
        imports=("from typing import Any, NamedTuple",),
    )


def _class(name: str) -> str:
    return source.camel(name) + "State"


def _state(lowered: Lowered, name: str) -> str:
    fields = ["count: jax.Array", *(f"{slot}: Any" for slot in lowered.slot_names), "error: Any"]
    what = '"""State: the number of steps, and trees like the weights."""'
    body = indented("\n".join(fields))
    return f"class {_class(name)}(NamedTuple):\n    {what}\n\n{body}"


def _factory(lowered: Lowered, name: str, style: Style) -> str:
    given = _arguments(lowered, style)
    listed = "".join(f"    {o}: {text}\n" for o, text in _OPTIONS.items() if o in given)
    numbers = [*lowered.names, *([PEAK] if style.own_peak else [])]
    pairs = "".join(f'    "{key}": {key},\n' for key in numbers)
    pairs = f"{{\n{pairs}}}" if pairs else "{}"
    rate = f"learning_rate = {PEAK} if learning_rate is None else learning_rate\n"
    options = [f"slots={len(lowered.slots)}"]
    if lowered.narrow:
        places = (f"{lowered.slot_names.index(s)}: {of}" for s, of in lowered.shapes.items())
        options.append(f"narrow={{{', '.join(places)}}}")
    options += [f"{key}={key}" for key in _OPTIONS if key in given]
    options += [f"whole={lowered.whole_tree}", f"reads_weights={W in lowered.reads}"]
    calls = ["_step", _class(name), "learning_rate", "given", *options]
    body = (
        '"""The optimizer; `learning_rate` may be a schedule: a function of the step.\n\n'
        f'Arguments besides the hyperparameters:\n{listed}"""\n'
        f"{rate if style.own_peak else ''}"
        f"bounds = {source.bounds(lowered, style, 'optax')}\n"
        f"given = {pairs}\n"
        '_check(bounds, {**given, "learning_rate": learning_rate})\n'
        f"return {source.call('_transformation', calls)}"
    )
    head = source.signature(
        f"def {name}",
        [_typed(*item) for item in given.items()],
        " -> optax.GradientTransformationExtraArgs",
    )
    return f"{head}\n{indented(body)}"


def _arguments(lowered: Lowered, style: Style) -> dict[str, str]:
    """The arguments, with their defaults as source; `*` has none."""
    given = source.keywords(lowered, style)
    first = {name: given.pop(name) for name in lowered.betas}
    dtype = {"mu_dtype": "None"} if lowered.slots else {}
    decay = {DECAY: given.pop(DECAY), "mask": "None"} if lowered.decay else {}
    rate = {"learning_rate": "None" if style.own_peak else ""}
    return rate | first | dtype | decay | {"*": ""} | given | {"compensated": "False"}


def _typed(name: str, default: str) -> str:
    if name == "*":
        return name
    types = {"mask": "Any", "mu_dtype": "Any", "compensated": "bool"}
    types |= {"learning_rate": "optax.ScalarOrSchedule", DECAY: "optax.ScalarOrSchedule"}
    kind = types.get(name, "jax.typing.ArrayLike")
    kind += " | None" if name == "learning_rate" and default else ""
    return f"{name}: {kind} = {default}" if default else f"{name}: {kind}"


def _step(lowered: Lowered, style: Style) -> str:
    """The function that computes the lines."""
    printer = Printer(prefix="jnp.", names=SHAPED, sum_array=lambda p, of: f"jnp.sum({p.text(of)})")
    if lowered.whole_tree:
        lists = [*lowered.numbers, *([Variable(DECAY)] if lowered.decay else [])]
        lines = listing.list_lines(lowered, printer, lists, 4)
        what = "All arrays, as lists: what to subtract from the weights, and the slots."
    else:
        lines = listing.array_lines(lowered, printer)
        what = "One array: what to subtract from the weights, and the slots."
    if SCHEDULE in lowered.reads:
        lines.insert(0, f"schedule = lr / {PEAK}")
    ends = lowered.ended("g") if lowered.whole_tree else [end.name for _, end in lowered.slots]
    outputs = ", ".join([lowered.update.name, *ends])
    outputs += "," if not lowered.slots else ""
    body = "\n".join([f'"""{what}"""', *lines, f"return ({outputs})"])
    arguments = ["w", "g", *lowered.slot_names, "lr", *lowered.names]
    arguments += [PEAK] if style.own_peak else []
    return f"{source.one_line('def _step', arguments)}\n{indented(body)}"
