"""Known optimizers, written in the language.

Those of the paper's language correct no bias, since it has no step counter; those that
need the extended one are in `zoo_extended`. Every slot starts at zero. The schedule `lr`
has peak 1, so each program scales it by its own learning rate. The programs are parsed
when first asked for.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache

from primitives.program import Program, ProgramError
from primitives.text import from_text
from primitives.zoo_extended import TEXTS

_PAPER = "Chen et al. 2023, arXiv 2302.06675"


@dataclass(frozen=True)
class Entry:
    """An optimizer: what it does in one line, where it comes from, and its text."""

    description: str
    source: str
    text: str


def _entry(description: str, source: str, slots: str, *statements: str) -> Entry:
    given = [slot.replace(":", ": ") for slot in slots.split()]  # `r:row` is a slot of rows
    names = [slot.partition(":")[0] for slot in given]
    lines = [
        f"def train({', '.join(['w', 'g', *given, 'lr'])}):",
        *statements,
        f"return {', '.join(['update', *names])}",
    ]
    return Entry(description, source, "\n    ".join(lines) + "\n")


ENTRIES: dict[str, Entry] = {
    "adamw": _entry(
        "Adam with decoupled weight decay; the paper's start program",
        f"{_PAPER}, Program 3; Loshchilov & Hutter 2019, arXiv 1711.05101",
        "m v",
        "g2 = square(g)",
        "m = interp(g, m, 0.9)",
        "v = interp(g2, v, 0.999)",
        "sqrt_v = sqrt(v)",
        "update = m / sqrt_v",
        "wd = w * 0.01",
        "update = update + wd",
        "lr = lr * 0.001",
        "update = update * lr",
    ),
    "lion": _entry(
        "Sign of an interpolated momentum, with two decay rates",
        f"{_PAPER}, Program 1",
        "m",
        "update = interp(g, m, 0.9)",
        "update = sign(update)",
        "m = interp(g, m, 0.99)",
        "wd = w * 0.1",
        "update = update + wd",
        "lr = lr * 0.0001",
        "update = update * lr",
    ),
    "paper-program-4": _entry(
        "The paper's raw winner as its authors cleaned it, before the simplification to Lion",
        f"{_PAPER}, Program 4",
        "m v",
        "g = clip(g, lr)",
        "g = arcsin(g)",
        "m = interp(g, v, 0.899)",
        "m2 = m * m",
        "v = interp(g, m, 1.109)",
        "abs_m = sqrt(m2)",
        "update = m / abs_m",
        "wd = w * 0.4602",
        "update = update + wd",
        "lr = lr * 0.0002",
        "m = cosh(update)",
        "update = update * lr",
    ),
    "paper-program-5": _entry(
        "AdamW's relative with the sine of the update and a decay scaled by the dot of g and w",
        f"{_PAPER}, Program 5",
        "m v",
        "m = interp(m, g, 0.16)",
        "g2 = square(g)",
        "v = interp(v, g2, 0.001)",
        "v753 = dot(g, w)",
        "sqrt_v = sqrt(v)",
        "update = m / sqrt_v",
        "wd = v753 * w",
        "update = sin(update)",
        "update = update + wd",
        "lr = lr * 0.0216",
        "update = update * lr",
        "v = sin(v)",
    ),
    "paper-program-6": _entry(
        "A relative of AdaGrad with a capped second moment and the sinh of the update",
        f"{_PAPER}, Program 6",
        "m v",
        "m = interp(m, g, 0.1)",
        "g2 = square(g)",
        "g2 = v + g2",
        "v = interp(v, g2, 0.0015)",
        "sqrt_v = sqrt(v)",
        "update = m / sqrt_v",
        "v70 = get_pi()",
        "v = minimum(v, v70)",
        "update = sinh(update)",
        "lr = lr * 0.0606",
        "update = update * lr",
    ),
    "paper-program-7": _entry(
        "A relative of AdaBelief with decoupled weight decay",
        f"{_PAPER}, Program 7",
        "m v",
        "m = interp(m, g, 0.1)",
        "g = g - m",
        "g2 = square(g)",
        "v = interp(v, g2, 0.001)",
        "sqrt_v = sqrt(v)",
        "update = m / sqrt_v",
        "wd = w * 0.0238",
        "update = update + wd",
        "lr = lr * 0.03721",
        "update = update * lr",
    ),
    "paper-program-8": _entry(
        "The raw program that the paper's search found, which becomes Lion when simplified",
        f"{_PAPER}, Program 8",
        "m v",
        "g = clip(g, lr)",
        "m = clip(m, lr)",
        "v845 = sqrt(0.6270633339881897)",
        "v968 = sign(v)",
        "v968 = v - v",
        "g = arcsin(g)",
        "m = interp(g, v, 0.8999999761581421)",
        "v1 = m * m",
        "v = interp(g, m, 1.109133005142212)",
        "v845 = tanh(v845)",
        "lr = lr * 0.0002171761734643951",
        "update = m * lr",
        "v1 = sqrt(v1)",
        "update = update / v1",
        "wd = lr * 0.4601978361606598",
        "v1 = square(v1)",
        "wd = wd * w",
        "m = cosh(update)",
        "lr = tan(1.4572199583053589)",
        "update = update + wd",
        "lr = cos(v845)",
    ),
    "sgd": _entry(
        "Stochastic gradient descent",
        "Robbins & Monro 1951",
        "",
        "lr = lr * 0.01",
        "update = g * lr",
    ),
    "momentum": _entry(
        "Heavy-ball momentum, undamped: m = 0.9 m + g",
        "Polyak 1964",
        "m",
        "m = m * 0.9",
        "m = m + g",
        "lr = lr * 0.01",
        "update = m * lr",
    ),
    "nesterov": _entry(
        "Nesterov momentum in the form of Sutskever et al.: the step is g + 0.9 m",
        "Nesterov 1983; Sutskever et al. 2013",
        "m",
        "m = m * 0.9",
        "m = m + g",
        "update = m * 0.9",
        "update = update + g",
        "lr = lr * 0.01",
        "update = update * lr",
    ),
    "signsgd": _entry(
        "The sign of the gradient",
        "Bernstein et al. 2018, arXiv 1802.04434",
        "",
        "lr = lr * 0.001",
        "update = sign(g)",
        "update = update * lr",
    ),
    "signum": _entry(
        "The sign of an exponential moving average of the gradient",
        "Bernstein et al. 2018, arXiv 1802.04434",
        "m",
        "m = interp(g, m, 0.9)",
        "update = sign(m)",
        "lr = lr * 0.001",
        "update = update * lr",
    ),
    "tiger": _entry(
        "Signum with decoupled weight decay",
        "Su 2023, github.com/bojone/tiger",
        "m",
        "m = interp(g, m, 0.965)",
        "update = sign(m)",
        "wd = w * 0.01",
        "update = update + wd",
        "lr = lr * 0.001",
        "update = update * lr",
    ),
    "rmsprop": _entry(
        "The gradient over the root of a moving average of its square",
        "Tieleman & Hinton 2012",
        "v",
        "g2 = square(g)",
        "v = interp(g2, v, 0.9)",
        "sqrt_v = sqrt(v)",
        "update = g / sqrt_v",
        "lr = lr * 0.001",
        "update = update * lr",
    ),
    "adagrad": _entry(
        "The gradient over the root of the sum of all its squares",
        "Duchi et al. 2011",
        "v",
        "g2 = square(g)",
        "v = v + g2",
        "sqrt_v = sqrt(v)",
        "update = g / sqrt_v",
        "lr = lr * 0.01",
        "update = update * lr",
    ),
    "adam": _entry(
        "Adam without bias correction",
        "Kingma & Ba 2015, arXiv 1412.6980",
        "m v",
        "g2 = square(g)",
        "m = interp(g, m, 0.9)",
        "v = interp(g2, v, 0.999)",
        "sqrt_v = sqrt(v)",
        "update = m / sqrt_v",
        "lr = lr * 0.001",
        "update = update * lr",
    ),
    "adabelief": _entry(
        "Adam that divides by the deviation of the gradient from its average, no bias correction",
        "Zhuang et al. 2020, arXiv 2010.07468",
        "m v",
        "m = interp(g, m, 0.9)",
        "d = g - m",
        "d2 = square(d)",
        "v = interp(d2, v, 0.999)",
        "sqrt_v = sqrt(v)",
        "update = m / sqrt_v",
        "lr = lr * 0.001",
        "update = update * lr",
    ),
    "amsgrad": _entry(
        "Adam that divides by the largest second moment so far, without bias correction",
        "Reddi et al. 2018, arXiv 1904.09237",
        "m v u",
        "g2 = square(g)",
        "m = interp(g, m, 0.9)",
        "v = interp(g2, v, 0.999)",
        "u = maximum(u, v)",
        "sqrt_u = sqrt(u)",
        "update = m / sqrt_u",
        "lr = lr * 0.001",
        "update = update * lr",
    ),
    "powersign": _entry(
        "The gradient times e where it agrees in sign with its average, over e where it does not",
        "Bello et al. 2017, arXiv 1709.07417",
        "m",
        "m = interp(g, m, 0.9)",
        "sign_g = sign(g)",
        "sign_m = sign(m)",
        "agreement = sign_g * sign_m",
        "factor = exp(agreement)",
        "update = factor * g",
        "lr = lr * 0.001",
        "update = update * lr",
    ),
    "addsign": _entry(
        "The gradient doubled where it agrees in sign with its average, dropped where it does not",
        "Bello et al. 2017, arXiv 1709.07417",
        "m",
        "m = interp(g, m, 0.9)",
        "sign_g = sign(g)",
        "sign_m = sign(m)",
        "agreement = sign_g * sign_m",
        "factor = agreement + 1.0",
        "update = factor * g",
        "lr = lr * 0.001",
        "update = update * lr",
    ),
    "exponentiated-gradient": _entry(
        "Each weight times exp(-lr g), unnormalized; weights keep their sign",
        "Kivinen & Warmuth 1997",
        "",
        "lr = lr * 0.01",
        "exponent = g * lr",
        "exponent = negative(exponent)",
        "factor = expm1(exponent)",
        "update = w * factor",
        "update = negative(update)",
    ),
}

#: Those of the extended language.
EXTENDED_ENTRIES = {
    name: _entry(what, source, slots, *lines)
    for name, (what, source, slots, lines) in TEXTS.items()
}

#: Other names of the entries.
ALIASES: dict[str, str] = {
    "paper-program-1": "lion",
    "paper-program-3": "adamw",
    "heavy-ball": "momentum",
    "sign-sgd": "signsgd",
    "eg": "exponentiated-gradient",
}

#: The names of the entries, aliases left out: those of the paper's language, and the others.
NAMES: tuple[str, ...] = tuple(ENTRIES)
EXTENDED_NAMES: tuple[str, ...] = tuple(EXTENDED_ENTRIES)


def entry(name: str) -> Entry:
    """The entry of a name or alias.

    Raises:
        ProgramError: if there is none; the message gives the nearest right name.
    """
    found = {**ENTRIES, **EXTENDED_ENTRIES}.get(ALIASES.get(name, name))
    if found is None:
        known = [*NAMES, *EXTENDED_NAMES, *ALIASES]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"the names are {', '.join(known)}"
        raise ProgramError(f"no optimizer is named '{name}'; {hint}")
    return found


@cache
def _parsed(text: str) -> Program:
    return from_text(text)


def zoo(name: str) -> Program:
    """The program of a name or alias.

    Raises:
        ProgramError: if there is none; the message gives the nearest right name.
    """
    return _parsed(entry(name).text)
