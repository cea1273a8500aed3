"""`evolve compare`: programs against each other, each with its constants tuned."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from evolve.command.sweep import sweep_tables
from evolve.judge.ranking import Ranked, Result
from evolve.library.comparing import PAIRS, TUNING, compared, swept
from evolve.library.console import Console
from evolve.library.kept_sweeps import keep, kept
from evolve.library.trials import config_of, task_names
from evolve.programs import load_program
from evolve.search.config import Config
from primitives.program import Program
from primitives.text import to_text


def run(arguments: argparse.Namespace) -> None:
    """Compare programs and print a table."""
    programs = [(name, load_program(name)) for name in arguments.programs]
    of_runs = [config_of(name).tasks for name in arguments.programs]
    own = next((tasks for tasks in of_runs if tasks != Config().tasks), Config().tasks)
    names = task_names(arguments.tasks, own)
    if arguments.sweep is not None:
        _sweep(arguments, programs, names)
        return
    rows: list[Ranked] = []
    given = (arguments.objective, arguments.workers, arguments.rung)
    for row in compared(programs, names, *given):
        rows.append(row)
        if not arguments.json:
            told = (f"{_better(r, row is rows[0])} on {_place(r)}" for r in row.results)
            print(f"{row.name}: {'; '.join(told)}", flush=True)
    reference = rows[0]
    rows.sort(key=lambda row: -_rank(row, row is reference))
    if arguments.json:
        objective = arguments.objective or Config().objective
        facts = {"tasks": list(names), "objective": objective, "tuning": TUNING, "pairs": PAIRS}
        print(json.dumps({**facts, "programs": [_json(row) for row in rows]}, indent=2))
    else:
        Console().print(_table(rows, reference))


def _rank(row: Ranked, reference: bool) -> float:
    """The best first, and last what failed."""
    if row.better is None and not reference:
        return -math.inf
    return row.better or 0.0


def _better(result: Result, reference: bool) -> str:
    if result.loss is None:
        return "a training failed"
    if reference:
        return "the reference"
    if result.better is None:
        return "a training of the reference failed"
    return f"{result.better.mean:+.4f} ({result.better.low:+.4f} to {result.better.high:+.4f})"


def _place(result: Result) -> str:
    return result.task if result.rung == 1 else f"{result.task} x{result.rung}"


def _table(rows: list[Ranked], reference: Ranked) -> Table:
    """All programs on the first task and rung, then all on the next: narrow, and nothing cut."""
    table = Table("task", "program", "memory", "held-out loss", "better by")
    for column in table.columns:
        column.overflow = "fold"
    for place in range(len(rows[0].results)):
        for row in rows:
            result = row.results[place]
            loss = "-" if result.loss is None else "{:.4f} ± {:.4f}".format(*result.loss)
            better = _better(result, row is reference)
            table.add_row(_place(result), row.name, f"{row.memory:.2g}", loss, better)
        table.add_section()
    return table


def _json(row: Ranked) -> dict[str, Any]:
    return {
        "program": row.name,
        "slots": row.slots,
        "memory": row.memory,
        "better": row.better,
        "results": [
            {
                "task": result.task,
                "rung": f"x{result.rung}",
                "tuned": to_text(result.tuned),
                "heldout_loss": result.loss
                and dict(zip(("mean", "error"), result.loss, strict=True)),
                "better": result.better and result.better._asdict(),
            }
            for result in row.results
        ],
    }


def _sweep(
    arguments: argparse.Namespace,
    programs: Sequence[tuple[str, Program]],
    names: tuple[str, ...],
) -> None:
    found = []
    with kept(arguments.programs) as log:
        given = (arguments.objective, arguments.workers, arguments.rung)
        for data in swept(arguments.sweep, programs, names, *given):
            found.append(data)
            if log is not None:
                keep(log, data)
            if not arguments.json:
                for table in sweep_tables(data):
                    Console().print(table)
    if arguments.json:
        print(json.dumps({"sweeps": found}, indent=2))
    elif log is not None:
        print(f"Kept in {log.folder}; 'evolve report' shows it.")
