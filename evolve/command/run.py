"""`evolve run` and `evolve resume`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from evolve.library import runs
from evolve.library.options import whole_number
from evolve.library.tasks import named
from evolve.search.config import read_config


def run(arguments: argparse.Namespace) -> None:
    """Begin a run and go on until its budget is spent."""
    found = runs.run(
        arguments.budget, out=arguments.out, config=_settings(arguments), **_session(arguments)
    )
    if arguments.quiet:
        print(f"\n{found}")


def resume(arguments: argparse.Namespace) -> None:
    """Go on with a run."""
    settings = read_config(Path(arguments.config)) if arguments.config else {}
    found = runs.Run(arguments.run).resume(arguments.budget, config=settings, **_session(arguments))
    if arguments.quiet:
        print(f"\n{found}")


def _session(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "workers": arguments.workers,
        "address": arguments.address,
        "progress": not arguments.quiet,
    }


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings of the config file, with the flags that were given on top."""
    settings = read_config(Path(arguments.config)) if arguments.config else {}
    if arguments.seed is not None:
        settings["seed"] = arguments.seed
    if arguments.tasks is not None:
        settings["tasks"] = named(arguments.tasks)
    if arguments.start is not None:
        settings["start"] = arguments.start
    if arguments.in_flight is not None:
        settings["in_flight"] = whole_number("--in-flight", arguments.in_flight)
    if arguments.language is not None:
        settings["language"] = arguments.language
    if arguments.objective is not None:
        settings["objective"] = arguments.objective
    return settings
