"""Where `simplify`, `explain` and `compare` train: their tasks and their pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from evolve.judge.tournament import CHOOSING, Judge
from evolve.judge.trials import Trials
from evolve.judge.tuning import shipped
from evolve.library.options import check_names, worker_count
from evolve.library.tasks import named
from evolve.library.waiting import Watched
from evolve.programs import run_of
from evolve.search.config import EQUAL_MEMORY, Config
from evolve.search.driver import search_path
from evolve.search.log import RunLog
from evolve.session import DEFAULT_START
from evolve.workers import Pool, Setup, open_pool
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text, to_text
from primitives.zoo import zoo
from proxy_tasks.catalog import resources


def task_names(
    tasks: Sequence[Any] | str | None, default: tuple[str, ...] = Config().tasks
) -> tuple[str, ...]:
    """The names of tasks: separated by commas, or names and objects; by default a search's.

    Raises:
        BadInput: if there is no such task.
    """
    names = tuple(named(tasks or ())) or default
    check_names(names)
    return names


def config_of(name: str) -> Config:
    """The configuration of the run that a PROGRAM is of; the default one for any other.

    Arguments:
        name: a PROGRAM: a run folder or RUN#ID are of a run.
    """
    folder, _ = run_of(name)
    if folder is None:
        return Config()
    with RunLog.open(folder) as log:
        return Config.from_json(log.meta("config"))


def trials_pool(names: tuple[str, ...], count: str, total: int | None = None) -> Pool:
    """A pool on this machine that trains on these tasks, and tells how far it is.

    Arguments:
        names: of tasks.
        count: of workers, as on the command line.
        total: about so many trainings, if that is known.
    """
    setup = Setup(
        request={
            "program": to_text(zoo(DEFAULT_START)),
            "tasks": list(names),
            "rung": 1,
            "seeds": [0],
            "stretch": True,
        },
        path=search_path(),
        resources=resources(names),
    )
    return cast(Pool, Watched(open_pool(setup, worker_count(count, names)), total))


def judges(
    pool: Pool, names: tuple[str, ...], program: Program, config: Config
) -> dict[str, Judge]:
    """The tasks of a tournament outside of a run.

    The scale is what the tuned start gains there, where that is recorded; else what the program
    does.

    Arguments:
        pool: started, with the tasks.
        names: of the tasks.
        program: that is judged.
        config: of the run that it is of: its start and its objective.
    """
    start = config.start or to_text(zoo(DEFAULT_START))
    memory = analyse(from_text(start)).trees if config.objective == EQUAL_MEMORY else None
    found = {}
    for name in names:
        trials = Trials(pool, CHOOSING, memory, tasks=[name])
        recorded = shipped(trials.tasks, 1, start)
        found[name] = Judge(trials, from_text(recorded.program) if recorded else program)
    return found
