"""`python tests/rediscovery_study.py FOLDER`: does the search find Lion by itself, and how often.

Units, one after the other, each a run of its own in FOLDER and resumed if it was cut off:
the default search for five seeds, 30 minutes each; then the controls, each with four times
the training steps that the median seed needed to reach its champion. Nothing is tuned on
these seeds. What each unit came to is written to `discovered/study/UNIT.json`.

`python tests/rediscovery_study.py --table` prints the table from those files.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import binomtest

from evolve.errors import EvolveError
from evolve.search.log import AGAIN, Record, RunLog
from evolve.search.summary import front, summarize
from evolve.understand.identify import identify
from evolve.understand.simplify import prove
from primitives.abstract import live_program
from primitives.program import Program
from primitives.text import from_text
from proxy_tasks.status import FINISHED

RESULTS = Path(__file__).parent.parent / "discovered" / "study"
SEEDS, BUDGET = range(5), "30m"
#: Settings of the controls; `objective` says at what they are measured.
CONTROLS: dict[str, dict[str, Any]] = {
    f"{name}-{objective}": {"objective": objective, **settings}
    for name, settings in {
        "constants-only": {"constants_share": 1.0},
        "random-search": {"method": "random"},
    }.items()
    for objective in ("equal-memory", "loss")
} | {
    "without-sign-and-abs": {"without": ["sign", "abs"]},
    "start-sgd": {"start": "sgd"},
    "objective-loss": {"objective": "loss"},
}


def main(arguments: list[str]) -> None:
    if arguments == ["--table"]:
        print(table(read()))
        return
    folder = Path(arguments[0])
    for seed in SEEDS:
        unit(folder, f"seed-{seed}", BUDGET, ["--seed", str(seed)], {})
    steps = [row["champion_found_at"]["steps"] for row in read().values() if "seed" in row["unit"]]
    for name, settings in CONTROLS.items():
        unit(folder, name, f"{4 * round(median(steps))}steps", ["--seed", "0"], settings)


def unit(folder: Path, name: str, budget: str, flags: list[str], settings: dict[str, Any]) -> None:
    """One run to its end, and its digest."""
    result, run = RESULTS / f"{name}.json", folder / name
    if result.exists():
        return
    command = [sys.executable, "-m", "evolve.cli"]
    if run.exists():
        command += ["resume", str(run)]
    else:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / f"{name}.toml"
        config.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items()))
        command += ["run", "--budget", budget, "--out", str(run), "--config", str(config), *flags]
    began = time.time()
    subprocess.run([*command, "--quiet"], check=True)
    RESULTS.mkdir(exist_ok=True)
    with RunLog.open(run) as log:
        digest = {"unit": name, "budget": budget, "settings": settings, **digested(log)}
    result.write_text(json.dumps(digest, indent=1) + "\n")
    print(f"{name}: {time.time() - began:.0f} s, champion {digest['champion']['identity']}")


def digested(log: RunLog) -> dict[str, Any]:
    """A run in little: counts, front, champion with ancestry, the first Lion."""
    summary = summarize(log)
    kept = ("generated", "evaluated", "training_steps", "seconds", "evals_per_second", "outcomes")
    champion = log.record(summary["champion"]["id"])
    assert champion is not None
    return {
        **{key: summary[key] for key in (*kept, "cache_hit_rate", "redundant_share")},
        **{key: summary[key] for key in ("baseline", "champion", "heldout", "provenance")},
        "front": [{**entry, "identity": named(entry)} for entry in front(summary["hall_of_fame"])],
        "champion_found_at": found_at(log, champion),
        "ancestry": [_told(record) for record in ancestry(log, champion)],
        "first_lion": first_lion(log),
    }


def named(entry: dict[str, Any]) -> str | None:
    """The family of a program, by proven steps alone."""
    return family(from_text(entry["program"]))


def family(program: Program) -> str | None:
    try:
        found = identify(prove(live_program(program)).simplified)
    except EvolveError:
        return None
    return found.family and found.family + ("" if found.exact else " with extras")


def found_at(log: RunLog, record: Record) -> dict[str, int]:
    """Programs generated and trained, and training steps, when a program had been trained."""
    ((generated, trained),) = log.select(
        f"SELECT count(*), sum(source IS NULL) FROM programs WHERE number <= ? "
        f"AND mutation != '{AGAIN}'",
        (record.number,),
    )
    ((steps,),) = log.select(
        "SELECT total(steps) FROM programs WHERE number <= ?", (record.number,)
    )
    return {"generated": generated, "trained": trained, "steps": int(steps)}


def first_lion(log: RunLog) -> dict[str, Any] | None:
    """The first program that finished its training and is Lion, weight decay allowed."""
    seen: set[str] = set()
    query = f"source IS NULL AND round > 0 AND outcome = '{FINISHED}' AND slots = 1"
    for record in log.records(query):
        if record.mutation == AGAIN or record.structure in seen or "sign(" not in record.program:
            continue
        seen.add(record.structure)
        program = live_program(from_text(record.program))
        has_sign = any(statement.function == "sign" for statement in program.statements)
        if has_sign and family(program) == "lion":
            return {**_told(record), "program": record.program, **found_at(log, record)}
    return None


def ancestry(log: RunLog, record: Record | None) -> Iterator[Record]:
    """The program and those it descends from, newest first."""
    while record is not None:
        yield record
        record = None if record.parent is None else log.record(record.parent)


def _told(record: Record) -> dict[str, Any]:
    return {"id": record.number, "mutation": record.mutation, "fitness": record.fitness}


def read() -> dict[str, dict[str, Any]]:
    """The digests, by unit."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown: a line for each unit, and how many seeds found Lion, with a 95 % interval."""
    head = ["run", "champion", "simplified to", "exact", "held out, x1", "held out, x10"]
    head += ["first Lion at", "programs", "trained", "training steps", "hits", "redundant"]
    lines = [head, ["---"] * len(head)]
    for name, row in rows.items():
        identity, first = row["champion"]["identity"] or {}, row["first_lion"]
        rungs = (row["heldout"] or {}).get("rungs", {})
        lines.append(
            [
                name,
                f"#{row['champion']['id']}",
                identity.get("family") or "none",
                "yes" if identity.get("exact") else "no",
                _compared((row["heldout"] or {}).get("comparison")),
                _compared((rungs.get("x10") or {}).get("comparison")),
                f"{first['generated']:,} programs" if first else "never",
                f"{row['generated']:,}",
                f"{row['evaluated']:,}",
                f"{row['training_steps']:,}",
                f"{row['cache_hit_rate']:.1%}",
                f"{row['redundant_share']:.1%}",
            ]
        )
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    seeds = [row for name, row in rows.items() if name.startswith("seed-")]
    lions = sum((row["champion"]["identity"] or {}).get("family") == "lion" for row in seeds)
    if seeds:
        interval = binomtest(lions, len(seeds)).proportion_ci(method="exact")
        text += (
            f"\n\nLion in {lions} of {len(seeds)} seeds "
            f"(95 % interval {interval.low:.0%} to {interval.high:.0%})."
        )
    return text


def _compared(comparison: dict[str, Any] | None) -> str:
    if comparison is None or comparison["error"] is None:
        return "-"
    return f"{comparison['mean']:+.4f} ± {comparison['error']:.4f}"


if __name__ == "__main__":
    main(sys.argv[1:])
