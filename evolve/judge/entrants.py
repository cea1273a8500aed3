"""Who takes part in the tournament: the distinct structures among the best of the search."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean

from evolve.judge.tournament import Structure
from evolve.search.fitness import final_losses, progress, rotated
from evolve.search.log import MORE_SEEDS, START, RunLog
from evolve.search.racing import SeedEffects
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text
from proxy_tasks.status import FINISHED

#: How many constants that the search found for a structure it begins with.
STARTS = 3
#: Structures that are looked at for each that may take part.
LOOKED_AT = 6

#: What scored above the start.
_GOOD = f"""
SELECT number, structure, slots, fitness, trained FROM proposals
WHERE number > {START} AND source IS NULL AND outcome = '{FINISHED}' AND fitness > 0
"""
_ON_ALL = f"""
SELECT number FROM proposals
WHERE number > {START} AND source IS NULL AND outcome = '{FINISHED}' AND trained = ? LIMIT ?
"""
#: By so many programs that were trained on every seed it is known how much seeds scatter.
_MEASURED = 200


def entrants(
    log: RunLog,
    count: int,
    tasks: Sequence[str],
    exact: Callable[[Program], Program],
    core: Callable[[Program], Program] = lambda program: program,
) -> list[Structure]:
    """The best programs of different structures, an equal number for each number of slots.

    Arguments:
        log: of a run whose search has ended.
        count: how many at most.
        tasks: the names of the tasks of the tournament.
        exact: simplifies a program without changing a bit of what it does.
        core: what a program comes down to; of those with the same core the best takes part.
    """
    found: dict[str, Structure] = {}
    ranked = _ranked(log)
    share = -(-count // max(len(ranked), 1))
    for _, structures in sorted(ranked.items()):
        own: dict[str, Structure] = {}
        for numbers in structures[: LOOKED_AT * share]:
            structure = _structure(log, numbers, tasks, exact)
            own.setdefault(analyse(core(structure.program)).structure, structure)
            if len(own) == share:
                break
        found = {**{s.key: s for s in own.values()}, **found}
    return list(found.values())


def _ranked(log: RunLog) -> dict[int, list[list[int]]]:
    """For each number of slots the structures, each as the numbers of its programs, best first.

    The best of few seeds is mostly lucky, so a program counts for its fitness less the standard
    error of that.
    """
    noise = _noise(log)
    of: dict[int, dict[str, list[tuple[float, int]]]] = {}
    for (slots,) in log.select("SELECT DISTINCT slots FROM proposals"):
        of[slots] = defaultdict(list)
    for number, structure, slots, fitness, trained in log.select(_GOOD):
        of[slots][structure].append((noise / math.sqrt(trained) - fitness, number))
    return {
        slots: [[number for _, number in sorted(each)] for each in sorted(found.values(), key=min)]
        for slots, found in of.items()
    }


def _noise(log: RunLog) -> float:
    """The standard deviation of fitness from seed to seed, by what was trained on every seed."""
    start = log.record(START)
    assert start is not None
    base, every = final_losses(start.losses or {}), start.seeds
    untrained = {name: facts["untrained"] for name, facts in log.meta("tasks").items()}
    effects = SeedEffects(every)
    for (number,) in log.select(_ON_ALL, (every, _MEASURED)):
        own = f"number = ? OR parent = ? AND mutation = '{MORE_SEEDS}'"
        rows = [final_losses(r.losses or {}) for r in log.records(own, (number, number))]
        losses = {task: [loss for of in rows for loss in of[task]] for task in base}
        by_seed = rotated(losses, -number % every)
        on_tasks = [progress(by_seed[task], base[task], untrained[task]) for task in base]
        effects.note([fmean(scores) for scores in zip(*on_tasks, strict=True)])
    return effects.noise


def _structure(
    log: RunLog, numbers: Sequence[int], tasks: Sequence[str], exact: Callable[[Program], Program]
) -> Structure:
    """Of some programs of one structure, the best first."""
    records = [log.record(number) for number in numbers[:STARTS]]
    program, *same = [exact(from_text(record.program)) for record in records if record]
    key = analyse(program).structure
    starts = [program, *(p for p in same if p != program and analyse(p).structure == key)]
    return Structure(program, dict.fromkeys(tasks, starts), {"id": numbers[0]})
