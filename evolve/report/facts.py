"""What a report tells of a run, read from its log: plain data, no drawing."""

from __future__ import annotations

import difflib
from typing import Any

from evolve.library.kept_sweeps import sweeps_of
from evolve.search.log import START, Record, RunLog
from evolve.summary import champion_number, programs, summarize
from primitives.abstract import live_program
from primitives.text import from_text, to_text
from proxy_tasks.status import FINISHED

#: Points of a curve: more cannot be seen.
POINTS = 300


def facts(log: RunLog) -> dict[str, Any]:
    """All of it."""
    with log.in_memory():
        return {
            **summarize(log),
            "start": log.meta("start"),
            "progress": progress(log),
            "bests": bests(log),
            "ancestry": ancestry(log),
            "sweeps": sweeps_of(log),
        }


def progress(log: RunLog) -> list[dict[str, Any]]:
    """For up to `POINTS` places in the run what had been done until there.

    Programs `generated`, `trained`, results taken over (`hits`), and invalid children
    (`rejected`); `slots` has the programs trained, by number of slots.
    """
    count = programs(log)
    size = -(-max(count, 1) // POINTS)
    rows = log.select(
        f"SELECT number / {size}, slots, count(*), sum(source IS NULL), sum(source IS NOT NULL), "
        "total(rejected) FROM proposals GROUP BY 1, 2 ORDER BY 1, 2"
    )
    found: list[dict[str, Any]] = []
    totals: dict[str, Any] = {"generated": 0, "trained": 0, "hits": 0, "rejected": 0, "slots": {}}
    for place, slots, generated, trained, hits, rejected in rows:
        for name, more in zip(totals, (generated, trained, hits, int(rejected)), strict=False):
            totals[name] += more
        totals["slots"] = {**totals["slots"], slots: totals["slots"].get(slots, 0) + trained}
        until = min(count, (place + 1) * size)
        if found and found[-1]["until"] == until:
            found.pop()
        found.append({"until": until, **totals})
    return found


def bests(log: RunLog) -> list[dict[str, Any]]:
    """For each number of slots every program that was the best so far, on the most seeds."""
    rows = log.select(
        "SELECT number, slots, fitness FROM proposals WHERE source IS NULL AND fitness > 0 "
        f"AND outcome = '{FINISHED}' AND trained = (SELECT max(trained) FROM proposals "
        f"WHERE number > {START}) ORDER BY number"
    )
    found, best = [], dict[int, float]()
    for number, slots, fitness in rows:
        if fitness > best.get(slots, 0.0):
            best[slots] = fitness
            found.append({"id": number, "slots": slots, "fitness": fitness})
    return found


def ancestry(log: RunLog) -> list[dict[str, Any]]:
    """The programs that led to the champion, each with what changed: lines gone and lines new."""
    champion = champion_number(log)
    if champion is None:
        return []
    found, before = [], ""
    for record in log.ancestry(champion):
        text = _live(record)
        found.append(
            {
                "id": record.number,
                "how": record.told,
                "fitness": record.fitness,
                "seeds": record.seeds,
                "changes": changes(before, text),
            }
        )
        before = text
    return found


def changes(before: str, after: str) -> list[tuple[str, str]]:
    """The lines that differ, each with `-` or `+`."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [(line[0], line[2:].strip()) for line in lines if line[0] in "+-"]


def _live(record: Record) -> str:
    return to_text(live_program(from_text(record.program)))
