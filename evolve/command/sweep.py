"""What `evolve compare --sweep` prints: a table for each program, or one for all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from evolve.judge.sweeps import BATCH, LR_DECAY


def sweep_tables(data: dict[str, Any]) -> Iterator[Table]:
    """The tables of a sweep; a star marks the lowest loss of a program."""
    where = data["task"] if data["rung"] == 1 else f"{data['task']} x{data['rung']}"
    if data["sweep"] == LR_DECAY:
        for row in data["programs"]:
            yield _grid(data, row, where)
    elif data["sweep"] == BATCH:
        yield _batches(data, where)
    else:
        yield _times(data)


def _grid(data: dict[str, Any], row: dict[str, Any], where: str) -> Table:
    rates = [f"lr x{rate:g}" for rate in data["lr"]]
    table = Table("decay", *rates, title=f"{row['program']} on {where}: held-out loss")
    best = _lowest([cell for cells in row["cells"] for cell in cells])
    for decay, cells in zip(data["decay"], row["cells"], strict=True):
        table.add_row(f"{decay:g}", *(_cell(cell, best) for cell in cells))
    return table


def _batches(data: dict[str, Any], where: str) -> Table:
    names = [row["program"] for row in data["programs"]]
    table = Table("batch", *names, title=f"held-out loss on {where}, as many examples for all")
    best = [_lowest(row["cells"]) for row in data["programs"]]
    for place, factor in enumerate(data["batch"]):
        cells = [row["cells"][place] for row in data["programs"]]
        texts = (_cell(c, low) for c, low in zip(cells, best, strict=True))
        table.add_row(f"x{factor:g}", *texts)
    return table


def _times(data: dict[str, Any]) -> Table:
    table = Table("program", "ms a step", "times the first", title="a step on a million weights")
    for row in data["programs"]:
        ratio = f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        table.add_row(row["program"], f"{row['milliseconds']:.3g}", ratio)
    return table


def _lowest(cells: list[dict[str, float] | None]) -> float | None:
    return min((cell["mean"] for cell in cells if cell), default=None)


def _cell(cell: dict[str, float] | None, best: float | None) -> str:
    if cell is None:
        return "-"
    return f"{cell['mean']:.3f}{'*' if cell['mean'] == best else ''}"
