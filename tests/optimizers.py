"""The optimizers that every framework's tests go over: Lion as shipped, and exported programs.

Exported are four programs of the zoo that between them are written in every way: element by
element, with sums over all arrays, with a schedule, without state. And all programs of
`discovered/programs`: one that is added to that folder is tested like the others. They are
written in no way of their own, so `make slow` tries them.
"""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import discovered
from evolve.export import catalog, replay
from primitives.program import Program
from primitives.text import from_text
from primitives.zoo import zoo

FOLDER = Path(discovered.__file__).parent / "programs"
FOUND = "found-"
PROGRAMS: dict[str, Program] = {
    **{name: zoo(name) for name in ("adamw", "paper-program-5", "paper-program-8", "sgd")},
    **{f"{FOUND}{file.stem}": from_text(file.read_text()) for file in sorted(FOLDER.glob("*.txt"))},
}


@cache
def exported(target: str, name: str) -> Any:
    """The factory or class that an exporter writes for a program."""
    return written(target, name.replace("-", "_"), PROGRAMS[name])


def written(target: str, name: str, program: Program) -> Any:
    """The same for any program; its module can be found by what looks for it by name."""
    module_name = f"exported_{target}_{name}"
    module = replay.load(catalog.emit(target, program, name, {}), module_name)
    sys.modules[module_name] = module
    return getattr(module, name if target == "optax" else replay.camel(name))


def makes(target: str, **shipped: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """All optimizers of a framework by name: the exported ones, then Lion as shipped."""
    return {name: exported(target, name) for name in PROGRAMS} | shipped


def each(made: dict[str, Any], argument: str = "make") -> pytest.MarkDecorator:
    """A test for each of these optimizers; those of what was found are slow."""
    marks = {True: pytest.mark.slow, False: ()}
    given = [
        pytest.param(value, id=name, marks=marks[name.startswith(FOUND)])
        for name, value in made.items()
    ]
    return pytest.mark.parametrize(argument, given)
