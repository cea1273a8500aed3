"""`evolve export`: a program as an optimizer in somebody's framework."""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import math
import re
import sys
from importlib.metadata import version
from pathlib import Path

from evolve.errors import BadInput, nearest
from evolve.export import catalog, replay
from evolve.export.naming import is_taken
from evolve.programs import load_program
from primitives import zoo
from primitives.abstract import analyse
from primitives.program import Program

#: Rounding explains no larger difference, except in programs that amplify it.
SUSPICIOUS = 1e-4
LONGEST_NAME = 40


def export(arguments: argparse.Namespace) -> None:
    """Write the program for a target, to a file or to the standard output."""
    target, output = arguments.to, arguments.output
    if target not in catalog.TARGETS:
        raise BadInput(
            f"'{target}' is no target; the targets are {', '.join(catalog.TARGETS)}"
            f"{nearest(target, catalog.TARGETS)}"
        )
    if output is not None and Path(output).exists() and not arguments.force:
        raise BadInput(f"'{output}' exists; give another name, or --force to write over it")
    program = load_program(arguments.program)
    _require_framework(target)
    if not analyse(program).learns:
        _warn(f"no gradient ever reaches the update of '{arguments.program}'; it learns nothing")
    source = exported(target, program, arguments.program)
    if output is None:
        sys.stdout.write(source)
        return
    try:
        Path(output).write_text(source)
    except OSError as error:
        raise BadInput(f"'{output}' cannot be written ({error.strerror})") from None


def exported(target: str, program: Program, argument: str) -> str:
    """The source, with the largest difference from the reference in its provenance."""
    name, provenance = identifier(argument), provenance_of(program, argument)
    source = catalog.emit(target, program, name, provenance)
    if target not in replay.ADAPTERS:
        return source
    difference = replay.largest_difference(target, source, name, program)
    if difference > SUSPICIOUS:
        _warn(f"the export differs from the program by {difference:.1e} in {replay.STEPS} steps")
    unknown = "not measured, as the reference is not finite"
    text = unknown if math.isnan(difference) else f"{difference:.1e}"
    return catalog.emit(target, program, name, provenance | {catalog.DIFFERENCE: text})


def provenance_of(program: Program, argument: str) -> dict[str, str]:
    """Where the program comes from."""
    notes = {"program": argument}
    if argument in zoo.NAMES or argument in zoo.ALIASES:
        known = zoo.entry(argument)
        notes |= {"description": known.description, "source": known.source}
    notes["functional hash"] = analyse(program).functional_hash
    notes["written by"] = f"evolve-optimizers {version('evolve-optimizers')}"
    return notes


def identifier(argument: str) -> str:
    """A name for the optimizer: that of the zoo, `program_12` for RUN#12, or the file's."""
    run, hash_sign, number = argument.rpartition("#")
    if hash_sign and run and number.isdecimal():
        return f"program_{number}"
    if Path(argument).is_dir():
        return "champion"
    words = re.findall(r"[a-z0-9]+", Path(argument).stem.lower())
    name = "_".join(words)[:LONGEST_NAME].strip("_")
    if not name or name[0].isdigit() or keyword.iskeyword(name) or is_taken(name):
        return f"optimizer_{name}".rstrip("_")
    return name


def _require_framework(target: str) -> None:
    needed = catalog.TARGETS[target]
    if needed is not None and importlib.util.find_spec(needed[0]) is None:
        framework, extra = needed
        raise BadInput(
            f"'--to {target}' needs {framework}, which is not installed; "
            f'pip install "evolve-optimizers[{extra}]"'
        )


def _warn(message: str) -> None:
    print(f"evolve: warning: {message}", file=sys.stderr)
