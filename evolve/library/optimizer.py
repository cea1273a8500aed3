"""An optimizer: a program, and what can be done with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evolve.errors import BadInput

if TYPE_CHECKING:
    import keras
    import optax
    import torch

    from evolve.library.tables import Table
    from evolve.understand.identify import Identity
    from primitives.program import Program

Workers = int | str


class Optimizer:
    """A program that was loaded, and what can be done with it; `evolve.load` gives one.

    It does not change. Two are equal if their programs have the same text.

    Attributes:
        program: the program, as data (`primitives.program.Program`).
        name: what it was called when it was loaded.
    """

    def __init__(self, program: Program, name: str) -> None:
        self.program = program
        self.name = name

    def __repr__(self) -> str:
        slots = f"{len(self.slots)} slot{'' if len(self.slots) == 1 else 's'}"
        return f"<Optimizer {self.name}: {slots}, {self.statements} statements>"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Optimizer) and self.program == other.program

    def __hash__(self) -> int:
        return hash(self.text)

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.text}```\n\n{self.source('latex')}"

    # -- what it is ------------------------------------------------------------

    @property
    def text(self) -> str:
        """The program as text: what `evolve.load` reads, without what has no effect."""
        from primitives.abstract import live_program
        from primitives.text import to_text

        return to_text(live_program(self.program))

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of what it remembers from step to step, each shaped like the weights."""
        from primitives.abstract import live_program

        return live_program(self.program).slots

    @property
    def statements(self) -> int:
        """How many statements have an effect."""
        from primitives.abstract import analyse

        return analyse(self.program).statements

    @cached_property
    def identity(self) -> Identity:
        """Which known optimizer it is, if any; takes seconds, at most a minute."""
        from evolve.understand.identify import identify

        return identify(self.program)

    def simplify(
        self,
        tasks: Sequence[Any] | str = (),
        *,
        proven: bool = False,
        workers: Workers = "auto",
    ) -> Simplified:
        """The smallest optimizer that does as well, with the evidence of every step.

        Arguments:
            tasks: names or objects, on which quality is measured; by default those on which the
                run that it is from was judged, or text and digits.
            proven: only what can be proven; then nothing is trained.
            workers: `auto` is one for each core, 0 one child process without Ray.

        Raises:
            BadInput: if a task cannot be used.
        """
        from evolve.judge.tournament import ROUNDS, Tournament
        from evolve.library.trials import config_of, judges, task_names, trials_pool
        from evolve.understand.simplify import prove, simplify

        config = config_of(self.name)
        names = task_names(tasks, config.judge_tasks)
        if proven:
            chain = prove(self.program)
        else:
            with trials_pool(names, str(workers)) as pool:
                judged = Tournament(judges(pool, names, self.program, config))
                chain = simplify(self.program, judged, ROUNDS)
        steps = [step.to_json() for step in chain.steps]
        return Simplified(
            Optimizer(chain.simplified, f"{self.name}, simplified"), steps, chain.kept
        )

    def explain(self, tasks: Sequence[Any] | str = (), *, workers: Workers = "auto") -> Table:
        """A row for each statement: its kind, its size, and what is lost without it.

        Arguments:
            tasks: names or objects, on which quality is measured; by default those of
                the run that it is from, or the built-in text.
            workers: as in `simplify`.

        Raises:
            BadInput: if a task cannot be used.
        """
        from evolve.judge.trials import Trials
        from evolve.library.tables import Table
        from evolve.library.trials import config_of, task_names, trials_pool
        from evolve.understand.explain import explain

        names = task_names(tasks, config_of(self.name).tasks)
        with trials_pool(names, str(workers)) as pool:
            lines = explain(self.program, Trials(pool), [None] * len(self.program.statements))
        return Table(
            {
                "statement": line.text,
                "kind": line.kind,
                "size": line.magnitude,
                "loss without it": line.loss and line.loss.mean,
                "half-width": line.loss and line.loss.high - line.loss.mean,
            }
            for line in lines
            if line.live
        )

    # -- as an optimizer of a framework ------------------------------------------

    def source(self, target: str) -> str:
        """What `evolve export --to` writes: `optax`, `torch`, `keras`, `numpy`, `latex` or `text`.

        Raises:
            BadInput: if there is no such target.
        """
        from evolve.library.exported import exported, require

        require(target)
        return exported(target, self.program, self.name)[0]

    def to_optax(
        self, learning_rate: optax.ScalarOrSchedule, **options: Any
    ) -> optax.GradientTransformationExtraArgs:
        """As an Optax transformation.

        Arguments:
            learning_rate: a number, or a function of the step.
            options: the other arguments that the exported factory has.

        Raises:
            BadInput: if Optax is not installed.
        """
        made: optax.GradientTransformationExtraArgs = self._made("optax", learning_rate, **options)
        return made

    def to_torch(
        self, params: Iterable[Any], lr: float | None = None, **options: Any
    ) -> torch.optim.Optimizer:
        """As a PyTorch optimizer of these parameters or parameter groups.

        Arguments:
            params: as for every PyTorch optimizer.
            lr: learning rate, on the program's own scale; by default its own, `peak_lr`, with
                which a program of a search makes the steps that it was found with.
            options: the other arguments that the exported class has.

        Raises:
            BadInput: if PyTorch is not installed.
        """
        rate = {} if lr is None else {"lr": lr}
        made: torch.optim.Optimizer = self._made("torch", params, **rate, **options)
        return made

    def to_keras(self, learning_rate: Any = None, **options: Any) -> keras.optimizers.Optimizer:
        """As a Keras optimizer.

        Arguments:
            learning_rate: a number or a schedule; by default that of the program.
            options: the other arguments that the exported class has.

        Raises:
            BadInput: if Keras is not installed.
        """
        rate = {} if learning_rate is None else {"learning_rate": learning_rate}
        made: keras.optimizers.Optimizer = self._made("keras", **rate, **options)
        return made

    def _made(self, target: str, *arguments: Any, **options: Any) -> Any:
        """The optimizer that is written for a target, with these arguments.

        It is the exported text, executed: what is tested is what is handed out.
        """
        from evolve.export import catalog
        from evolve.export.replay import load as executed
        from evolve.export.source import camel
        from evolve.library.exported import identifier, provenance_of, require

        require(target)
        name, notes = identifier(self.name), provenance_of(self.program, self.name)
        module = executed(catalog.emit(target, self.program, name, notes))
        factory = getattr(module, name if target == "optax" else camel(name))
        return factory(*arguments, **options)


class Simplified(NamedTuple):
    """A simplification.

    Attributes:
        optimizer: the smallest.
        steps: how it was reached, each with its evidence, as plain data.
        kept: what was tried to remove and kept, with figures.
    """

    optimizer: Optimizer
    steps: list[dict[str, Any]]
    kept: list[dict[str, Any]]


def load(source: str | Path | Optimizer) -> Optimizer:
    """An optimizer by the name of a known one, RUN#ID, a run folder, a file, or as text.

    Example: `evolve.load("lion").to_torch(model.parameters(), lr=1e-4)`

    Arguments:
        source: a PROGRAM as on the command line, the text of a program, or an optimizer.

    Raises:
        BadInput: if there is none, or the program is not valid.
    """
    from evolve.programs import load_program
    from primitives.abstract import analyse
    from primitives.program import ProgramError
    from primitives.text import from_text

    if isinstance(source, Optimizer):
        return source
    text = str(source)
    if "\n" not in text:
        return Optimizer(load_program(text), text)
    try:
        program = from_text(text)
        analyse(program)
    except ProgramError as error:
        raise BadInput(f"the text is no program: {error}") from None
    return Optimizer(program, "program")


def compare(
    programs: Sequence[str | Path | Optimizer],
    tasks: Sequence[Any] | str = (),
    *,
    rung: str = "x1",
    objective: str | None = None,
    workers: Workers = "auto",
) -> Table:
    """Optimizers against the first of them, each with its constants tuned on every task.

    Example: `evolve.compare(["adamw", "lion", "runs/1"], tasks=[my_task])`

    There is a row for each optimizer, task and rung: `optimizer`, `slots`, `task`, `rung`, the
    mean held-out `loss` and its standard `error`, and `better`: by how much it does better than
    the first, in units of what that gains by training, with the 95 % interval `low` to `high`.

    Arguments:
        programs: two or more, as `evolve.load` takes them.
        tasks: names or objects; by default the built-in text.
        rung: `x10` or `x100` compares at so many times the compute besides.
        objective: `equal-memory` (the default) or `loss`.
        workers: `auto` is one for each core, 0 one child process without Ray.

    Raises:
        BadInput: if something given cannot be used.
    """
    from evolve.library.comparing import compared
    from evolve.library.tables import Table

    own = [load(program) for program in programs]
    found = compared([(p.name, p.program) for p in own], tasks, objective, str(workers), rung)
    return Table(_row(ranked, result) for ranked in found for result in ranked.results)


def _row(ranked: Any, result: Any) -> dict[str, Any]:
    mean, error = result.loss or (None, None)
    better = result.better
    return {
        "optimizer": ranked.name,
        "slots": ranked.slots,
        "task": result.task,
        "rung": f"x{result.rung}",
        "loss": mean,
        "error": error,
        "better": better and better.mean,
        "low": better and better.low,
        "high": better and better.high,
    }
