"""The meta-overfitting curve: what the search's best programs are worth on seeds it never used.

The search picks among thousands by scores on the same seeds, so it overfits these as
training overfits its data. For the programs that were its best so far, one after the
other, the fitness in the search stands beside that on fresh seeds.
"""

from __future__ import annotations

from typing import Any

from evolve.judge import comparison
from evolve.judge.searched import Searched
from evolve.search.log import MORE_SEEDS, RunLog
from proxy_tasks.status import FINISHED

_LEFT_OUT = "the curve of overfitting: too little of the budget is left"
#: The most programs of a curve, and the fresh seeds of each.
POINTS, SEEDS = 16, 4


def curve(run: Searched) -> dict[str, Any]:
    """The curve, with as many points as there are steps left for."""
    path = bests(run.log)
    seeds = comparison.seeds(comparison.FIRST_FRESH, SEEDS)
    trials = run.trials("measuring how far the search overfits its seeds")
    fit = int(run.left() // (trials.longest * len(seeds))) - 1  # the baseline is trained too
    if path and fit < 1:
        return {"points": [], "left_out": _LEFT_OUT}
    points = evenly(path, min(fit, POINTS))
    base, *found = trials.losses([run.baseline, *(run.program(n) for n, _ in points)], seeds)
    fresh = [comparison.fitness(losses or {}, base or {}, run.untrained) for losses in found]
    return {
        "points": [
            {"id": number, "fitness": fitness, "fresh": value}
            for (number, fitness), value in zip(points, fresh, strict=True)
        ]
    }


def bests(log: RunLog) -> list[tuple[int, float]]:
    """Programs that were the best of the search when they came, and their fitness.

    Only those count that were trained on every seed of the search; the first is better
    than the baseline, which scores 0, and each is better than the one before it.
    """
    config = log.meta("config")
    rows = log.select(
        f"SELECT CASE mutation WHEN '{MORE_SEEDS}' THEN parent ELSE number END, fitness "
        "FROM programs WHERE number > 0 AND source IS NULL AND outcome = ? "
        "AND seeds = ? AND fitness > 0 ORDER BY number",
        (FINISHED, config["replicates"][-1]),
    )
    found: list[tuple[int, float]] = []
    for number, fitness in rows:
        if not found or fitness > found[-1][1]:
            found.append((number, fitness))
    return found


def evenly(items: list[Any], count: int) -> list[Any]:
    """At most so many of the items, at even distances, the last of them always."""
    if len(items) <= count:
        return items
    return [items[(k + 1) * len(items) // count - 1] for k in range(count)]
