"""`evolve tasks`: what programs can be trained on."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.table import Table

from evolve.library.console import Console
from evolve.library.timings import measured_seconds
from proxy_tasks.catalog import CATALOG
from proxy_tasks.task import RUNGS


def tasks(arguments: argparse.Namespace) -> None:
    """List the built-in tasks at every rung."""
    rows = list_tasks()
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    console = Console()
    table = Table(
        "task", "rung", "width", "weights", "batch", "steps", "GFLOP", "seconds", box=None
    )
    for row in rows:
        seconds = row["seconds"]
        table.add_row(
            row["name"],
            f"x{row['rung']}",
            str(row["width"]),
            f"{row['weights']:,}",
            str(row["batch"]),
            str(row["steps"]),
            f"{row['flops'] / 1e9:.2f}",
            "-" if seconds is None else f"{seconds:.3f}",
        )
    console.print(table)
    for name, task in CATALOG.items():
        console.print(f"{name}: {task.summary}", highlight=False, soft_wrap=True)
    console.print(
        "GFLOP: floating-point work of one evaluation on one seed. seconds: per training on one "
        "seed, where a run measured it on this machine.",
        highlight=False,
        soft_wrap=True,
    )


def list_tasks() -> list[dict[str, Any]]:
    """Every built-in task at every rung, as plain data."""
    seconds = measured_seconds()
    rows = []
    for name, base in CATALOG.items():
        for rung in RUNGS:
            task = base.at(rung)
            rows.append(
                {
                    "name": name,
                    "rung": rung,
                    "width": task.width,
                    "weights": task.weights(),
                    "batch": task.batch,
                    "steps": task.steps,
                    "schedule": task.schedule,
                    "flops": task.flops(),
                    "seconds": seconds.get(f"{name}@x{rung}"),
                    "summary": task.summary,
                }
            )
    return rows
