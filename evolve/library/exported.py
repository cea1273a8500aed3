"""Programs as source text, with where they come from and how exact the text is."""

from __future__ import annotations

import importlib.util
import keyword
import math
import re
from importlib.metadata import version
from pathlib import Path

from evolve.errors import BadInput, nearest
from evolve.export import catalog, replay
from evolve.export.naming import is_taken
from evolve.programs import is_known, run_of
from primitives import zoo
from primitives.abstract import analyse
from primitives.program import Program

LONGEST_NAME = 40


def require(target: str) -> None:
    """Check that there is such a target, and that its framework is installed.

    Raises:
        BadInput: if not.
    """
    if target not in catalog.TARGETS:
        raise BadInput(
            f"'{target}' is no target; the targets are {', '.join(catalog.TARGETS)}"
            f"{nearest(target, catalog.TARGETS)}"
        )
    needed = catalog.TARGETS[target]
    if needed is not None and importlib.util.find_spec(needed[0]) is None:
        framework, extra = needed
        raise BadInput(f"'{target}' needs {framework}, which is not installed; pip install {extra}")


def exported(target: str, program: Program, argument: str) -> tuple[str, float]:
    """The source, and the largest difference from the reference, which stands in it.

    NaN if that was not measured: the reference is never finite. 0 for what cannot be run.

    Arguments:
        target: for which `require` found nothing wrong.
        argument: what the program was called, a PROGRAM.
    """
    name, provenance = identifier(argument), provenance_of(program, argument)
    source = catalog.emit(target, program, name, provenance)
    if target not in replay.ADAPTERS:
        return source, 0.0
    difference = replay.largest_difference(target, source, name, program)
    unknown = "not measured, as the reference is not finite"
    text = unknown if math.isnan(difference) else f"{difference:.1e}"
    notes = provenance | {catalog.DIFFERENCE: text}
    return catalog.emit(target, program, name, notes), difference


def provenance_of(program: Program, argument: str) -> dict[str, str]:
    """Where the program comes from."""
    notes = {"program": argument}
    if is_known(argument):
        known = zoo.entry(argument)
        notes |= {"description": known.description, "source": known.source}
    notes["functional hash"] = analyse(program).functional_hash
    notes["written by"] = f"evolve-optimizers {version('evolve-optimizers')}"
    return notes


def identifier(argument: str) -> str:
    """A name for the optimizer: that of the zoo, `program_12` for RUN#12, or the file's."""
    folder, number = run_of(argument)
    if folder is not None:
        return "champion" if number is None else f"program_{number}"
    words = re.findall(r"[a-z0-9]+", Path(argument).stem.lower())
    name = "_".join(words)[:LONGEST_NAME].strip("_")
    if not name or name[0].isdigit() or keyword.iskeyword(name) or is_taken(name):
        return f"optimizer_{name}".rstrip("_")
    return name
