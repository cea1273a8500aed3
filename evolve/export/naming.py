"""Names for the values of lowered programs, so that the source that is written can be run.

A value keeps the name that the program gives it, and a name is given to another
value once nothing reads the first any more, as in the program. Names that mean
something in Python or in the source around are changed, and long ones shortened.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count

from evolve.export.expressions import Expression, Variable

LONGEST = 9
#: What the source around the lines uses, in any of the targets; `l`, `O` and `I` are hard to read.
_USED = """
    w lr rate rates schedule peak_lr weight_decay learning_rate np jnp jax optax torch keras ops
    self cls state states params param group groups grads updates update_step leaves leaf dtype
    dtypes count init step mask decays treedef weights gradients variables variable gradient slots
    Any NamedTuple annotations x y z x4 x5 x6 x7 scale total total_2 total_3 number after i l O I
    error wide tree gs ws new arrays places tiny foreach maximize closure loss config do info
    betas own bounds given options
"""
_TAKEN = frozenset([*_USED.split(), *dir(builtins), *keyword.kwlist, *keyword.softkwlist])


#: What hyperparameters are called.
_OF_HYPERPARAMETERS = re.compile(r"[bc]\d+")


def is_taken(name: str) -> bool:
    """Whether the source that is written uses a name itself."""
    return name in _TAKEN


def new_names(
    targets: Sequence[Variable],
    reads: Sequence[Sequence[Expression]],
    outputs: Sequence[Variable],
    inputs: Sequence[str],
    wanted: Mapping[str, str],
    hyperparameters: Sequence[str],
) -> dict[str, str]:
    """A name for the target of each line.

    Arguments:
        targets, reads: of each line, what it computes and what it reads.
        outputs: what is read after the last line.
        inputs: the names that exist before the first line.
        wanted: the name that the program gives each target.
        hyperparameters: names that are taken throughout.
    """
    last: dict[Expression, int] = {}
    for i, read in enumerate(reads):
        last.update(dict.fromkeys(read, i))
    last.update(dict.fromkeys(outputs, len(targets)))
    taken = _TAKEN | set(hyperparameters)
    # Until which line each name is in use.
    busy = {name: max([-1, *(i for v, i in last.items() if _is(v, name))]) for name in inputs}
    names = {}
    for i, target in enumerate(targets):
        name = _readable(wanted[target.name], taken, busy, i)
        names[target.name] = name
        busy[name] = last.get(target, i)
    return names


def slot_names(slots: Sequence[str]) -> dict[str, str]:
    """A name for each slot of a program."""
    names: dict[str, str] = {}
    taken = _TAKEN | {slot for slot in slots if _OF_HYPERPARAMETERS.fullmatch(slot)}
    for slot in slots:
        names[slot] = _readable(slot, taken, dict.fromkeys(names.values(), 1), 0)
    return names


def renamed(value: Expression, names: Mapping[str, str]) -> Expression:
    """A value under its new name; other expressions as they are."""
    if isinstance(value, Variable):
        return replace(value, name=names.get(value.name, value.name))
    return value


def _is(value: Expression, name: str) -> bool:
    return isinstance(value, Variable) and value.name == name


def _readable(wanted: str, taken: frozenset[str], busy: Mapping[str, int], line: int) -> str:
    base = wanted.lstrip("_") or "t"
    base = "t" if len(base) > LONGEST or not base[0].isalpha() else base
    for number in count(1):
        name = base if number == 1 else f"{base}_{number}"
        if name not in taken and busy.get(name, -1) <= line:
            return name
    raise AssertionError
