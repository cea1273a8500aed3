"""Programs against each other, each with its constants tuned; what `evolve compare` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evolve.errors import BadInput
from evolve.judge import ranking, sweeps
from evolve.judge.ranking import Ranked, rank
from evolve.judge.trials import Trials
from evolve.library.exported import require
from evolve.library.kept_sweeps import SWEEPS, TIME
from evolve.library.options import rung_of
from evolve.library.trials import task_names, trials_pool
from evolve.search.config import EQUAL_MEMORY, Config
from evolve.workers import Pool
from primitives.program import Program

#: Constants tried for each program on each task, times the seeds they are tried on; pairs compared.
TUNING, SEEDS, PAIRS = 320, 4, 16

Named = Sequence[tuple[str, Program]]


def compared(
    programs: Named,
    tasks: Sequence[Any] | str = (),
    objective: str | None = None,
    workers: str = "auto",
    rung: str = "x1",
) -> Iterator[Ranked]:
    """Each program as soon as it is judged, the first of them being the reference.

    Arguments:
        programs: pairs of a name and a program.
        tasks: names or objects; by default those of a search.
        objective: by default equal memory.
        workers: as on the command line.
        rung: `x10` and `x100` compare at that rung besides.

    Raises:
        BadInput: if something given cannot be used.
    """
    if len(programs) < 2:
        raise BadInput("there is nothing to compare; name two programs or more")
    memory = _memory(programs, objective)
    names, rungs = task_names(tasks), sorted({1, rung_of(rung)})
    places = sum(ranking.cost_of_place(at, PAIRS, SEEDS) for at in rungs)
    total = len(programs) * len(names) * (ranking.cost(TUNING, SEEDS) + places)
    with trials_pool(names, workers, total) as pool:

        def make(task: str, at: int) -> Trials:
            return Trials(pool, choosing=SEEDS, memory=memory, tasks=[task], rung=at)

        yield from rank(make, programs, names, rungs, TUNING, PAIRS)


def swept(
    sweep: str,
    programs: Named,
    tasks: Sequence[Any] | str = (),
    objective: str | None = None,
    workers: str = "auto",
    rung: str = "x1",
) -> Iterator[dict[str, Any]]:
    """A sweep on each task, as plain data: `sweep`, `task`, `rung`, the axes and the `programs`.

    Arguments: as those of `compared`, and
        sweep: one of `SWEEPS`; of the time of a step there is one, without a task.

    Raises:
        BadInput: if something given cannot be used.
    """
    if sweep not in SWEEPS:
        raise BadInput(f"--sweep is '{sweep}'; it must be one of {'; '.join(SWEEPS)}")
    at = rung_of(rung)
    if sweep == TIME:
        from evolve.export.timing import step_times

        require("optax")
        yield {"sweep": TIME, "task": None, "rung": at, "programs": step_times(programs)}
        return
    memory, names = _memory(programs, objective), task_names(tasks)
    total = sweeps.cost(sweep, len(programs), TUNING, SEEDS) * len(names)
    with trials_pool(names, workers, total) as pool:
        for task in names:
            yield {"sweep": sweep, "task": task, "rung": at} | _grid(
                sweep, programs, pool, task, at, memory
            )


def _grid(
    sweep: str, programs: Named, pool: Pool, task: str, rung: int, memory: Program | None
) -> dict[str, Any]:
    def make(batch: float = 1.0) -> Trials:
        return Trials(pool, SEEDS, memory, tasks=[task], rung=rung, batch=batch)

    seeds = {"seeds": sweeps.SEEDS}
    if sweep == sweeps.BATCH:
        rows = sweeps.over_batches(make, programs, TUNING)
        return {"batch": list(sweeps.BATCHES), **seeds, "programs": rows}
    rows = sweeps.over_rates(make(), programs, TUNING)
    axes = {"lr": list(sweeps.RATES), "decay": list(sweeps.DECAYS)}
    return {**axes, **seeds, "programs": rows}


def _memory(programs: Named, objective: str | None) -> Program | None:
    """The reference, where programs are compared at its memory."""
    objective = Config(objective=objective or Config().objective).objective
    return programs[0][1] if objective == EQUAL_MEMORY else None
