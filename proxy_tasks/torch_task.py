"""A task from a training function: any training that takes a PyTorch optimizer.

    def train(make_optimizer, seed):
        model, data = ...
        optimizer = make_optimizer(model.parameters())
        for step in range(1000):
            ...
            optimizer.step()
            if step % 100 == 99:
                yield validation_loss(model)

    task = torch_task(train, steps=1000, schedule="cosine")

Nothing here imports PyTorch; `proxy_tasks.torch_trainer` does.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

from proxy_tasks.task import RUNGS, SCHEDULES, Resources, Task, TaskError
from proxy_tasks.trainer import Trainer

#: Gives an optimizer of parameters or parameter groups, as the classes of PyTorch do.
MakeOptimizer = Callable[[Any], Any]
#: Yields validation losses while it trains: numbers, or pairs with the loss on held-out data.
Train = Callable[..., Iterator[Any]]
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, kw_only=True)
class TorchTask(Task):
    """A training function as a task; `torch_task` makes one.

    Attributes:
        train: see `torch_task`.
        rungs: the training functions of larger rungs.
        maximize: whether what is yielded is better when it is higher.
        resized: whether the function takes a width.
        limit: seconds after which a training of one seed counts as hanging.
        sources: of the training functions by rung, as the process that made the task reads them:
            in another one the cell of a notebook has none.
    """

    train: Train = field(compare=False)
    rungs: Mapping[str, Train] = field(default_factory=dict, compare=False)
    maximize: bool = False
    resized: bool = False
    limit: float = 600.0
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def begin(self, make_optimizer: MakeOptimizer, seed: int) -> Iterator[Any]:
        """The training, which goes on as its losses are asked for.

        Raises:
            TaskError: if the function yields nothing by its kind.
        """
        size = {"width": self.width} if self.resized else {}
        train, scale = self._at_rung()
        found = train(make_optimizer, seed, **size, **scale)
        if not hasattr(found, "__next__"):
            raise TaskError(
                f"the training function of '{self.name}' returned {type(found).__name__}; "
                "it must yield validation losses"
            )
        return found

    def _at_rung(self) -> tuple[Train, dict[str, int]]:
        if self.rung == 1:
            return self.train, {}
        own = self.rungs.get(f"x{self.rung}")
        return (own, {}) if own is not None else (self.train, {"scale": self.rung})

    def trainer(self) -> Trainer:
        """What trains it."""
        from proxy_tasks.torch_trainer import TorchTrainer

        return TorchTrainer(self)

    def weights(self) -> int:
        """Number of weights; the training function runs until it asks for its optimizer."""
        from proxy_tasks.torch_trainer import shapes_of

        return sum(math.prod(shape) for shape in shapes_of(self))

    def at(self, rung: int) -> Self:
        """This task at a rung: another training function, or the same with a `scale`.

        Raises:
            TaskError: if there is neither.
        """
        if rung not in RUNGS:
            raise TaskError(f"task {self.name!r} has no rung {rung}; choose one of 1, 10, 100")
        if rung == 1 or f"x{rung}" in self.rungs or "scale" in _parameters(self.train):
            return replace(self, rung=rung)
        raise TaskError(
            f"task {self.name!r} has no rung x{rung}; give torch_task rungs={{'x{rung}': function}}"
            ", or the training function a parameter scale"
        )

    def holding(self, weights: float) -> Self:
        """With the largest width that has so many weights; itself if its size is fixed."""
        return super().holding(weights) if self.resized else self

    def with_batch(self, factor: float) -> Self:
        """Raises TaskError: the batches of a training function are its own."""
        if factor == 1:
            return self
        raise TaskError(f"the batches of task {self.name!r} are its own; they cannot be swept")

    def fingerprint(self) -> str:
        """16 hexadecimal digits over the source of the training function and the settings."""
        train, scale = self._at_rung()
        own = f"x{self.rung}" if f"x{self.rung}" in self.rungs else "x1"
        source = self.sources.get(own) or _source(train)
        settings = (self.steps, self.schedule, self.width, self.maximize, scale)
        return hashlib.sha256(f"{source}\n{settings}".encode()).hexdigest()[:16]


def torch_task(
    train: Train,
    *,
    steps: int,
    schedule: str | None = "cosine",
    width: int | None = None,
    rungs: Mapping[str, Train] | None = None,
    maximize: bool = False,
    name: str | None = None,
    cpus: int = 1,
    gpus: float = 0.0,
    memory: int | str | None = None,
    limit: float = 600.0,
) -> TorchTask:
    """A training function as a task of a search.

    Example: `evolve.run("10m", tasks=[evolve.torch_task(train, steps=1000)])`

    Arguments:
        train: `train(make_optimizer, seed)`, a generator: it builds a model, calls
            `make_optimizer(model.parameters())` once, or with parameter groups, trains with what
            that gives as with any PyTorch optimizer, and yields the validation loss from time to
            time: early, so that bad candidates can be stopped, and at the end. Where it yields
            pairs, the second is the loss on held-out data. The same seed must give the same
            training.
        steps: how often it calls `optimizer.step()`.
        schedule: of the learning rate that programs see, over the steps: `cosine`, `sqrt`,
            `linear`, `trapezoid`; None if the function has a scheduler of its own.
        width: of the model that the function trains; it then takes `width` as an argument, and
            programs that remember less get a wider model, at equal memory. Without it all
            train the same model.
        rungs: training functions of larger size, such as `{"x10": train_large}`. A function that
            takes `scale` needs none: it is called with 10.
        maximize: whether what is yielded is better when it is higher, such as an accuracy.
        name: by default that of the function.
        cpus: cores that a worker needs; PyTorch uses as many threads.
        gpus: GPUs that a worker needs; 0.25 lets four workers share one.
        memory: that Ray sets aside for a worker, in bytes or as `8GB`.
        limit: seconds after which a training counts as hanging.

    Raises:
        TaskError: if an argument is of no use.
    """
    if schedule is not None and schedule not in SCHEDULES:
        raise TaskError(f"schedule is {schedule!r}; it must be one of {', '.join(SCHEDULES)}")
    if width is not None and "width" not in _parameters(train):
        raise TaskError("width was given, but the training function has no parameter width")
    unknown = set(rungs or {}) - {f"x{rung}" for rung in RUNGS[1:]}
    if unknown:
        raise TaskError(f"rungs has {sorted(unknown)[0]!r}; the rungs are x10 and x100")
    return TorchTask(
        name=name or str(getattr(train, "__name__", type(train).__name__)),
        width=width or 1,
        batch=1,
        steps=steps,
        schedule=schedule or "constant",
        train=train,
        rungs=dict(rungs or {}),
        maximize=maximize,
        resized=width is not None,
        resources=Resources(cpus, gpus, _bytes(memory)),
        limit=limit,
        sources={rung: _source(of) for rung, of in {"x1": train, **(rungs or {})}.items()},
    )


def _source(train: Train) -> str:
    """The source of a training function; of what has none its name."""
    if isinstance(train, partial):
        plain = (int, float, str, bool, type(None))
        values = [*enumerate(train.args), *sorted(train.keywords.items())]
        told = [(k, v if isinstance(v, plain) else type(v).__qualname__) for k, v in values]
        return f"{_source(train.func)}\n{told}"
    try:
        return inspect.getsource(train)
    except (OSError, TypeError):  # typed into a terminal, or no function
        return str(getattr(train, "__qualname__", type(train).__qualname__))


def _parameters(train: Train) -> set[str]:
    try:
        return set(inspect.signature(train).parameters)
    except (TypeError, ValueError):
        return set()


def _bytes(memory: int | str | None) -> int | None:
    if memory is None or isinstance(memory, int):
        return memory
    number, unit = memory[:-2].strip(), memory[-2:].upper()
    try:
        return int(float(number) * _UNITS[unit])
    except (KeyError, ValueError):
        raise TaskError(f"memory is {memory!r}; write a number of bytes, or 8GB") from None
