"""The PyTorch target: a subclass of `torch.optim.Optimizer`.

16-bit tensors are computed in float32 and copied back. A decoupled decay and a
final factor `lr` are applied in place; a sign in front of that factor is taken
by clamping, which writes no new tensor and keeps NaN.
"""

from __future__ import annotations

from collections.abc import Mapping

from evolve.export import source
from evolve.export.lowering import DECAY, LR, PEAK, SCHEDULE, Lowered, lower
from evolve.export.source import Style, indented
from evolve.export.torch_lines import elementwise, elementwise_lines, whole_lines
from primitives.program import Program

_OPTIONS = {
    "foreach": "False computes one tensor after the other; else many plain ones are computed\n"
    "        together. What is not plain, as a sharded DTensor, is computed on its own.",
    "maximize": "go uphill.",
    "slot_dtype": "dtype of the slots; None stands for that of the weights.",
    "compensated": "keep what rounding takes from 16-bit weights in one more slot of their\n"
    "        dtype, so that small steps are not lost.",
}
#: Functions of the table that PyTorch lacks, or that treat NaN otherwise there.
_HELPERS = {
    "_sign": '''
def _sign(x):
    """The sign; NaN stays NaN, which torch.sign makes 0."""
    return torch.where(x.isnan(), x, x.sign())
''',
    "_cbrt": '''
def _cbrt(x):
    """The cube root."""
    return torch.copysign(x.double().abs().pow(1.0 / 3.0), x).to(x.dtype)
''',
}


def emit(
    program: Program, name: str, provenance: Mapping[str, str], style: Style | None = None
) -> str:
    """The source of a module with one class, called `name` in camel case."""
    style = style or Style()
    whole = not elementwise(lower(program))
    lowered = lower(program, apart=not whole)
    step = _step(lowered, style, whole)
    base = "torch_whole" if whole else "torch_elementwise"
    return source.module(
        source.docstring(lower(program), name, provenance, style, "torch"),
        ("checks", "rounding", "torch_base", base, *_runtime(lowered)),
        *(helper for key, helper in _HELPERS.items() if f"{key}(" in step or f"{key}," in step),
        _class(lowered, name, style, step, "_Whole" if whole else "_Elementwise"),
    )


def _class(lowered: Lowered, name: str, style: Style, step: str, base: str) -> str:
    options = {"foreach": "None"} if base == "_Elementwise" else {}
    options |= {"maximize": "False"}
    options |= {"slot_dtype": "None"} if lowered.slots else {}
    options |= {"compensated": "False"}
    documents = "".join(f"    {key}: {_OPTIONS[key]}\n" for key in options)
    head = '"""See the top of the file.\n\nArguments besides the hyperparameters:\n' + documents
    constants = _constants(lowered, style)
    constants += "\n_split = False" if base == "_Elementwise" and "torch.sum" in step else ""
    parts = [f'{head}"""', constants, _init(lowered, options, style), step]
    return f"class {source.camel(name)}({base}):\n{indented(source.apart(parts))}"


def _constants(lowered: Lowered, style: Style) -> str:
    """What the base class reads: the slots and the bounds of the numbers."""
    bounds = source.bounds(lowered, style, "torch")
    betas = f"_betas = {len(lowered.betas)}\n" if lowered.betas else ""
    narrow = f"_narrow = {lowered.shape_pairs}\n" if lowered.narrow else ""
    return f"_slots = {source.tuple_text(lowered.slot_names)}\n{narrow}{betas}_bounds = {bounds}"


def _runtime(lowered: Lowered) -> list[str]:
    return [*(["matrices_torch"] if lowered.shaped else []), *lowered.runtime]


def _init(lowered: Lowered, options: Mapping[str, str], style: Style) -> str:
    given = {"lr": style.defaults.get("lr", "None")}
    keywords = source.keywords(lowered, style)
    betas = [keywords.pop(name) for name in lowered.betas]
    if betas:
        given["betas"] = f"({', '.join(betas)}{',' if len(betas) == 1 else ''})"
    if DECAY in keywords:
        given[DECAY] = keywords.pop(DECAY)
    last = keywords | dict(options)
    arguments = ["self", "params", *(f"{k}={v}" for k, v in given.items()), "*"]
    arguments += [f"{k}={v}" for k, v in last.items()]
    defaults = "".join(f'    "{key}": {key},\n' for key in [*given, *last])
    first = f"lr = {PEAK} if lr is None else lr\n" if style.own_peak else ""
    body = f"{first}defaults = {{\n{defaults}}}\nsuper().__init__(params, defaults)"
    return f"{source.signature('def __init__', arguments)}\n{indented(body)}"


def _step(lowered: Lowered, style: Style, whole: bool) -> str:
    """The method that computes the lines."""
    others = [name for name in lowered.names if name not in lowered.betas]
    if whole:
        head = ["number", "w", "g", *lowered.slot_names]
        numbers = ['lr = number("lr")'] if {LR, SCHEDULE} & lowered.reads else []
        numbers += [f'{name} = number("betas", {i})' for i, name in enumerate(lowered.betas)]
        numbers += [f'{name} = number("{name}")' for name in others]
        if SCHEDULE in lowered.reads:
            pairs = f'zip(lr, number("{PEAK}"), strict=True)'
            numbers.append(f"schedule = [x / y for x, y in {pairs}]")
        what = '"""All weights, which change in place, and all slots after the step."""'
        lines = whole_lines(lowered)
    else:
        head = ["do", "info", "lr", "group", "w", "g", *lowered.slot_names]
        numbers = []
        if lowered.betas:
            left = source.tuple_text(lowered.betas, quotes=False)
            numbers.append(f'{left} = group["betas"]')
        numbers += [f'{name} = group["{name}"]' for name in others]
        if SCHEDULE in lowered.reads:
            numbers.append(f'schedule = lr / group["{PEAK}"]')
        what = '"""The weights, which change in place, and the slots after the step."""'
        lines = elementwise_lines(lowered)
    ends = ", ".join(
        ["w", *(lowered.ended("w") if whole else [end.name for _, end in lowered.slots])]
    )
    ends = ends if lowered.slots else "(w,)"
    text = "\n".join([what, *numbers, *lines, f"return {ends}"])
    return f"@staticmethod\n{source.one_line('def _step', head)}\n{indented(text)}"
