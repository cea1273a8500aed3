"""`evolve compare`: programs against each other, each with its constants tuned."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.table import Table

from evolve.judge.ranking import Ranked
from evolve.library.comparing import PAIRS, TUNING, compared
from evolve.library.console import Console
from evolve.library.trials import task_names, tasks_of
from evolve.programs import load_program
from evolve.search.config import Config
from primitives.text import to_text


def run(arguments: argparse.Namespace) -> None:
    """Compare programs and print a table."""
    programs = [(name, load_program(name)) for name in arguments.programs]
    of_runs = [tasks_of(name) for name in arguments.programs]
    own = next((tasks for tasks in of_runs if tasks != Config().tasks), Config().tasks)
    names = task_names(arguments.tasks, own)
    rows: list[Ranked] = []
    for row in compared(programs, names, arguments.objective, arguments.workers):
        rows.append(row)
        if not arguments.json:
            print(f"{row.name}: {_better(row, rows[0])}", flush=True)
    reference = rows[0]
    rows.sort(key=lambda row: -(row.better.mean if row.better else 0.0))
    if arguments.json:
        objective = arguments.objective or Config().objective
        facts = {"tasks": list(names), "objective": objective, "tuning": TUNING, "pairs": PAIRS}
        print(json.dumps({**facts, "programs": [_json(row) for row in rows]}, indent=2))
    else:
        Console().print(_table(rows, names, reference))


def _better(row: Ranked, reference: Ranked) -> str:
    if row.loss is None:
        return "a training failed"
    if row is reference:
        return "the reference"
    if row.better is None:
        return "a training of the reference failed"
    return f"{row.better.mean:+.4f} ({row.better.low:+.4f} to {row.better.high:+.4f})"


def _table(rows: list[Ranked], names: tuple[str, ...], reference: Ranked) -> Table:
    table = Table("program", "slots", *(f"held-out loss, {name}" for name in names), "better by")
    for row in rows:
        losses = row.loss or {}
        cells = [f"{losses[n][0]:.4f} ± {losses[n][1]:.4f}" if n in losses else "" for n in names]
        table.add_row(row.name, str(row.slots), *cells, _better(row, reference))
    return table


def _json(row: Ranked) -> dict[str, Any]:
    losses = {task: {"mean": m, "error": e} for task, (m, e) in (row.loss or {}).items()}
    return {
        "program": row.name,
        "slots": row.slots,
        "tuned": to_text(row.tuned),
        "heldout_loss": losses or None,
        "better": row.better and row.better._asdict(),
    }
