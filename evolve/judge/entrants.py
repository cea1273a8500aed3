"""Who takes part in the tournament: the distinct structures among the best of the search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evolve.judge.tournament import Structure
from evolve.search.log import START, RunLog
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text
from proxy_tasks.status import FINISHED

#: How many constants that the search found for a structure it begins with.
STARTS = 3

#: The best programs of the search for a number of slots: one of each structure that scored above
#: the start, those trained on most seeds first, since the best of few seeds is mostly lucky.
_BEST = f"""
SELECT number FROM (
    SELECT number, fitness, trained,
        row_number() OVER (PARTITION BY structure ORDER BY trained DESC, fitness DESC) AS place
    FROM proposals WHERE number > {START} AND source IS NULL AND outcome = '{FINISHED}'
        AND fitness > 0 AND slots = ?)
WHERE place = 1 ORDER BY trained DESC, fitness DESC, number LIMIT ?
"""
_SAME = f"""
SELECT program FROM proposals WHERE structure = ? AND source IS NULL AND outcome = '{FINISHED}'
ORDER BY trained DESC, fitness DESC, number LIMIT {STARTS}
"""


def entrants(
    log: RunLog, count: int, tasks: Sequence[str], exact: Callable[[Program], Program]
) -> list[Structure]:
    """The distinct structures of the best programs, an equal number for each number of slots.

    Arguments:
        log: of a run whose search has ended.
        count: how many at most.
        tasks: the names of the tasks of the tournament.
        exact: simplifies a program without changing a bit of what it does.
    """
    slots = [row[0] for row in log.select("SELECT DISTINCT slots FROM proposals ORDER BY slots")]
    share = -(-count // max(len(slots), 1))
    found: dict[str, Structure] = {}
    for number_of_slots in slots:
        own: dict[str, Structure] = {}
        for (number,) in log.select(_BEST, (number_of_slots, 4 * share)):
            structure = _structure(log, number, tasks, exact)
            if len(own) < share:
                own.setdefault(structure.key, structure)
        found = {**own, **found}
    return list(found.values())


def _structure(
    log: RunLog, number: int, tasks: Sequence[str], exact: Callable[[Program], Program]
) -> Structure:
    record = log.record(number)
    assert record is not None
    program = exact(from_text(record.program))
    key = analyse(program).structure
    same = [exact(from_text(text)) for (text,) in log.select(_SAME, (record.structure,))]
    starts = [program, *(p for p in same if p != program and analyse(p).structure == key)]
    return Structure(program, dict.fromkeys(tasks, starts), {"id": number})
