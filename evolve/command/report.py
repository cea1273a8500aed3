"""`evolve report`: a run as one page to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

from evolve.errors import BadInput
from evolve.library.runs import Run


def report(arguments: argparse.Namespace) -> None:
    """Write the page, and say where it is."""
    path = Path(arguments.output or Path(arguments.run) / "report.html")
    if arguments.output is not None and path.exists() and not arguments.force:
        raise BadInput(f"'{path}' exists; give another name, or --force to write over it")
    if arguments.output is None and path.is_symlink():  # a stranger may have put it there
        raise BadInput(f"'{path}' is a link; say with --output where the page is to be written")
    print(Run(arguments.run).report(path))
