"""The PyTorch target: a subclass of `torch.optim.Optimizer`.

16-bit tensors are computed in float32 and copied back. A decoupled decay and a
final factor `lr` are applied in place; a sign in front of that factor is taken
by clamping, which is one pass and keeps NaN. A conventional `Style` has `betas`
in place of `b1`, `b2` and adds `compensated`.
"""

from __future__ import annotations

from collections.abc import Mapping

from evolve.export import source
from evolve.export.lowering import LR, PEAK, SCHEDULE, Lowered, lower
from evolve.export.source import Style, indented
from evolve.export.torch_lines import foreach_step, list_step, plain
from evolve.export.torch_text import (
    APPLY,
    BATCHES,
    COMPENSATED,
    HELPERS,
    LISTS,
    METHODS,
    STEP,
    WHOLE_STEP,
)
from primitives.program import Program

_IMPORTS = "from __future__ import annotations\n\nimport torch"
_CHECKS = """\
if not lr >= 0.0:
    raise ValueError(f"the learning rate is {lr}; it must not be negative")
if not all(0.0 <= beta <= 1.0 for beta in betas):
    raise ValueError(f"betas are {betas}; each must lie between 0 and 1")
"""
_OPTIONS = {
    "foreach": "False computes one tensor after the other; else many are computed together,\n"
    "        on a CPU as many as stay in its cache.",
    "maximize": "go uphill.",
    "slot_dtype": "dtype of the slots; None stands for that of the weights.",
    "compensated": "keep what rounding takes from 16-bit weights in one more slot of their\n"
    "        dtype, so that small steps are not lost.",
}


def emit(
    program: Program, name: str, provenance: Mapping[str, str], style: Style | None = None
) -> str:
    """The source of a module with one class, called `name` in camel case."""
    style = style or Style()
    whole = not plain(lower(program))
    lowered = lower(program, apart=not whole)
    step = list_step(lowered) if whole else foreach_step(lowered)
    described = source.docstring(lower(program), name, provenance, style, "lr")
    rest = source.joined(
        f"{_class(lowered, name, style, whole)}\n",
        "" if whole else BATCHES["array" if "torch.sum(" in step else "element"],
        _apply(lowered, style, whole),
        step,
        *(helper for key, helper in HELPERS.items() if f"{key}(" in step),
    )
    if style.conventional:
        for old, new in COMPENSATED:
            rest = _replaced(rest, old, new)
    return f"{described}\n\n{_IMPORTS}\n\n{_constants(lowered, step, whole)}\n\n\n{rest}"


def _replaced(text: str, old: str, new: str) -> str:
    """Replace whole lines at whatever depth they stand."""
    for depth in (0, 4, 8):
        deep = f"\n{indented(old, depth)}\n"
        if deep in text:
            return text.replace(deep, f"\n{indented(new, depth)}\n")
    raise ValueError(f"not in the source: {old!r}")


def _constants(lowered: Lowered, step: str, whole: bool) -> str:
    slots = "".join(f'    "{slot}",\n' for slot in lowered.slot_names)
    lines = [f"_SLOTS = (\n{slots})" if slots else "_SLOTS = ()"]
    if len(lowered.slots) == 1:
        lines = [f'_SLOTS = ("{lowered.slot_names[0]}",)']
    if not whole:
        lines.append("#: How many elements of each tensor are computed together on a CPU.")
        lines.append("_PIECE = 2**17")
    if "_BOUND" in step:
        lines.append("#: Far below any gradient; its inverse is finite in float32.")
        lines.append("_BOUND = 2.0**-120")
    return "\n".join(lines)


def _betas(lowered: Lowered, style: Style) -> list[str]:
    """The names of the hyperparameters that are one tuple."""
    return [name for name in lowered.names if name.startswith("b")] if style.conventional else []


def _given(lowered: Lowered, style: Style) -> dict[str, str]:
    """The hyperparameters in the order of the signature, with defaults as source."""
    values = dict(pair.split("=", 1) for pair in source.keywords(lowered, style))
    betas = _betas(lowered, style)
    given = {"lr": style.defaults.get("lr", "None")}
    if betas:
        given["betas"] = f"({', '.join(values.pop(name) for name in betas)})"
    return given | values


def _class(lowered: Lowered, name: str, style: Style, whole: bool) -> str:
    given = _given(lowered, style)
    options = {} if whole else {"foreach": "None"}
    options |= {"maximize": "False"}
    options |= {"slot_dtype": "None"} if lowered.slots else {}
    options |= {"compensated": "False"} if style.conventional else {}
    documents = "".join(f"    {key}: {_OPTIONS[key]}\n" for key in options)
    methods = METHODS if lowered.slots else METHODS.partition("@staticmethod")[0]
    if not lowered.slots:
        start = "        state = self.state[p]\n        if not state:\n"
        methods = methods.replace(start + "            self._start(state, p, group)\n", "")
        methods = methods.replace(", *(state[slot] for slot in _SLOTS)]", "]")
    body = '"""See the top of the file.\n\nArguments besides the hyperparameters:\n' + documents
    body += '"""\n\n' + _init(given, options, style) + "\n" + methods.strip("\n") + "\n"
    body += "\n" + (WHOLE_STEP if whole else STEP).strip("\n")
    return f"class {source.camel(name)}(torch.optim.Optimizer):\n{indented(body)}"


def _init(given: Mapping[str, str], options: Mapping[str, str], style: Style) -> str:
    pairs = [f"{key}={value}" for key, value in given.items()]
    positional = len(pairs) if style.conventional else 1
    arguments = ["self", "params", *pairs[:positional], "*", *pairs[positional:]]
    arguments += [f"{key}={value}" for key, value in options.items()]
    defaults = "".join(f'    "{key}": {key},\n' for key in [*given, *options])
    first = f"lr = {PEAK} if lr is None else lr\n" if style.own_peak else _CHECKS
    body = f"{first}defaults = {{\n{defaults}}}\nsuper().__init__(params, defaults)\n"
    return f"{source.signature('def __init__', arguments)}\n{indented(body)}"


def _apply(lowered: Lowered, style: Style, whole: bool) -> str:
    """The function that brings tensors and numbers together and calls `_step`."""
    reads_schedule = SCHEDULE in lowered.reads
    numbers, names = [], ["*lists", LR.name]
    if whole:
        if reads_schedule:
            numbers.append(
                f'schedule = [x / y for x, y in zip(lr, numbers("{PEAK}"), strict=True)]'
            )
        numbers += [f'{name} = numbers("{name}")' for name in lowered.names]
    else:
        if reads_schedule:
            numbers.append(f'schedule = lr / group["{PEAK}"]')
        betas = _betas(lowered, style)
        if betas:
            numbers.append(f'{", ".join(betas)} = group["betas"]')
        numbers += [f'{n} = group["{n}"]' for n in lowered.names if n not in betas]
    names += [SCHEDULE.name] if reads_schedule else []
    names += lowered.names
    text = (LISTS if whole else APPLY).replace(
        "NUMBERS", indented("".join(f"{n}\n" for n in numbers))
    )
    call = f"after = _step({', '.join(names)})"
    if len(call) > source.WIDTH - 8:
        call = "after = _step(\n" + "".join(f"        {n},\n" for n in names) + "    )"
    return text.replace("after = _step(ARGUMENTS)", call)
