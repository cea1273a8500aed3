"""`python -m evolve.studies.rediscovery FOLDER [UNIT...]`: does the search find Lion, how often?

Units, one after the other, each a run of its own in FOLDER and resumed if it was cut off:
the default search for ten seeds; a search on text and digits together for three of them, and one
on a single model for all programs; then the controls, each with four times the training steps that
the median seed needed to reach its champion. Nothing is tuned on these seeds. What each unit came
to is written to `discovered/study/UNIT.json`; a unit that is there is not run again (delete it to
run it anew).

`python -m evolve.studies.rediscovery --table` prints the table from those files.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from evolve.judge import ending
from evolve.search.log import MORE_SEEDS, Record, RunLog
from evolve.search.probe import Stretch
from evolve.studies.table import SEED, table
from evolve.summary import front, summarize
from primitives.program import Program
from primitives.text import from_text
from proxy_tasks.status import FINISHED

RESULTS = Path(__file__).parents[2] / "discovered" / "study"
#: Settings were chosen on other seeds: 20 to 23, 31 to 39, and from 50 on.
SEEDS, BUDGET = range(40, 50), "30m"
#: Run once each before that. Some showed faults of the judging, which were mended; two of them were
#: judged `again`. From 36 on they were the first of a study, which began anew.
EARLIER = [*(f"seed-{seed}" for seed in range(31, 40)), "again-31", "again-34"]
_BOTH = {"tasks": ["text_transformer", "digits_vit"]}
#: Other searches, each with its seed.
VARIANTS: dict[str, tuple[int, dict[str, Any]]] = {
    **{f"text-and-digits-{seed}": (seed, _BOTH) for seed in SEEDS[:3]},
    "objective-loss": (SEEDS[0], {"objective": "loss"}),
}
_METHODS: dict[str, dict[str, Any]] = {
    "constants-only": {"constants_share": 1.0},
    "random-search": {"method": "random"},
}
#: Settings of the controls; `objective` says at what they are measured.
CONTROLS: dict[str, dict[str, Any]] = {
    f"{name}-{objective}": {"objective": objective, **settings}
    for name, settings in _METHODS.items()
    for objective in ("equal-memory", "loss")
}


def main(arguments: list[str]) -> None:
    if arguments == ["--table"]:
        print(table(read()))
        return
    folder, asked = Path(arguments[0]), arguments[1:]
    for name, seed, settings in searches():
        if not asked or name in asked:
            unit(folder, name, BUDGET, seed, settings)
    for name, settings in CONTROLS.items():
        if not asked or name in asked:
            unit(folder, name, controls_budget(), SEEDS[0], settings)


def searches() -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Units that have as much time as each other: their names, seeds and settings."""
    for seed in SEEDS:
        yield f"{SEED}{seed}", seed, {}
    for name, (seed, settings) in VARIANTS.items():
        yield name, seed, settings


def controls_budget() -> str:
    """Four times the training steps that the median seed needed to reach its champion."""
    seeds = [row for name, row in read().items() if name.startswith(SEED)]
    return f"{4 * round(median(row['champion_found_at']['steps'] for row in seeds))}steps"


def unit(
    folder: Path, name: str, budget: str, seed: int, settings: dict[str, Any], *flags: str
) -> None:
    """One run to its end, and its digest."""
    result, run, began_at = RESULTS / f"{name}.json", folder / name, folder / f"{name}.commit"
    if result.exists():
        return
    command = [sys.executable, "-m", "evolve.cli"]
    if run.exists():
        command += ["resume", str(run)]
    else:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / f"{name}.toml"
        config.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items()))
        began_at.write_text(commit())
        command += ["run", "--budget", budget, "--seed", str(seed), "--out", str(run)]
        command += ["--config", str(config), *flags]
    began = time.time()
    subprocess.run([*command, "--quiet"], check=True)
    RESULTS.mkdir(exist_ok=True)
    if _lacks_the_larger_rung(run):  # for want of time; this is outside the budget
        subprocess.run([*command[:3], "funnel", str(run)], check=True)
    with RunLog.open(run) as log:
        facts = {"unit": name, "budget": budget, "settings": settings}
        digest = {**facts, "commit": began_at.read_text(), **digested(log)}
    result.write_text(json.dumps(digest, indent=1) + "\n")
    print(f"{name}: {time.time() - began:.0f} s, champion {digest['champion']['identity']}")


def _lacks_the_larger_rung(run: Path) -> bool:
    """Whether a champion was compared with the start at the first rung alone."""
    with RunLog.open(run) as log:
        rows, same = ending.heldout(log), ending.is_start(log)
        return bool(rows) and not same and all(row["rung"] == "x1" for row in rows or [])


def commit() -> str:
    """The commit of the code that runs, with `-dirty` if it is not quite that."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    here = Path(__file__).parent
    return subprocess.run(
        command, cwd=here, check=True, capture_output=True, text=True
    ).stdout.strip()


def digested(log: RunLog) -> dict[str, Any]:
    """A run in little: counts, front, champions with ancestry, the first Lion."""
    summary = summarize(log)
    kept = ("generated", "evaluated", "training_steps", "seconds", "evals_per_second", "outcomes")
    ended = (
        "baseline",
        "champion",
        "tournament",
        "leaders",
        "heldout",
        "overfitting",
        "discovery",
        "left_out",
    )
    champion = log.record(summary["champion"]["id"])
    assert champion is not None
    return {
        **{key: summary[key] for key in (*kept, "cache_hit_rate", "redundant_share")},
        **{key: summary[key] for key in (*ended, "provenance")},
        "front": front(summary["hall_of_fame"]),
        "champion_found_at": found_at(log, champion),
        "ancestry": [_told(record) for record in reversed(log.ancestry(champion.number))],
        "first_lion": first_lion(log),
    }


def found_at(log: RunLog, record: Record) -> dict[str, int]:
    """Programs generated and trained, and training steps, when a program had been trained."""
    ((generated, trained),) = log.select(
        f"SELECT count(*), sum(source IS NULL) FROM programs WHERE number <= ? "
        f"AND mutation != '{MORE_SEEDS}'",
        (record.number,),
    )
    ((steps,),) = log.select(
        "SELECT total(steps) FROM programs WHERE number <= ?", (record.number,)
    )
    return {"generated": generated, "trained": trained, "steps": int(steps)}


class Lions:
    """Tells programs that step as Lion does, with some betas, on a run's stretch of gradients.

    The search looks at nothing of the kind. Identification would take seconds for each of
    thousands of programs, ornaments and all; this takes a millisecond.
    """

    #: The cosine that an update must reach; and the ratio of the averages' horizons from which
    #: there are two of them: with equal betas Lion is Signum, with 0 the sign of the gradient.
    AGREEMENT, APART = 0.98, 1.4
    FAST = (0.5, 0.6, 0.66, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    SLOW = (0.66, 0.75, 0.8, 0.85, 0.88, 0.91, 0.94, 0.96, 0.98, 0.99)

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        pairs = [(b1, b2) for b1 in self.FAST for b2 in self.SLOW]
        self.betas = [(b1, b2) for b1, b2 in pairs if (1 - b1) >= self.APART * (1 - b2)]
        same = [(b, b) for b in sorted({0.0, *self.FAST, *self.SLOW})]
        self._stretches = stretches
        self._lions = [self._directions(self.betas, s) for s in stretches]
        self._signums = [self._directions(same, s) for s in stretches]

    def likest(self, program: Program) -> tuple[float, tuple[float, float]] | None:
        """The cosine to the likest Lion, and its betas; None if a Signum is as like or more."""
        steps = [_direction(s.updates(program)) for s in self._stretches]
        lions = _mean_over_tasks([rows @ u for rows, u in zip(self._lions, steps, strict=True)])
        signums = _mean_over_tasks([rows @ u for rows, u in zip(self._signums, steps, strict=True)])
        best = int(np.argmax(lions))
        if not lions[best] > max(self.AGREEMENT, signums.max()):
            return None
        return float(lions[best]), self.betas[best]

    @staticmethod
    def _directions(betas: Sequence[tuple[float, float]], stretch: Stretch) -> np.ndarray:
        return np.array([_direction(stretch.updates(lion(b1, b2))) for b1, b2 in betas])


def lion(b1: float, b2: float) -> Program:
    """Lion without weight decay."""
    lines = [f"c = interp(g, m, {b1})", f"m = interp(g, m, {b2})", "update = sign(c)"]
    lines += ["update = update * lr", "return update, m"]
    return from_text("def train(w, g, m, lr):\n    " + "\n    ".join(lines) + "\n")


def _direction(updates: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return updates / np.linalg.norm(updates)


def _mean_over_tasks(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean(rows, axis=0)


def first_lion(log: RunLog) -> dict[str, Any] | None:
    """The first program that finished its training and steps as Lion does."""
    tasks = log.meta("tasks").values()
    lions = Lions([Stretch(task["stretch"]) for task in tasks if task.get("stretch")])
    query = f"source IS NULL AND number > 0 AND outcome = '{FINISHED}' AND slots = 1"
    for record in log.records(query):
        likest = lions.likest(from_text(record.program)) if record.mutation != MORE_SEEDS else None
        if likest is not None:
            facts = {"program": record.program, "cosine": likest[0], "betas": likest[1]}
            return {**_told(record), **facts, **found_at(log, record)}
    return None


def _told(record: Record) -> dict[str, Any]:
    facts = {"id": record.number, "mutation": record.told, "fitness": record.fitness}
    return {**facts, "slots": record.slots, "live": record.live, "structure": record.structure[:8]}


def read() -> dict[str, dict[str, Any]]:
    """The digests, by unit: the searches, then the controls."""
    return digests([*(name for name, *_ in searches()), *CONTROLS])


def earlier() -> dict[str, dict[str, Any]]:
    """The digests of the seeds before, by unit."""
    return digests(EARLIER)


def digests(units: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Those that there are."""
    paths = {unit: RESULTS / f"{unit}.json" for unit in units}
    return {unit: json.loads(path.read_text()) for unit, path in paths.items() if path.exists()}


if __name__ == "__main__":
    main(sys.argv[1:])
