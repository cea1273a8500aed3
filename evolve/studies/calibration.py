"""`python -m evolve.studies.calibration RESULTS [TASK...]`: which proxies rank optimizers as known.

Each known optimizer gets the best scale of its update and equally many trials of its
constants on each candidate proxy, under several schedules, batches and horizons, at
equal memory and then at equal width; then fresh seeds and held-out data decide. One JSON line
in the file RESULTS per task, objective and number of trials (`--trials`); what is there already
is not done again. The first line begins with the constants of the zoo, the others with those that
the first came to: from the zoo's, 80 trials leave AdamW on `text` at 2.41, 320 at 2.30.

`python -m evolve.studies.calibration RESULTS --table` prints the table, each proxy's rank
correlation with the order that the paper reports, with Lion and without it, and the proxies
that agree best.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evolve.judge.ranking import rank
from evolve.judge.trials import Trials
from evolve.library.comparing import PAIRS, SEEDS, TUNING
from evolve.library.options import worker_count
from evolve.search.config import EQUAL_MEMORY, LOSS, Config
from evolve.workers import Setup, open_pool
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text, to_text
from primitives.zoo import zoo
from proxy_tasks.catalog import CATALOG
from proxy_tasks.task import Task

TEXT = replace(CATALOG["text_transformer"], length=16, batch=16, schedule="sqrt")  # type: ignore[call-arg]
VIT = CATALOG["digits_vit"]

#: Candidate proxies: the built-in ones, and variants of schedule, batch and horizon. The
#: default is `text_32`.
CANDIDATES: dict[str, Task] = {
    "text": TEXT,
    "text_cosine": replace(TEXT, schedule="cosine"),
    "text_linear": replace(TEXT, schedule="linear"),
    "text_trapezoid": replace(TEXT, schedule="trapezoid"),
    "text_32": CATALOG["text_transformer"],
    "text_constant": replace(TEXT, schedule="constant"),
    "text_200": replace(TEXT, steps=200),
    "text_1200": replace(TEXT, steps=1200),
    "text_batch_4": replace(TEXT, batch=4),
    "text_width_12": replace(TEXT, width=12),
    "vit": VIT,
    "vit_cosine": replace(VIT, schedule="cosine"),
    "mlp": CATALOG["digits_mlp"],
}
globals().update(CANDIDATES)  # so that workers find `evolve.studies.calibration:text_cosine`

#: Accuracy on ImageNet with ViT-S (arXiv 2302.06675, tables 2 and 8); the first is the reference.
KNOWN = {"adamw": 78.89, "lion": 79.46, "signum": 78.2, "powersign": 77.4, "addsign": 77.4}

#: Draws of the losses, for the spread of an agreement.
DRAWS = 1000


def read(results: Path) -> list[dict[str, Any]]:
    """What was measured before; nothing if there is no such file."""
    lines = results.read_text().splitlines() if results.exists() else []
    return [json.loads(line) for line in lines]


def measure(
    name: str, objective: str, programs: Mapping[str, Program], tuning: int = TUNING
) -> dict[str, Any]:
    """Programs on one candidate, each at its best; the first is the one they are compared with.

    `tuning` is the number of constants tried for each.
    """
    task = f"evolve.studies.calibration:{name}"
    first = next(iter(programs.values()))
    setup = Setup(
        request={"program": to_text(first), "tasks": [task], "rung": 1, "seeds": [0]},
    )
    memory = len(analyse(first).slots) if objective == EQUAL_MEMORY else None
    began = time.time()
    with open_pool(setup, worker_count("auto", Config().tasks)) as pool:

        def make(task: str, rung: int) -> Trials:
            return Trials(pool, SEEDS, memory, tasks=[task], rung=rung)

        rows = list(rank(make, list(programs.items()), [task], [1], tuning, PAIRS))
    results = {row.name: row.results[0] for row in rows}
    return {
        "task": name,
        "objective": objective,
        "trials": tuning,
        "seconds": round(time.time() - began),
        "programs": {
            name: {
                "loss": result.loss and list(result.loss),
                "better": result.better and list(result.better),
                "tuned": to_text(result.tuned),
            }
            for name, result in results.items()
        },
    }


def begun(rows: list[dict[str, Any]]) -> dict[str, Program]:
    """The programs to tune: as the first of the rows left them, or the zoo's."""
    if not rows:
        return {name: zoo(name) for name in KNOWN}
    return {name: from_text(rows[0]["programs"][name]["tuned"]) for name in KNOWN}


def agreement(row: dict[str, Any], without: str | None = None) -> tuple[float, float, float]:
    """Kendall's tau-b between a candidate's losses and what is known; 1 is agreement.

    The mean over draws of the losses from their standard errors, and a 95 % interval. The
    programs of a row share their seeds, so that differences are less noisy than drawn here.
    """
    names = [n for n in KNOWN if n != without and row["programs"][n]["loss"]]
    known = [-KNOWN[n] for n in names]
    losses = np.array([row["programs"][n]["loss"] for n in names])
    rng = np.random.default_rng(0)
    drawn = rng.normal(losses[:, 0], losses[:, 1], size=(DRAWS, len(names)))
    taus = taus_b(np.array(known), drawn)
    low, high = np.quantile(taus, [0.025, 0.975])
    return float(np.mean(taus)), float(low), float(high)


def taus_b(ranks: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of each row of `drawn` [draws, n], which has no ties, with `ranks` [n].

    All at once, since `scipy.stats.kendalltau` takes thousands of draws one by one.
    """
    one, other = np.triu_indices(len(ranks), 1)
    wanted = np.sign(ranks[one] - ranks[other])
    found = np.sign(drawn[:, one] - drawn[:, other])
    return (found @ wanted) / np.sqrt(len(one) * np.count_nonzero(wanted))


def best(rows: list[dict[str, Any]], without: str | None = None) -> list[str]:
    """The candidates from the best agreement down, one program left out."""
    found = {row["task"]: agreement(row, without)[0] for row in rows}
    return sorted((name for name in found if not np.isnan(found[name])), key=lambda n: -found[n])


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: held-out loss and standard error of each program on each candidate."""
    head = ["proxy", "objective", "trials", "minutes", *KNOWN, "tau", "tau without Lion"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [row["task"], row["objective"], str(row["trials"]), f"{row['seconds'] / 60:.1f}"]
        for name in KNOWN:
            loss = row["programs"][name]["loss"]
            cells.append(f"{loss[0]:.4f} ± {loss[1]:.4f}" if loss else "failed")
        for without in (None, "lion"):
            tau, low, high = agreement(row, without)
            cells.append(f"{tau:+.2f} ({low:+.2f} to {high:+.2f})")
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def choice(rows: list[dict[str, Any]]) -> str:
    """A line for each objective and number of trials: who agrees best, with Lion and without."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["objective"], row["trials"]), []).append(row)
    return "\n".join(
        f"{objective}, {trials} trials: agreement from the best down: {', '.join(best(group))}; "
        f"without Lion: {', '.join(best(group, 'lion'))}."
        for (objective, trials), group in groups.items()
        if len(group) > 1
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Rank known optimizers on candidate proxies.")
    parser.add_argument("results", type=Path)
    parser.add_argument("tasks", nargs="*", metavar="TASK")
    parser.add_argument("--trials", type=int, default=TUNING, help="constants tried for each")
    parser.add_argument("--table", action="store_true", help="print what was measured")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.tasks) - CANDIDATES.keys():
        parser.error(f"no such candidate: {', '.join(sorted(unknown))}")
    rows = read(asked.results)
    if asked.table:
        print(f"{table(rows)}\n\n{choice(rows)}")
        return
    done = {(row["task"], row["objective"], row["trials"]) for row in rows}
    for objective in (EQUAL_MEMORY, LOSS):
        for name in asked.tasks or CANDIDATES:
            if (name, objective, asked.trials) in done:
                continue
            row = measure(name, objective, begun(rows), asked.trials)
            with asked.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(table([row]).splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
