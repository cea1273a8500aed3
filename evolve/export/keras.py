"""The Keras 3 target: a subclass of `keras.optimizers.Optimizer`, for every backend.

16-bit variables are computed in float32. A decoupled decay is left to the base
class; programs with sums over all arrays override the step of the whole list. A
conventional `Style` adds `compensated`, and the check of `beta_1` that Keras has.
"""

from __future__ import annotations

from collections.abc import Mapping

from evolve.export import listing, source
from evolve.export.keras_text import BASE, COMPENSATED, DECAYED, HELPERS, PLAIN, ROUNDED
from evolve.export.lowering import DECAY, LR, PEAK, SCHEDULE, G, Lowered, W, lower
from evolve.export.printing import Printer
from evolve.export.source import Style, indented
from primitives.program import Program

_IMPORTS = "from __future__ import annotations\n\nimport keras\nfrom keras import ops"
_CHECK = """\
if beta_1 <= 0 or beta_1 > 1:
    raise ValueError(
        "Argument `beta_1` must be in the [0, 1] range. Otherwise, the optimizer "
        f"degenerates to SignSGD. Received: beta_1={beta_1}."
    )
"""


def emit(
    program: Program, name: str, provenance: Mapping[str, str], style: Style | None = None
) -> str:
    """The source of a module with one class, called `name` in camel case."""
    style = style or Style()
    lowered = lower(program, apart=True)
    described = source.docstring(lower(program), name, provenance, style, "learning_rate")
    klass = _class(lowered, name, style)
    return source.joined(
        f"{described}\n\n{_IMPORTS}",
        *(helper for key, helper in HELPERS.items() if f"{key}(" in klass),
        ROUNDED if style.conventional else "",
        klass,
    )


def _class(lowered: Lowered, name: str, style: Style) -> str:
    methods = [_init(lowered, style), _build(lowered, style)]
    methods += [_whole_step(lowered, style)] if lowered.whole_tree else [_step(lowered, style)]
    methods += [DECAYED] if style.conventional else []
    methods.append(_config(lowered, style))
    body = "\n\n".join(
        method.strip("\n") for method in ['"""See the top of the file."""', *methods]
    )
    package = "discovered" if style.conventional else "evolve"
    return (
        f'@keras.saving.register_keras_serializable(package="{package}")\n'
        f"class {source.camel(name)}(keras.optimizers.Optimizer):\n{indented(body)}"
    )


def _own(lowered: Lowered, style: Style) -> dict[str, str]:
    """The hyperparameters that the base class does not know, with their defaults."""
    given = dict(pair.split("=", 1) for pair in source.keywords(lowered, style))
    return {key: value for key, value in given.items() if key != DECAY}


def _init(lowered: Lowered, style: Style) -> str:
    own = _own(lowered, style)
    pairs = [f"{key}={value}" for key, value in own.items()]
    decay = next((h.text for h in lowered.hyperparameters if h.name == DECAY), "None")
    base = BASE | {DECAY: style.defaults.get(DECAY, decay)}
    rate = style.defaults.get("learning_rate", "None")
    arguments = ["self", f"learning_rate={rate}"]
    arguments += pairs if style.conventional else ["*", *pairs]
    arguments += [f"{key}={value}" for key, value in base.items()]
    arguments += ["*", "compensated=False"] if style.conventional else []
    arguments += ["**kwargs"]
    first = f"{PEAK} if learning_rate is None else learning_rate"
    passed = "".join(f"    {key}={key},\n" for key in base)
    rate = first if style.own_peak else "learning_rate"
    kept = [*own, "compensated"] if style.conventional else list(own)
    body = f"super().__init__(\n    learning_rate={rate},\n{passed}    **kwargs,\n)\n"
    body += _CHECK if style.conventional else ""
    body += "\n".join(f"self.{key} = {key}" for key in kept)
    return f"{source.signature('def __init__', arguments)}\n{indented(body)}"


def _build(lowered: Lowered, style: Style) -> str:
    lines = ["if self.built:", "    return", "super().build(variables)"]
    lines += [
        f'self._slot_{slot} = self.add_optimizer_variables(variables, "{slot}")'
        for slot in lowered.slot_names
    ]
    if style.conventional:
        lines += ["self._errors = [self._error_of(variable) for variable in variables]"]
    body = "\n".join(['"""Zeros for each slot and variable."""', *lines])
    return f"def build(self, variables):\n{indented(body)}"


def _numbers(lowered: Lowered, style: Style) -> list[str]:
    lines = ["lr = ops.cast(learning_rate, wide)"] if {LR, SCHEDULE} & lowered.reads else []
    lines += [f"schedule = lr / self.{PEAK}"] if SCHEDULE in lowered.reads else []
    own = [name for name in lowered.names if name != DECAY]
    return lines + [f"{name} = self.{style.rename.get(name, name)}" for name in own]


def _printer() -> Printer:
    return Printer(
        prefix="ops.", names={"sign": "_sign"}, sum_array=lambda p, of: f"ops.sum({p.text(of)})"
    )


def _step(lowered: Lowered, style: Style) -> str:
    given = (
        ["i = self._get_variable_index(variable)"] if lowered.slots or style.conventional else []
    )
    given += ['wide = keras.backend.result_type(variable.dtype, "float32")']
    if W in lowered.reads:
        given.append("w = ops.cast(ops.stop_gradient(ops.convert_to_tensor(variable)), wide)")
    if G in lowered.reads:
        given.append("g = ops.cast(gradient, wide)")
    given += [f"{slot} = ops.cast(self._slot_{slot}[i], wide)" for slot in lowered.slot_names]
    lines = [*given, *_numbers(lowered, style), *listing.array_lines(lowered, _printer())]
    lines += [f"self.assign(self._slot_{slot}[i], {end.name})" for slot, end in lowered.slots]
    last = (COMPENSATED if style.conventional else PLAIN).replace("UPDATE", lowered.update.name)
    body = "\n".join(['"""One step of one variable."""', *lines, last])
    return f"def update_step(self, gradient, variable, learning_rate):\n{indented(body)}"


def _whole_step(lowered: Lowered, style: Style) -> str:
    """The step of the whole list, which is what the base class calls once a step."""
    variables = "trainable_variables"
    lines = [
        f'wide = keras.backend.result_type("float32", *(x.dtype for x in {variables}))',
        f"places = [self._get_variable_index(x) for x in {variables}]" if lowered.slots else "",
        f"w = [ops.stop_gradient(ops.convert_to_tensor(x)) for x in {variables}]"
        if W in lowered.reads
        else "",
        "w = [ops.cast(x, wide) for x in w]" if W in lowered.reads else "",
        "g = [ops.cast(x, wide) for x in grads]" if G in lowered.reads else "",
        *(f"{s} = [ops.cast(self._slot_{s}[i], wide) for i in places]" for s in lowered.slot_names),
        *_numbers(lowered, style),
        *listing.list_lines(lowered, _printer(), depth=8),
    ]
    for slot, end in lowered.slots:
        lines += [f"for i, x in zip(places, {end.name}, strict=True):"]
        lines += [f"    self.assign(self._slot_{slot}[i], x)"]
    lines += [f"for variable, x in zip({variables}, {lowered.update.name}, strict=True):"]
    lines += ["    self.assign_sub(variable, x)"]
    given = [line for line in lines if line]
    body = "\n".join(['"""One step of all variables, since sums go over all of them."""', *given])
    head = f"def _backend_update_step(self, grads, {variables}, learning_rate):"
    single = "self._backend_update_step([gradient], [variable], learning_rate)"
    return (
        "def update_step(self, gradient, variable, learning_rate):\n"
        f'    """One step of one variable on its own."""\n    {single}\n\n{head}\n{indented(body)}'
    )


def _config(lowered: Lowered, style: Style) -> str:
    own = [*_own(lowered, style), *(["compensated"] if style.conventional else [])]
    entries = "".join(f'        "{key}": self.{key},\n' for key in own)
    given = f"own = {{\n{indented(entries, 0)}    }}" if entries else "own = {}"
    return (
        'def get_config(self):\n    """Every argument, for serialization."""\n'
        f"    {given}\n    return super().get_config() | own"
    )
