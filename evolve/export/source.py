"""Pieces of Python source that every target writes: docstrings, signatures, lists of arrays.

The source must pass the repository's linter and formatter as it is written, so
a signature has one argument a line, and a line of code is never near the limit.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from evolve.export.lowering import DECAY, LR, PEAK, SCHEDULE, Lowered
from evolve.export.printing import Printer

WIDTH = 100


@dataclass(frozen=True)
class Style:
    """What may differ between exports of one program to one framework.

    Attributes:
        title: the first line of the docstring; without it the optimizer's name.
        details: paragraphs after the equation.
        defaults: of arguments, as source; in place of the program's own constants.
        rename: other names of hyperparameters.
        own_peak: whether `peak_lr` is an argument, and gives the learning rate's default.
        conventional: whether the signature is that of the framework's own optimizers,
            with the options that come with it (see each target).
    """

    title: str = ""
    details: str = ""
    defaults: Mapping[str, str] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    own_peak: bool = True
    conventional: bool = False


def indented(text: str, by: int = 4) -> str:
    """Every line that is not empty, further to the right."""
    return textwrap.indent(text, " " * by)


def joined(*blocks: str) -> str:
    """Top-level definitions, two empty lines apart."""
    return "\n\n\n".join(block.strip("\n") for block in blocks if block) + "\n"


def signature(head: str, arguments: Iterable[str], result: str = "") -> str:
    """`def name(` with an argument a line; `head` is `def name` or `class name`."""
    lines = "".join(f"    {argument},\n" for argument in arguments)
    return f"{head}(\n{lines}){result}:"


def camel(name: str) -> str:
    """`paper_program_8` as the name of a class."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def one_line(head: str, arguments: Sequence[str]) -> str:
    """`def step(a, b):`, or an argument a line where that is too long."""
    line = f"{head}({', '.join(arguments)}):"
    return line if len(line) < WIDTH - 12 else signature(head, arguments)


def keywords(lowered: Lowered, style: Style) -> list[str]:
    """The hyperparameters as keyword arguments with defaults."""
    pairs = [
        (style.rename.get(h.name, h.name), style.defaults.get(h.name, h.text))
        for h in lowered.hyperparameters
    ]
    if style.own_peak:
        pairs.append((PEAK, lowered.peak.text))
    return [f"{name}={default}" for name, default in pairs]


def equation(lowered: Lowered) -> list[str]:
    """One step as plain formulas, a line each."""
    plain = Printer(names={})
    lines = [f"schedule = lr / {PEAK}"] if SCHEDULE in lowered.reads else []
    lines += [f"{line.target.name} = {plain.text(line.formula)}" for line in lowered.lines]
    return [*lines, f"w = w - {lowered.update.name}"]


def docstring(
    lowered: Lowered, name: str, provenance: Mapping[str, str], style: Style, rate: str
) -> str:
    """What stands at the top of the file; `rate` is how the learning rate is called."""
    slots = ", ".join(lowered.slot_names)
    state = f" Slots that start at zero: {slots}." if slots else " There is no state."
    whole = " `sum` goes over all arrays." if lowered.whole_tree else ""
    parts = [
        style.title or f"The optimizer `{name}`, written by `evolve export`.",
        _filled(f"One step, for weights w with gradient g and learning rate lr.{state}{whole}"),
        indented("\n".join(equation(lowered))),
        style.details.strip(),
        _section("Hyperparameters", _hyperparameters(lowered, style, rate)),
        _section("Provenance", [f"{key}: {value}" for key, value in provenance.items()]),
    ]
    text = "\n\n".join(part for part in parts if part)
    return f'"""{text}\n"""'


def _hyperparameters(lowered: Lowered, style: Style, rate: str) -> list[str]:
    default = f" (default: {PEAK})" if style.own_peak else ""
    lines = [f"{rate}: the peak times the schedule{default}."]
    if LR not in lowered.reads and SCHEDULE not in lowered.reads:
        lines = [f"{rate}: this optimizer does not read it."]
    for h in lowered.hyperparameters:
        new = style.rename.get(h.name, h.name)
        role = {"b": "the weight of the second of two averaged terms", "c": "a constant"}.get(
            h.name[0], ""
        )
        role = "decoupled, times the learning rate" if h.name == DECAY else role
        lines.append(f"{new}: {role} ({h.text} in the program).")
    if style.own_peak:
        lines.append(f"{PEAK}: the program's own peak ({lowered.peak.text}).")
    return lines


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(_filled(line, "    ", "        ") for line in lines)])


def _filled(text: str, first: str = "", rest: str = "") -> str:
    text = text.replace("\\", "/").replace('"""', "'''")
    return textwrap.fill(text, WIDTH - 4, initial_indent=first, subsequent_indent=rest)
