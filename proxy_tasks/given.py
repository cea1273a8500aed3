"""Tasks that are given as objects, without a name by which another process could import them.

They reach the workers pickled: what a caller holds in its own process, never anything that was
read from a file. This is the only module that unpickles.
"""

from __future__ import annotations

import base64
import pickle
from collections.abc import Iterable, Mapping
from typing import Any

#: What the names of such tasks begin with; no module can be called so.
PREFIX = "given:"
_GIVEN: dict[str, Any] = {}


def give(task: Any, name: str | None = None) -> str:
    """Know a task in this process by a name, and return that."""
    name = name or f"{PREFIX}{getattr(task, 'name', type(task).__name__)}"
    _GIVEN[name] = task
    return name


def is_given(name: str) -> bool:
    """Whether it is the name of such a task, which no other process finds."""
    return name.startswith(PREFIX)


def find(name: str) -> Any:
    """The task that was given by this name; None if none was."""
    return _GIVEN.get(name)


def packed(names: Iterable[str]) -> dict[str, str]:
    """Of these tasks those that were given here, pickled, in base64."""
    objects = {name: _GIVEN[name] for name in names if name in _GIVEN}
    if not objects:
        return {}
    import cloudpickle  # by value what stands in a notebook; rarely wanted

    return {n: base64.b64encode(cloudpickle.dumps(task)).decode() for n, task in objects.items()}


def unpack(tasks: Mapping[str, str]) -> None:
    """Know in this process what was packed in another."""
    for name, text in tasks.items():
        give(pickle.loads(base64.b64decode(text)), name)
