"""`evolve explain` and `evolve identify`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich.table import Table

from evolve.judge.trials import Trials
from evolve.library.console import Console
from evolve.library.trials import config_of, task_names, trials_pool
from evolve.programs import load_program, run_of
from evolve.search.log import RunLog
from evolve.summary import champion_number
from evolve.understand.explain import PAIRS, Explanation, explain, origins
from evolve.understand.identify import Identity, identify
from primitives.program import Program


def run_explain(arguments: argparse.Namespace) -> None:
    """Print a program line by line."""
    name = _as_found(arguments.program)
    program = load_program(name)
    names = task_names(arguments.tasks, config_of(arguments.program).tasks)
    came_from = _origins(name, program)
    with trials_pool(names, arguments.workers) as pool:
        lines = explain(program, Trials(pool), came_from)
    if arguments.json:
        print(json.dumps({"lines": [line.to_json() for line in lines], "tasks": list(names)}))
    else:
        _print_lines(lines, names)


def run_identify(arguments: argparse.Namespace) -> None:
    """Print what a program is."""
    identity = identify(load_program(arguments.program))
    if arguments.json:
        print(json.dumps(asdict(identity), indent=2))
    else:
        print("\n".join(_words(identity)))


def _as_found(name: str) -> str:
    """Of a run the champion as the search found it: its lines have an origin."""
    folder, number = run_of(name)
    if folder is None or number is not None:
        return name
    with RunLog.open(folder) as log:
        champion = champion_number(log)
    return name if champion is None else f"{name}#{champion}"


def _origins(name: str, program: Program) -> list[str | None]:
    """Of a run's program; of others nothing is known."""
    folder, number = run_of(name)
    if folder is None or number is None:
        return [None] * len(program.statements)
    return origins(folder, int(number))


def _print_lines(lines: list[Explanation], names: tuple[str, ...]) -> None:
    table = Table("statement", "kind", "size", "loss without it", box=None)
    known = any(line.origin for line in lines)
    if known:
        table.add_column("brought by")
    for line in lines:
        size = "-" if line.magnitude is None else f"{line.magnitude:.2g}"
        origin = [line.origin or ""] if known else []
        table.add_row(line.text, line.kind, size, _loss(line), *origin)
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(
        "size: root mean square on a recorded stream of gradients (median over steps). "
        f"loss: of quality on {', '.join(names)} without the statement, at the best scale of the "
        f"update, with half its 95 % interval over {PAIRS} pairs; 1 is all that training gains.",
        highlight=False,
    )


def _loss(line: Explanation) -> str:
    if not line.live:
        return "dead"
    if line.loss is None:
        return "not trainable"
    return f"{line.loss.mean:+.4f} ± {line.loss.high - line.loss.mean:.4f}"


def _words(identity: Identity) -> list[str]:
    lines = [f"family     {identity.family or 'none'}{'' if identity.exact else ' (not exact)'}"]
    if identity.family is None:
        lines = [f"family     none: {identity.reason}"]
    if identity.parameters:
        values = ", ".join(f"{name} {value:.6g}" for name, value in identity.parameters.items())
        lines.append(f"parameters {values}")
    if identity.extra:
        agreement = identity.agreement
        measured = "" if agreement is None else f"; signs agree on {agreement:.1%} without"
        lines.append(f"extra      {', '.join(identity.extra)}{measured}")
    if identity.nearest is not None:
        lines.append(f"nearest    {identity.nearest}, distance {identity.distance:.2f}")
    return lines
