"""The registered tasks, and finding a task by name or by `package.module:object`."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from types import ModuleType
from typing import Any

from proxy_tasks import given
from proxy_tasks.builtin import DigitsMLP, DigitsTransformer, Quadratic, TextTransformer
from proxy_tasks.task import Resources, Task, TaskError

_BUILT_IN: tuple[Task, ...] = (
    TextTransformer(
        name="text_transformer",
        width=16,
        batch=8,
        steps=400,
        schedule="trapezoid",
        summary="character language model on Python's documentation (one block, 32 characters)",
    ),
    DigitsTransformer(
        name="digits_vit",
        width=16,
        batch=32,
        steps=300,
        summary="vision transformer on scikit-learn's 8 x 8 digits (one block, 2 x 2 patches)",
    ),
    DigitsMLP(
        name="digits_mlp",
        width=32,
        batch=64,
        steps=500,
        summary="perceptron with one hidden layer on scikit-learn's 8 x 8 digits",
    ),
    Quadratic(
        name="quadratic",
        width=32,
        batch=32,
        steps=300,
        summary="noisy linear regression, condition number 1000, for quick tests",
    ),
)

CATALOG: dict[str, Task] = {task.name: task for task in _BUILT_IN}
"""Every registered task by name. A task added here is tested by tests/test_tasks.py."""

METHODS = ("splits", "init", "loss", "weights", "flops", "at", "holding", "learning_rate")
FIELDS = ("name", "width", "batch", "steps", "schedule", "summary", "rung")
MEMBERS = (*FIELDS, *METHODS, "fingerprint")


def register(task: Any) -> str:
    """Give a task a name of its own in this process, and return it.

    Raises:
        TaskError: if it is no task.
    """
    kind = getattr(task, "__name__", type(task).__name__)
    _check_members(task, getattr(task, "name", kind))
    return given.give(task)


def resolve(name: str) -> Task:
    """The task called `name`: a key of `CATALOG`, or `package.module:object`.

    The object is a task, or a class or function that gives one when called without arguments.
    A task is an instance of `Task` or anything with its members. Modules are also looked for in
    the working directory, as `python -m` does.

    Raises TaskError, with one sentence for the user, when there is no such task or the module's
    own code raises.
    """
    if given.is_given(name):
        task: Task | None = given.find(name)
        if task is not None:
            return task
        raise TaskError(
            f"the task {name!r} is an object without an importable name; give it again, "
            "as in evolve.open(RUN).resume(tasks=[...])"
        )
    if ":" in name:
        return _from_module(name)
    if name in CATALOG:
        return CATALOG[name]
    near = difflib.get_close_matches(name, CATALOG, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(CATALOG)},"
    module = name.removesuffix(".py").replace("/", ".")
    if all(part.isidentifier() for part in module.split(".")) and _is_module(module):
        hint = f"did you mean '{module}:OBJECT', an object in that module?"
    raise TaskError(
        f"there is no task {name!r}: {hint} (a task of your own is written package.module:object)"
    )


def resources(names: Iterable[str]) -> Resources:
    """What a worker needs that trains all of these tasks.

    A task that cannot be found needs nothing: it is told when the worker looks for it.
    """
    found = [Resources()]
    for name in names:
        if name not in CATALOG:
            with suppress(TaskError):
                found.append(getattr(resolve(name), "resources", found[0]))
    memory = [each.memory for each in found if each.memory is not None]
    return Resources(
        cpus=max(each.cpus for each in found),
        gpus=max(each.gpus for each in found),
        memory=max(memory, default=None),
    )


def _from_module(name: str) -> Task:
    module_name, _, path = name.partition(":")
    parts = [*module_name.split("."), *path.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise TaskError(f"the task {name!r} is not of the form package.module:object")
    found: Any = _import(module_name, name)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise TaskError(f"the task {name!r} has no object {part!r} in it") from None
    if isinstance(found, type) or (callable(found) and not hasattr(found, "loss")):
        found = _call(found, name)
    _check_members(found, name)
    return found


def _is_module(name: str) -> bool:
    _look_here()
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # what it would lie in is no package
        return False


def _look_here() -> None:
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()


def _import(module_name: str, name: str) -> ModuleType:
    _look_here()
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise TaskError(
                f"the task {name!r} cannot be loaded: there is no module {error.name!r} "
                "in the working directory or on Python's path"
            ) from error
        raise TaskError(_raised(f"importing {module_name!r}", name, error)) from error
    except (Exception, SystemExit) as error:
        raise TaskError(_raised(f"importing {module_name!r}", name, error)) from error


def _call(factory: Any, name: str) -> Any:
    _check_made(factory, name)
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise TaskError(_raised("calling it without arguments", name, error)) from error


def _raised(action: str, name: str, error: BaseException) -> str:
    message = " ".join(str(error).split())
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    remedy = f"; install {missing} beside evolve" if missing else ""
    kind = type(error).__name__
    return f"the task {name!r} cannot be loaded: {action} raised {kind}: {message}{remedy}"


def _check_made(task: Any, name: str) -> None:
    if inspect.isgeneratorfunction(task):
        raise TaskError(
            f"the task {name!r} is a training function; make it a task with "
            "task = evolve.torch_task(train, steps=...) and give that"
        )


def _check_members(task: Any, name: str) -> None:
    _check_made(task, name)
    missing = [m for m in MEMBERS if not hasattr(task, m)]
    if isinstance(task, Task) and not hasattr(task, "trainer"):
        missing = [m for m in ("splits", "init", "loss") if _inherits(task, m)]
    if missing:
        lacks = "is none" if len(missing) == len(MEMBERS) else f"lacks {', '.join(missing)}"
        raise TaskError(
            f"the task {name!r} {lacks}: make it with evolve.torch_task, or "
            "subclass proxy_tasks.task.Task and define splits, init and loss"
        )


def _inherits(task: Task, method: str) -> bool:
    return getattr(type(task), method) is getattr(Task, method)
