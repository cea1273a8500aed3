"""Programs against each other, each with its constants tuned; what `evolve compare` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evolve.errors import BadInput
from evolve.judge.ranking import Ranked, rank
from evolve.judge.trials import Trials
from evolve.library.trials import task_names, trials_pool
from evolve.search.config import EQUAL_MEMORY, Config
from primitives.abstract import analyse
from primitives.program import Program

#: Constants tried for each program, times the seeds they are tried on; pairs compared.
TUNING, SEEDS, PAIRS = 320, 4, 16


def compared(
    programs: Sequence[tuple[str, Program]],
    tasks: Sequence[Any] | str = (),
    objective: str | None = None,
    workers: str = "auto",
) -> Iterator[Ranked]:
    """Each program as soon as it is judged, the first of them being the reference.

    Arguments:
        programs: pairs of a name and a program.
        tasks: names or objects; by default those of a search.
        objective: by default equal memory.
        workers: as on the command line.

    Raises:
        BadInput: if something given cannot be used.
    """
    if len(programs) < 2:
        raise BadInput("there is nothing to compare; name two programs or more")
    objective = Config(objective=objective or Config().objective).objective
    memory = len(analyse(programs[0][1]).slots) if objective == EQUAL_MEMORY else None
    names = task_names(tasks)
    total = len(programs) * (TUNING * SEEDS + PAIRS) * len(names)
    with trials_pool(names, workers, total) as pool:
        yield from rank(Trials(pool, choosing=SEEDS, memory=memory), programs, TUNING, PAIRS)
