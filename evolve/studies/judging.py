"""`python -m evolve.studies.judging RESULTS [TASK...]`: which tasks tell Lion from its rivals.

The rivals are rules that the search finds beside Lion, among them the champions of three runs in
which another judge preferred them. On each task they and Lion are tuned as in a tournament, and
trained on the same fresh seeds. One JSON line in the file RESULTS for each rule and task; what is
there already is not done again. `--table` prints the table of `evolve/judge/README.md`.

So the choice of these tasks knew Lion, as that of the task of the search did. The tournament itself
knows nothing of it.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from evolve.judge import tuning
from evolve.judge.tournament import CHOOSING, ROUNDS, Judge, Structure, Tournament
from evolve.judge.trials import Trials
from evolve.library.options import worker_count
from evolve.search.config import Config
from evolve.studies.calibration import read
from evolve.studies.way import rule
from evolve.workers import Setup, open_pool
from primitives.program import Program
from primitives.text import from_text, to_text
from primitives.zoo import zoo

MIXTURE, SLOWER = "c = interp(g, m, 0.7)", "m = interp(g, m, 0.9)"
RULES: dict[str, Program] = {
    "Lion": rule("m", MIXTURE, SLOWER, "update = sign(c)", last=0.01),
    "Lion with a capped schedule": rule(
        "m", MIXTURE, SLOWER, "update = sign(c)", "lr = clip(lr, 0.5)", last=0.01
    ),
    "cube root in the place of the sign": rule("m", MIXTURE, SLOWER, "update = cbrt(c)", last=0.1),
    "champion of seed 3: cube root, capped average": rule(
        "m",
        "m = interp(g, m, 0.917)",
        "update = minimum(0.00053, m)",
        "update = interp(update, g, 0.2)",
        "update = cbrt(update)",
        last=0.108,
    ),
    "champion of seed 4: sign and some of the average": rule(
        "m", MIXTURE, SLOWER, "update = sign(c)", "update = interp(update, c, 0.99)", last=1.0
    ),
    "champion of seed 5: Signum, capped schedule, some gradient": rule(
        "m",
        "m = interp(g, m, 0.88)",
        "update = sign(m)",
        "lr = clip(0.52, lr)",
        "update = interp(g, update, 0.013)",
        last=1.0,
    ),
}
#: Names in `evolve.studies.calibration`.
TASKS = ("text_trapezoid", "text_32", "vit")
#: Fresh seeds of each rule.
SEEDS = 64


def measure(name: str) -> list[dict[str, Any]]:
    """All rules on one task: their scores on fresh seeds, and the constants they had."""
    task, start = f"evolve.studies.calibration:{name}", to_text(zoo("adamw"))
    setup = Setup({"program": start, "tasks": [task], "rung": 1, "seeds": [0], "stretch": True})
    with open_pool(setup, worker_count("auto", Config().tasks)) as pool:
        trials = Trials(pool, CHOOSING, memory=2)
        tuned = tuning.tuned(Trials(pool, tuning.SEEDS), start)
        baseline = from_text(tuned.program)
        structures = {n: Structure(p, {task: [p]}) for n, p in RULES.items()}
        Tournament({task: Judge(trials, baseline)}).play([*structures.values()], ROUNDS, len(RULES))
        programs = [s.tuned[task] for s in structures.values()]
        base, *losses = trials.deciding([baseline, *programs], SEEDS)
    assert base is not None
    gain = trials.untrained - float(np.mean(base[task]))
    return [
        {
            "task": name,
            "rule": rule,
            "program": to_text(program),
            "scores": [] if of is None else list((np.array(base[task]) - of[task]) / gain),
        }
        for rule, program, of in zip(structures, programs, losses, strict=True)
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: by how much each rule is better than Lion on each task, and its standard error."""
    tasks = [task for task in TASKS if any(row["task"] == task for row in rows)]
    found = {(row["task"], row["rule"]): row["scores"] for row in rows}
    lines = [["rule", *tasks], ["---"] * (len(tasks) + 1)]
    for name in RULES:
        lines.append([name, *(_better(found, task, name) for task in tasks)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _better(found: dict[tuple[str, str], list[float]], task: str, name: str) -> str:
    own, lions = found.get((task, name)), found[task, next(iter(RULES))]
    if not own:
        return "failed"
    if own is lions:
        return f"{np.mean(own):+.4f} over AdamW"
    ahead = np.array(own) - lions
    return f"{ahead.mean():+.4f} ± {ahead.std(ddof=1) / math.sqrt(len(ahead)):.4f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Lion and its rivals on tasks that may judge.")
    parser.add_argument("results", type=Path)
    parser.add_argument("tasks", nargs="*", metavar="TASK")
    parser.add_argument("--table", action="store_true", help="print what was measured")
    asked = parser.parse_args(arguments)
    rows = read(asked.results)
    if asked.table:
        print(table(rows))
        return
    for name in asked.tasks or TASKS:
        if name not in {row["task"] for row in rows}:
            with asked.results.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in measure(name))
            print(table(read(asked.results)), flush=True)


if __name__ == "__main__":
    main()
