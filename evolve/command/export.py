"""`evolve export`: a program as an optimizer in somebody's framework."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from evolve.errors import BadInput
from evolve.export import replay
from evolve.library.exported import exported, require
from evolve.programs import load_program
from primitives.abstract import analyse

#: Rounding explains no larger difference, except in programs that amplify it.
SUSPICIOUS = 1e-4


def export(arguments: argparse.Namespace) -> None:
    """Write the program for a target, to a file or to the standard output."""
    target, output = arguments.to, arguments.output
    require(target)
    if output is not None and Path(output).exists() and not arguments.force:
        raise BadInput(f"'{output}' exists; give another name, or --force to write over it")
    program = load_program(arguments.program)
    if not analyse(program).learns:
        _warn(f"no gradient ever reaches the update of '{arguments.program}'; it learns nothing")
    source, difference = exported(target, program, arguments.program)
    if difference > SUSPICIOUS:
        _warn(f"the export differs from the program by {difference:.1e} in {replay.STEPS} steps")
    if output is None:
        sys.stdout.write(source)
        return
    try:
        Path(output).write_text(source)
    except OSError as error:
        raise BadInput(f"'{output}' cannot be written ({error.strerror})") from None


def _warn(message: str) -> None:
    print(f"evolve: warning: {message}", file=sys.stderr)
