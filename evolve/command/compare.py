"""`evolve compare`: programs against each other, each with its constants tuned."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from evolve.command.trials import task_names, trials_pool
from evolve.errors import BadInput
from evolve.judge.ranking import Ranked, rank
from evolve.judge.trials import Trials
from evolve.programs import load_program
from evolve.search.config import EQUAL_MEMORY, Config
from primitives.abstract import analyse
from primitives.text import to_text

#: Constants tried for each program, times the seeds they are tried on; pairs compared.
TUNING, SEEDS, PAIRS = 320, 4, 16


def run(arguments: argparse.Namespace) -> None:
    """Compare programs and print a table."""
    programs = [(name, load_program(name)) for name in arguments.programs]
    if len(programs) < 2:
        raise BadInput("there is nothing to compare; name two programs or more")
    objective = Config(objective=arguments.objective or Config().objective).objective
    names = task_names(arguments.tasks)
    memory = len(analyse(programs[0][1]).slots) if objective == EQUAL_MEMORY else None
    with trials_pool(names, arguments.workers) as pool:
        trials = Trials(pool, choosing=SEEDS, memory=memory)
        rows = []
        for row in rank(trials, programs, TUNING, PAIRS):
            rows.append(row)
            if not arguments.json:
                print(f"{row.name}: {_better(row, rows[0])}", flush=True)
    reference = rows[0]
    rows.sort(key=lambda row: -(row.better.mean if row.better else 0.0))
    if arguments.json:
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
