"""`evolve inspect`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.table import Table

from evolve.budget import duration
from evolve.errors import BadInput, quoted
from evolve.library.console import Console
from evolve.library.numbers import loss, signed
from evolve.library.verdict import closing_lines, simplified
from evolve.search.log import RunLog
from evolve.summary import (
    PAPER_HIT_RATE,
    PAPER_REDUNDANT_SHARE,
    fittest,
    front,
    programs,
    summarize,
)
from primitives.abstract import analyse
from primitives.text import from_text, statement_text

#: Where the constants of the start program come from.
_CONSTANTS = {
    "recorded": "its constants tuned on this task and recorded with evolve",
    "kept": "its constants tuned in an earlier run on this task",
    "tuned": "its constants tuned when this run began",
    "as given": "its constants as they were given",
}
#: Characters of a mutation that fit beside the other columns of a narrow terminal.
_MUTATION = 38


def inspect(arguments: argparse.Namespace) -> None:
    """Print what a run came to so far."""
    console = Console()
    with RunLog.open(Path(arguments.run)) as log:
        if arguments.top is not None and arguments.top < 1:
            raise BadInput(f"--top is {arguments.top}; it must be 1 or more")
        if arguments.id is not None:
            _print_program(log, arguments.id, arguments.json, console)
            return
        summary = summarize(log)
        if arguments.json:
            print(json.dumps(summary, indent=2))
        else:
            _print_summary(log, summary, arguments.top or 5, console)


def _print_summary(log: RunLog, summary: dict[str, Any], top: int, console: Console) -> None:
    state = "going on" if summary["running"] else summary["state"]
    _out(console, f"{summary['run']}: {state}")
    _print_counts(summary, console)
    _print_champion(summary, console)
    _print_tournament(summary, console)
    if summary["champion"] is not None:
        _print_hall(summary, console)
        _print_top(log, top, console)


def _print_counts(s: dict[str, Any], console: Console) -> None:
    rate = s["evals_per_second"]
    lines = [
        f"programs   {s['generated']:,} generated, {s['evaluated']:,} trained, "
        f"{s['passed_over']:,} more passed over, {s['invalid']:,} invalid ones rejected",
        f"time       {duration(s['seconds'])}"
        + (f", {rate:.1f} evaluations a second" if rate else "")
        + f"; {s['training_steps']:,} training steps",
        f"cache hits {_percent(s['cache_hit_rate'])} (paper {PAPER_HIT_RATE:.1%}), "
        f"redundant statements {_percent(s['redundant_share'])} "
        f"(paper {PAPER_REDUNDANT_SHARE:.1%})",
        "outcomes   " + ", ".join(f"{name} {count:,}" for name, count in s["outcomes"].items()),
    ]
    for line in lines:
        _out(console, line)


def _print_champion(s: dict[str, Any], console: Console) -> None:
    champion, baseline = s["champion"], s["baseline"]
    if champion is None or baseline is None:
        tuning = "; the constants of the start program are being tuned" if s["running"] else ""
        _out(console, f"nothing has been trained yet{tuning}")
        return
    constants = _CONSTANTS[(baseline["tuned"] or {}).get("constants", "as given")]
    losses = _losses(baseline)
    _out(console, f"baseline   #{baseline['id']}: {losses}, the start program, {constants}")
    if champion["is_start"]:
        _out(console, "champion   none: no program was found that is better than the tuned start")
    else:
        value = f"fitness {signed(champion['fitness'])}"
        _out(console, f"champion   #{champion['id']}: {_losses(champion)}, {value}")
    for line in closing_lines(s):
        _out(console, line)
    for text in (champion["live_program"], simplified(s)):
        if text is not None:
            _out(console, f"\n{text}")


def _print_tournament(s: dict[str, Any], console: Console) -> None:
    """Who was judged at the end, how well each did, and why the champion was taken."""
    found = s["tournament"]
    if found is None:
        return
    tasks, champion = found["tasks"], found["champion"]
    _out(console, f"tournament of {found['entrants']} structures, each at its best constants")
    scored = [row for row in found["structures"] if row["score"] is not None]
    width = max(16, *(len(task) for task in tasks))
    names = "  ".join(task.ljust(width) for task in tasks)
    _out(console, f" slots  statements  score    {names}  behind")
    for row in scored:
        own = row["structure"] == champion["structure"]
        on_tasks = "  ".join(_on_task(row, task).ljust(width) for task in tasks)
        came = f", {row['how']}" if row["how"] else ""
        _out(
            console,
            f" {row['slots']:<5}  {row['statements']:<10}  {signed(row['score'])}  {on_tasks}  "
            f"{row['behind']:.4f} ± {row['error']:.4f}  from #{row['id']}{came}"
            f"{'  <- champion' if own else ''}",
        )
        _out(console, f"   {_in_one_line(row['program'])}")
    why = "the best" if champion["best"] else "the simplest within one standard error of the best"
    out = len(found["structures"]) - len(scored)
    _out(console, f"the champion is {why}; {out} more structures were left behind before that")


def _on_task(row: dict[str, Any], task: str) -> str:
    error = row.get("errors", {}).get(task)  # older runs have none
    return f"{row['tasks'][task]:+.4f}" + ("" if error is None else f" ± {error:.4f}")


def _in_one_line(program: str) -> str:
    """The statements of a program."""
    return "; ".join(line.strip() for line in program.splitlines()[1:-1])


def _print_hall(s: dict[str, Any], console: Console) -> None:
    _out(console, "hall of fame: no program is fitter with as few slots and statements")
    table = Table("slots", "statements", "fitness", "seeds", "id", box=None)
    for entry in front(s["hall_of_fame"]):
        table.add_row(
            str(entry["slots"]),
            str(entry["statements"]),
            signed(entry["fitness"]),
            str(entry["seeds"]),
            str(entry["id"]),
        )
    console.print(table)


def _print_top(log: RunLog, top: int, console: Console) -> None:
    _out(
        console,
        f"the {top} fittest in the search, those on most seeds first, since on few it is partly "
        f"luck (evolve inspect {quoted(log.folder)} --id ID shows one)",
    )
    table = Table("id", "fitness", "seeds", "slots", "statements", "mutation", box=None)
    for record, seeds in fittest(log, top):
        table.add_row(
            str(record.number),
            signed(record.fitness or 0.0),
            str(seeds),
            str(record.slots),
            str(record.live),
            shorten(record.told, _MUTATION, placeholder=" …"),
        )
    console.print(table)


def _print_program(log: RunLog, number: int, as_json: bool, console: Console) -> None:
    record = log.record(number)
    if record is None:
        count = programs(log)
        known = f"0 to {count - 1}" if count else "none yet"
        raise BadInput(f"there is no program {number}; this run has {known}")
    if as_json:
        steps = [
            {"id": step.number, "mutation": step.told, "fitness": step.fitness}
            for step in log.ancestry(number)
        ]
        print(json.dumps({**vars(record), "ancestry": steps}, indent=2))
        return
    source = "" if record.source is None else f", result taken from #{record.source}"
    value = "none" if record.fitness is None else f"{signed(record.fitness)}"
    _out(console, f"#{number}: {record.outcome or 'pending'}, fitness {value}{source}")
    program = from_text(record.program)
    live = analyse(program).live
    for statement, alive in zip(program.statements, live, strict=True):
        _out(console, f"  {statement_text(statement)}{'' if alive else '    # dead'}")
    _out(console, "ancestry:")
    for step in log.ancestry(number):
        _out(console, f"  #{step.number} {step.told}")


def _losses(entry: dict[str, Any]) -> str:
    parts = [
        f"{task} loss {loss(sum(values) / len(values))}"
        for task, values in (entry["losses"] or {}).items()
        if values
    ]
    return ", ".join(parts)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _out(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
