"""Tasks that are given as objects: they get a name by which workers find them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from evolve.errors import BadInput
from proxy_tasks.catalog import CATALOG, TaskError, register


def named(tasks: Sequence[Any] | str) -> list[str]:
    """The names of tasks, of which some may be objects.

    One that stands in a module under a name of its own is `module:name`, and a run with it can be
    gone on with from anywhere. Any other, as those of a notebook, is sent to the workers as it is:
    a run with it can be gone on with only where the object is given again.

    Raises:
        BadInput: if an object is no task.
    """
    if isinstance(tasks, str):
        return [name.strip() for name in tasks.split(",") if name.strip()]
    return [task if isinstance(task, str) else _name(task) for task in tasks]


def _name(task: Any) -> str:
    for name, known in CATALOG.items():
        if task is known:
            return name
    # A task of a training function belongs where that is defined.
    module = sys.modules.get(getattr(task, "train", type(task)).__module__)
    if module is not None and module.__name__ != "__main__":
        for name, value in vars(module).items():
            if value is task:
                return f"{module.__name__}:{name}"
    try:
        return register(task)
    except TaskError as error:
        raise BadInput(str(error)) from None
