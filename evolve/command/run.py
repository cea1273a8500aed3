"""`evolve run` and `evolve resume`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from evolve.library import runs
from evolve.library.options import whole_number
from evolve.search.config import read_config


def run(arguments: argparse.Namespace) -> None:
    """Begin a run and go on until its budget is spent."""
    in_flight = arguments.in_flight
    found = runs.run(
        arguments.budget,
        seed=arguments.seed,
        tasks=arguments.tasks,
        out=arguments.out,
        start=arguments.start,
        objective=arguments.objective,
        in_flight=None if in_flight is None else whole_number("--in-flight", in_flight),
        workers=arguments.workers,
        address=arguments.address,
        config=_settings(arguments),
        progress=not arguments.quiet,
    )
    if arguments.quiet:
        print(f"\n{found}")


def resume(arguments: argparse.Namespace) -> None:
    """Go on with a run."""
    found = runs.Run(arguments.run).resume(
        arguments.budget,
        workers=arguments.workers,
        address=arguments.address,
        config=_settings(arguments),
        progress=not arguments.quiet,
    )
    if arguments.quiet:
        print(f"\n{found}")


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    return read_config(Path(arguments.config)) if arguments.config else {}
