"""The Optax target: a factory of a `GradientTransformationExtraArgs`.

16-bit leaves are computed in float32; updates keep the gradient's dtype, and slots
their own. Nothing branches on the value of a hyperparameter, so all may be traced.
A conventional `Style` gives the argument order of Optax's own factories and adds
`compensated`.
"""

from __future__ import annotations

from collections.abc import Mapping

from evolve.export import listing, source
from evolve.export.expressions import Value
from evolve.export.lowering import DECAY, LR, PEAK, SCHEDULE, G, Lowered, W, lower
from evolve.export.optax_text import (
    AFTER,
    ALL,
    ALL_AFTER,
    COMPENSATED,
    DECAYS,
    LEAVES,
    NO_WEIGHTS,
    RATE,
    ROUNDED,
    TREE_SUM,
    WIDE,
)
from evolve.export.printing import Printer
from evolve.export.source import Style, indented
from primitives.program import Program

_IMPORTS = """from __future__ import annotations

from typing import {typing}

import jax
import jax.numpy as jnp
import optax"""


#: What the docstring of the factory says of arguments that are no hyperparameters.
_OPTIONS = {
    "mu_dtype": "dtype of the slots; None stands for that of the weights.",
    "mask": "tree of booleans, a prefix of the weights' tree, or a function that gives it:\n"
    "        where weights decay.",
    "compensated": "keep what rounding took from 16-bit weights and add it to later updates\n"
    "        (Kahan), so that small steps are not lost; one more slot of the weights' dtype.",
}


def emit(
    program: Program, name: str, provenance: Mapping[str, str], style: Style | None = None
) -> str:
    """The source of a module with one factory, called `name`."""
    style = style or Style()
    lowered = lower(program)
    header = source.docstring(lowered, name, provenance, style, "learning_rate")
    body = source.joined(
        _state(lowered, name, style),
        WIDE,
        TREE_SUM if lowered.whole_tree else "",
        ROUNDED if style.conventional else "",
        _factory(lowered, name, style),
    )
    imports = _IMPORTS.format(typing="Any, NamedTuple" if "Any" in body else "NamedTuple")
    return source.joined(f"{header}\n\n{imports}", body)


def _class(name: str) -> str:
    return source.camel(name) + "State"


def _state(lowered: Lowered, name: str, style: Style) -> str:
    fields = ["count: jax.Array", *(f"{slot}: Any" for slot in lowered.slot_names)]
    fields += ["error: Any"] if style.conventional else []
    what = "the number of steps, and trees like the weights"
    what = what if len(fields) > 1 else "the number of steps"
    body = indented("\n".join(fields))
    return f'class {_class(name)}(NamedTuple):\n    """State: {what}."""\n\n{body}'


def _factory(lowered: Lowered, name: str, style: Style) -> str:
    options = [option for option in _arguments(lowered, style) if option in _OPTIONS]
    listed = "".join(f"    {o}: {_OPTIONS[o]}\n" for o in options)
    others = f"\n\nArguments besides the hyperparameters:\n{listed}" if listed else ""
    given = f"learning_rate = {PEAK} if learning_rate is None else learning_rate\n"
    body = (
        '"""The optimizer; `learning_rate` may be a schedule: a function of the step.'
        f'{others}"""\n{given if style.own_peak else ""}\n'
        f"{_init(lowered, name, style)}\n\n{_step(lowered)}\n\n{_update(lowered, name, style)}\n\n"
        "return optax.GradientTransformationExtraArgs(init, update)"
    )
    arguments = [_typed(*item) for item in _arguments(lowered, style).items()]
    head = source.signature(f"def {name}", arguments, " -> optax.GradientTransformationExtraArgs")
    return f"{head}\n{indented(body)}"


def _arguments(lowered: Lowered, style: Style) -> dict[str, str]:
    """The arguments, with their defaults as source; `*` has none."""
    given = dict(argument.split("=", 1) for argument in source.keywords(lowered, style))
    dtype = {"mu_dtype": "None"} if lowered.slots else {}
    mask = {"mask": "None"} if lowered.decay else {}
    if not style.conventional:
        return {"learning_rate": "None", "*": "", **given, **dtype, **mask}
    betas = {key: value for key, value in given.items() if key.startswith("b")}
    last = {"*": "", "compensated": "False"}
    return {"learning_rate": "", **betas, **dtype, **given, **mask, **last}


def _typed(name: str, default: str) -> str:
    if name == "*":
        return name
    types = {"mask": "Any", "mu_dtype": "Any", "compensated": "bool"}
    types |= {"learning_rate": "optax.ScalarOrSchedule", DECAY: "optax.ScalarOrSchedule"}
    kind = types.get(name, "jax.typing.ArrayLike")
    kind += " | None" if name == "learning_rate" and default else ""
    return f"{name}: {kind} = {default}" if default else f"{name}: {kind}"


def _init(lowered: Lowered, name: str, style: Style) -> str:
    zeros = [
        f"        {slot}=optax.tree.zeros_like(params, dtype=mu_dtype),\n"
        for slot in lowered.slot_names
    ]
    if style.conventional:
        zeros.append("        error=optax.tree.zeros_like(params) if compensated else None,\n")
    fields = "".join(["        count=jnp.zeros([], jnp.int32),\n", *zeros])
    return f"def init(params):\n    return {_class(name)}(\n{fields}    )"


def _step_arguments(lowered: Lowered) -> list[str]:
    """What `step` needs: arrays, and the numbers that may vary."""
    varying = [v.name for v in (LR, SCHEDULE) if v in lowered.reads]
    decay = [DECAY] if lowered.decay else []
    arrays = [v.name for v in (W, G) if v in lowered.reads]
    return [*arrays, *lowered.slot_names, *varying, *decay]


def _step(lowered: Lowered) -> str:
    printer = Printer(prefix="jnp.", sum_array=lambda p, of: f"jnp.sum({p.text(of)})")
    if lowered.whole_tree:
        lines = listing.list_lines(lowered, printer, [Value(DECAY)] if lowered.decay else [], 8)
        what = "All arrays, as lists: what to subtract from the weights, and the slots."
    else:
        lines = listing.array_lines(lowered, printer)
        what = "One array: what to subtract from the weights, and the slots."
    outputs = ", ".join([lowered.update.name, *(end.name for _, end in lowered.slots)])
    outputs += "," if not lowered.slots else ""
    body = "\n".join([f'"""{what}"""', *lines, f"return ({outputs})"])
    head = source.one_line("def step", _step_arguments(lowered))
    return f"{head}\n{indented(body)}"


def _update(lowered: Lowered, name: str, style: Style) -> str:
    reads_weights = W in lowered.reads
    reads_rate = bool({LR, SCHEDULE} & lowered.reads)
    parts = ['"""What to add to the weights, and the state after the step."""\ndel extra_args\n']
    if reads_weights:
        parts.append(NO_WEIGHTS)
    if reads_rate:
        parts.append(RATE)
    parts.append("gs, tree = jax.tree.flatten(updates, is_leaf=lambda x: x is None)\n")
    if reads_weights:
        parts.append("ws = tree.flatten_up_to(params)\n")
    if lowered.slots:
        last = ":-1" if style.conventional else ":"
        parts.append(f"slots = [tree.flatten_up_to(slot) for slot in state[1{last}]]\n")
    if style.conventional:
        parts.append("errors = tree.flatten_up_to(state.error) if compensated else None\n")
    parts.append(DECAYS if lowered.decay else "")
    parts.append(_all(lowered) if lowered.whole_tree else _leaves(lowered, style))
    parts.append(_state_after(lowered, name, style))
    body = indented("".join(parts))
    return f"def update(updates, state, params=None, **extra_args):\n{body}"


def _leaves(lowered: Lowered, style: Style) -> str:
    arrays = _arrays(lowered, "ws[i]", "g", "*(slot[i] for slot in slots)")
    decay = ["decays[i]"] if lowered.decay else []
    numbers, names = _numbers(lowered)
    return LEAVES.format(
        arrays=arrays,
        numbers=indented(numbers),
        new="new, *after" if lowered.slots else "(new,)",
        arguments=", ".join(["*arrays", *names, *decay]),
        change=COMPENSATED if style.conventional else "change = -new",
        given="change",
        after=AFTER if lowered.slots else "",
    )


def _all(lowered: Lowered) -> str:
    decay = ["decays"] if lowered.decay else []
    numbers, names = _numbers(lowered)
    numbers += "decays = [decays[i] for i in present]\n" if decay else ""
    text = ALL.format(
        arrays=_arrays(lowered, "ws", "gs", "*slots"),
        numbers=numbers,
        new="new, *after" if lowered.slots else "(new,)",
        arguments=", ".join(["*arrays", *names, *decay]),
    )
    return text + (ALL_AFTER if lowered.slots else "")


def _arrays(lowered: Lowered, weights: str, gradients: str, slots: str) -> str:
    arrays = [weights] if W in lowered.reads else []
    arrays += [gradients] if G in lowered.reads else []
    arrays += [slots] if lowered.slots else []
    return ", ".join(arrays) + ("," if len(arrays) == 1 else "")


def _numbers(lowered: Lowered) -> tuple[str, list[str]]:
    """The lines that compute the numbers that `step` gets, and their names."""
    lines = ["lr = jnp.asarray(rate, wide)"] if {LR, SCHEDULE} & lowered.reads else []
    lines += [f"schedule = lr / jnp.asarray({PEAK}, wide)"] if SCHEDULE in lowered.reads else []
    names = [v.name for v in (LR, SCHEDULE) if v in lowered.reads]
    return "".join(f"{line}\n" for line in lines), names


def _state_after(lowered: Lowered, name: str, style: Style) -> str:
    fields = ["    count=optax.safe_increment(state.count),\n"]
    fields += [f"    {s}=tree.unflatten(slots[{i}]),\n" for i, s in enumerate(lowered.slot_names)]
    if style.conventional:
        fields.append("    error=tree.unflatten(errors) if compensated else None,\n")
    return f"state = {_class(name)}(\n{''.join(fields)})\nreturn tree.unflatten(gs), state"
