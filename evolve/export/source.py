"""Pieces of Python source that every target writes: docstrings, signatures, lists of arrays.

The source must pass the repository's linter and formatter as it is written, so
a signature has one argument a line, and a line of code is never near the limit.
"""

from __future__ import annotations

import ast
import math
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evolve.export.lowering import BETA, DECAY, LR, PEAK, SCHEDULE, Lowered
from evolve.export.printing import Printer

WIDTH = 100
_RUNTIME = Path(__file__).parent / "runtime"
#: How the frameworks' own optimizers call the learning rate, and the i-th beta.
_NAMES = {
    "optax": ("learning_rate", "b{}"),
    "torch": ("lr", "betas[{}]"),
    "keras": ("learning_rate", "beta_{}"),
    "numpy": ("learning_rate", "b{}"),
    "latex": ("lr", "b{}"),
}
_ROLES = {BETA: "the weight of the second of two averaged terms", "constant": "a constant"}


@dataclass(frozen=True)
class Style:
    """What may differ between exports of one program to one framework.

    Attributes:
        title: the first line of the docstring; without it the optimizer's name.
        details: paragraphs after the equation.
        defaults: of arguments, as source; in place of the program's own constants.
        own_peak: whether `peak_lr` is an argument, and gives the learning rate's default.
        package: under which Keras registers the class; by default one of its own.
    """

    title: str = ""
    details: str = ""
    defaults: Mapping[str, str] = field(default_factory=dict)
    own_peak: bool = True
    package: str = ""


def indented(text: str, by: int = 4) -> str:
    """Every line that is not empty, further to the right."""
    return textwrap.indent(text, " " * by)


def joined(*blocks: str) -> str:
    """Top-level definitions, two empty lines apart."""
    return "\n\n\n".join(block.strip("\n") for block in blocks if block) + "\n"


def apart(parts: Iterable[str]) -> str:
    """The parts of a class, an empty line apart."""
    return "\n\n".join(parts)


def module(
    described: str, runtime: Sequence[str], *blocks: str, imports: Iterable[str] = ()
) -> str:
    """A module: its docstring, the imports and text of some of `runtime`, and what is its own."""
    texts, needed = [], set(imports)
    for name in runtime:
        text = (_RUNTIME / f"{name}.py").read_text()
        nodes = [n for n in ast.parse(text).body if isinstance(n, ast.Import | ast.ImportFrom)]
        needed.update(line for n in nodes if "evolve" not in (line := ast.unparse(n)))
        texts.append("\n".join(text.splitlines()[nodes[-1].end_lineno :]))
    return joined(f"{described}\n\n{_import_block(needed)}", *texts, *blocks)


def _import_block(imports: Iterable[str]) -> str:
    """Import statements in the order that the linter wants."""
    future = "from __future__ import annotations"
    names = {text: text.split()[1].split(".")[0] for text in set(imports) - {future}}
    standard = sorted(
        (t for t, name in names.items() if name in sys.stdlib_module_names),
        key=lambda t: (t.startswith("from"), t),
    )
    others = sorted(set(names) - set(standard), key=lambda t: (t.startswith("from"), t))
    return "\n\n".join("\n".join(part) for part in ([future], standard, others) if part)


def signature(head: str, arguments: Iterable[str], result: str = "") -> str:
    """`def name(` with an argument a line; `head` is `def name` or `class name`."""
    lines = "".join(f"    {argument},\n" for argument in arguments)
    return f"{head}(\n{lines}){result}:"


def call(name: str, arguments: Iterable[str]) -> str:
    """A call with an argument a line."""
    lines = "".join(f"    {argument},\n" for argument in arguments)
    return f"{name}(\n{lines})"


def tuple_text(names: Sequence[str], *, quotes: bool = True) -> str:
    """A tuple of strings, or with no quotes of names; a long one has a line for each."""
    texts = [f'"{name}"' for name in names] if quotes else list(names)
    line = ", ".join(texts)
    if len(line) > WIDTH // 2:
        return "(\n" + "".join(f"    {text},\n" for text in texts) + ")"
    if len(texts) == 1:
        return f"({line},)"
    return f"({line})" if quotes else line


def camel(name: str) -> str:
    """`paper_program_8` as the name of a class."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def one_line(head: str, arguments: Sequence[str]) -> str:
    """`def step(a, b):`, or an argument a line where that is too long."""
    line = f"{head}({', '.join(arguments)}):"
    return line if len(line) < WIDTH - 12 else signature(head, arguments)


def argument_names(lowered: Lowered, target: str) -> dict[str, str]:
    """How users of a framework expect the hyperparameters to be called."""
    beta, first = _NAMES[target][1], 0 if target == "torch" else 1
    betas = {name: beta.format(i + first) for i, name in enumerate(lowered.betas)}
    return {name: betas.get(name, name) for name in lowered.names}


def keywords(lowered: Lowered, style: Style) -> dict[str, str]:
    """The hyperparameters with their defaults as source."""
    pairs = {h.name: style.defaults.get(h.name, h.text) for h in lowered.hyperparameters}
    return pairs | ({PEAK: lowered.peak.text} if style.own_peak else {})


def bounds(lowered: Lowered, style: Style, target: str) -> str:
    """What `_check` of `runtime.checks` takes: the least and largest value of each number."""
    names = argument_names(lowered, target)
    rows = [(_NAMES[target][0], 0.0, math.inf)]
    given = [*lowered.hyperparameters, *([lowered.peak] if style.own_peak else [])]
    for h in given:
        if h.bounds is not None:
            rows.append((names.get(h.name, h.name), *h.bounds))
    if target == "keras" and not lowered.decay:  # the base class has one all the same
        rows.append((DECAY, 0.0, math.inf))
    text = {math.inf: "math.inf", -math.inf: "-math.inf"}
    lines = [
        f'    ("{n}", {text.get(low, low)}, {text.get(high, high)}),\n' for n, low, high in rows
    ]
    return f"(\n{''.join(lines)})"


def equation(lowered: Lowered) -> list[str]:
    """One step as plain formulas, a line each."""
    plain = Printer(names={})
    lines = [f"schedule = lr / {PEAK}"] if SCHEDULE in lowered.reads else []
    lines += [f"{line.target.name} = {plain.text(line.formula)}" for line in lowered.lines]
    return [*lines, f"w = w - {lowered.update.name}"]


def docstring(
    lowered: Lowered, name: str, provenance: Mapping[str, str], style: Style, target: str
) -> str:
    """What stands at the top of the file."""
    slots = ", ".join(lowered.slot_names)
    state = f" Slots that start at zero: {slots}." if slots else " There is no state."
    whole = " `sum` goes over all arrays." if lowered.whole_tree else ""
    parts = [
        style.title or f"The optimizer `{name}`, written by `evolve export`.",
        _filled(f"One step, for weights w with gradient g and learning rate lr.{state}{whole}"),
        indented("\n".join(equation(lowered))),
        style.details.strip(),
        _section("Hyperparameters", _hyperparameters(lowered, style, target)),
        _section("Provenance", [f"{key}: {value}" for key, value in provenance.items()]),
    ]
    text = "\n\n".join(part for part in parts if part)
    return f'"""{text}\n"""'


def _hyperparameters(lowered: Lowered, style: Style, target: str) -> list[str]:
    rate = _NAMES[target][0]
    lines = [f"{rate}: the peak times the schedule."]
    if style.own_peak:
        lines = [
            f"{rate}: the peak times the schedule, on the scale of {PEAK}, its default, with which "
            "steps are as large as those of the program."
        ]
    if LR not in lowered.reads and SCHEDULE not in lowered.reads:
        lines = [f"{rate}: this optimizer does not read it."]
    names = argument_names(lowered, target)
    for h in lowered.hyperparameters:
        new = f"{names[h.name]}, above {h.name}" if names[h.name] != h.name else h.name
        role = _ROLES.get(h.role) or f"decoupled, times the learning rate; {_decay_off(target)}"
        own = style.defaults.get(h.name, h.text)
        value = h.text if own == h.text else f"{h.text} in the program, here {own}"
        lines.append(f"{new}: {role} (default: {value}).")
    if style.own_peak:
        lines.append(f"{PEAK}: the program's own peak ({lowered.peak.text}).")
    return lines


def _decay_off(target: str) -> str:
    return f"{'None or 0' if target == 'keras' else '0'} switches it off"


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(_filled(line, "    ", "        ") for line in lines)])


def _filled(text: str, first: str = "", rest: str = "") -> str:
    text = text.replace("\\", "/").replace('"""', "'''")
    return textwrap.fill(text, WIDTH - 4, initial_indent=first, subsequent_indent=rest)
