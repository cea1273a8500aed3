"""Tasks that are given as objects: they get a name by which workers find them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evolve.errors import BadInput, quoted
from proxy_tasks.catalog import CATALOG, TaskError, register
from proxy_tasks.given import is_given


def named(tasks: Iterable[Any] | Any) -> list[str]:
    """The names of tasks, of which some may be objects; or of one.

    One that stands in a module under a name of its own is `module:name`, and a run with it can be
    gone on with from anywhere. Any other, as those of a notebook, is sent to the workers as it is:
    a run with it can be gone on with only where the object is given again.

    Raises:
        BadInput: if an object is no task.
    """
    if isinstance(tasks, str):
        return [name.strip() for name in tasks.split(",") if name.strip()]
    if not isinstance(tasks, Iterable):  # a single one
        return [_name(tasks)]
    return [task if isinstance(task, str) else _name(task) for task in tasks]


def resuming(folder: Path | str, tasks: Iterable[str], budget: str | None = None) -> str:
    """What goes on with a run: a command, or where no other process has its tasks, Python."""
    if any(map(is_given, tasks)):
        return f"evolve.open({str(folder)!r}).resume({'' if budget is None else repr(budget)})"
    return f"evolve resume {quoted(folder)}" + ("" if budget is None else f" --budget {budget}")


def _name(task: Any) -> str:
    for name, known in CATALOG.items():
        if task is known:
            return name
    # A task of a training function belongs where that is defined.
    module = sys.modules.get(
        getattr(getattr(task, "train", None), "__module__", type(task).__module__)
    )
    if module is not None and module.__name__ != "__main__":
        for name, value in vars(module).items():
            if value is task:
                return f"{module.__name__}:{name}"
    try:
        return register(task)
    except TaskError as error:
        raise BadInput(str(error)) from None
