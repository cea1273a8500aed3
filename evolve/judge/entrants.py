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
#: Structures that are looked at for each place.
LOOKED_AT = 3

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
    """The best programs of different structures, and what each comes down to.

    A fifth of the places are shared out evenly among the numbers of slots; the others go to the
    best of all. A search puts ornaments on a rule that are worth nothing or little, and finds
    good constants for the rule with all its ornaments. So the bare rule takes part too, with those
    constants, and is judged as any other structure.

    Arguments:
        log: of a run whose search has ended.
        count: how many at most, but for one of each number of slots.
        tasks: the names of the tasks of the tournament.
        exact: simplifies a program without changing a bit of what it does.
        core: what a program comes down to; of those with the same core the best takes part.
    """
    ranked = _ranked(log)
    least = max(1, count // (5 * max(len(ranked), 1)))
    found: dict[str, Structure] = {}
    cores: set[str] = set()

    def enter(structures: Sequence[list[int]], places: int) -> None:
        """The best of different cores, with their cores, until the places are taken."""
        for numbers in structures[: LOOKED_AT * places]:
            if places <= 0:
                return
            own = _structure(log, numbers, tasks, exact)
            bare = core(own.program)
            if analyse(bare).structure in cores:
                continue
            cores.add(analyse(bare).structure)
            for structure in (own, _bare(own, bare, core)):
                places -= structure.key not in found
                found.setdefault(structure.key, structure)

    for slots in sorted(ranked):
        enter([numbers for _, numbers in ranked[slots]], least)
    everyone = sorted(each for structures in ranked.values() for each in structures)
    enter([numbers for _, numbers in everyone], count - len(found))
    return list(found.values())


def _bare(of: Structure, first: Program, core: Callable[[Program], Program]) -> Structure:
    """What a structure comes down to, with the constants that it has there."""
    _, *others = next(iter(of.starts.values()))
    key = analyse(first).structure
    same = [program for program in map(core, others) if analyse(program).structure == key]
    origin = {**of.origin, "how": "what it comes down to"}
    return Structure(first, {task: [first, *same] for task in of.starts}, origin)


def _ranked(log: RunLog) -> dict[int, list[tuple[float, list[int]]]]:
    """For each number of slots the structures, each as the numbers of its programs, best first.

    The best of few seeds is mostly lucky, so a program counts for its fitness less the standard
    error of that; before each structure stands minus what its best counts for.
    """
    noise = _noise(log)
    of: dict[int, dict[str, list[tuple[float, int]]]] = {}
    for (slots,) in log.select("SELECT DISTINCT slots FROM proposals"):
        of[slots] = defaultdict(list)
    for number, structure, slots, fitness, trained in log.select(_GOOD):
        of[slots][structure].append((noise / math.sqrt(trained) - fitness, number))
    return {
        slots: sorted(
            (min(each)[0], [number for _, number in sorted(each)]) for each in found.values()
        )
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
