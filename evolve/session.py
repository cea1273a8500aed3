"""One session of a run: from the start program to a named champion."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from evolve.budget import SECONDS, Budget
from evolve.closing import close_run, steps_wanted
from evolve.judge import ending
from evolve.judge.trials import Trials
from evolve.judge.tuning import SHARE, tuned_start
from evolve.programs import load_program
from evolve.provenance import provenance
from evolve.search.config import EQUAL_MEMORY, Config, with_slots
from evolve.search.driver import Driver, Observer, worker_setup
from evolve.search.log import RunLog
from evolve.understand.naming import is_sought
from evolve.workers import Pool, Setup
from primitives.text import to_text

DEFAULT_START = "adamw"


def configured(settings: dict[str, Any]) -> Config:
    """A run's configuration: these settings, and for all others their defaults.

    Who searches on tasks of their own wants an optimizer for these, so they are the judges too.
    """
    if "tasks" in settings:
        settings = {**settings, "judge_tasks": settings.get("judge_tasks", settings["tasks"])}
    return Config.from_json(with_program({"start": DEFAULT_START, **settings}))


def with_program(settings: dict[str, Any]) -> dict[str, Any]:
    """With the text of the start program in the place of its name."""
    start = settings.get("start")
    if isinstance(start, str):  # anything else is refused by the configuration
        return {**settings, "start": to_text(with_slots(load_program(start)))}
    return settings


def facts(config: Config, start: str, budget: str) -> dict[str, Any]:
    """What the log of a run has from its beginning.

    Arguments:
        config: of the run.
        start: what the start program was called, a PROGRAM.
        budget: as it was written.
    """
    found: dict[str, Any] = {
        "config": config.to_json(),
        "provenance": provenance(),
        "folder": os.getcwd(),
        "start": start,
        "budget": budget,
    }
    if is_sought(load_program(start)):
        found["discovery"] = False
    return found


def run_setup(log: RunLog, config: Config) -> Setup:
    """What the workers of a run need to know; what they print goes into its folder."""
    return worker_setup(config, str(log.folder.resolve() / "workers.log"))


def notes(pool: Pool, config: Config) -> Iterator[str]:
    """What a user should know of the tasks before the search begins."""
    if config.objective != EQUAL_MEMORY:
        return
    for name, facts in pool.tasks.items():
        widths = facts.get("widths") or []
        if len(widths) > 1 and len(set(widths)) == 1:
            yield (
                f"The model of {name} does not grow with its width, so a program that remembers "
                "less trains no larger model: all train the same one."
            )


def work(log: RunLog, pool: Pool, budgets: Sequence[Budget], observe: Observer) -> None:
    """Search until the budget is spent, but for what the closing takes of a time, and close.

    Arguments:
        log: the run, open for writing.
        pool: started, with the run's tasks.
        budgets: to go on for, beside what is left.
        observe: called often; it may raise, and the next session goes on.
    """
    begins = log.meta("tasks") is None
    driver = Driver(log, pool, observe, steps_wanted(_steps(log, pool)))
    others = [task for task in driver.config.judge_tasks if task not in pool.tasks]
    if others and begins:  # a task that cannot be used is told now, not after the search
        Trials(pool, tasks=others, watch=lambda: driver.watch("preparing the tournament's tasks"))
    for budget in budgets:
        driver.add_budget(budget)
    if log.meta("tuned_start") is None:
        driver.begin_with(_tuned(pool, driver))
    driver.search()
    ending.note_end(log, driver.state.proposed)
    driver.note_session()
    close_run(log, pool, driver.watch)
    driver.note_session()


def _tuned(pool: Pool, driver: Driver) -> dict[str, Any]:
    """The start program tuned, in no more than a share of a time."""
    target = driver.target()
    limited = target is not None and target.kind == SECONDS
    seconds = SHARE * (target.amount - driver.seconds) if target and limited else None

    def watch(done: int) -> None:
        driver.watch(f"tuning the constants of the start program: {done:,} trainings")

    return tuned_start(pool, driver.config, watch, seconds)


def _steps(log: RunLog, pool: Pool) -> int:
    """Training steps of a program on all tasks of the tournament, for one seed, about."""
    steps = [task["steps"] for task in pool.tasks.values()]
    return len(Config.from_json(log.meta("config")).judge_tasks) * sum(steps) // len(steps)
