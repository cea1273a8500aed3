"""Where `simplify`, `explain` and `compare` train: their tasks and their pool."""

from __future__ import annotations

from evolve.command.options import check_names, worker_count
from evolve.search.config import Config
from evolve.search.driver import search_path
from evolve.workers import Pool, Setup, open_pool
from primitives.text import to_text
from primitives.zoo import zoo


def task_names(text: str | None) -> tuple[str, ...]:
    """Names of tasks, separated by commas; by default those of a run.

    Raises:
        BadInput: if there is no such task.
    """
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    names = names or Config().tasks
    check_names(names)
    return names


def trials_pool(names: tuple[str, ...], count: str) -> Pool:
    """A pool on this machine that trains on these tasks."""
    setup = Setup(
        request={"program": to_text(zoo("adamw")), "tasks": list(names), "rung": 1, "seeds": [0]},
        path=search_path(),
    )
    return open_pool(setup, worker_count(count, Config()))
