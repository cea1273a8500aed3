"""A run: begun, gone on with, and read; what `evolve run`, `resume` and `inspect` call."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolve.errors import BadInput, quoted

if TYPE_CHECKING:
    from evolve.budget import Budget
    from evolve.library.interruption import Interruption
    from evolve.library.optimizer import Optimizer
    from evolve.library.tables import Table
    from evolve.search.config import Config
    from evolve.search.log import RunLog

Workers = int | str


class Run:
    """A run folder: what a search has found so far. `evolve.open` gives one.

    It may still be going on, in this process or another; every property reads it anew.

    Attributes:
        folder: where it is.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._path = Path(os.path.abspath(folder))  # whatever the working directory becomes

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def __str__(self) -> str:
        return "\n".join(self._conclusion())

    def _repr_markdown_(self) -> str:
        return "```text\n" + str(self) + "\n```"

    def _conclusion(self) -> list[str]:
        from evolve.library.conclusion import conclusion

        with self._log() as log:
            return list(conclusion(_summary(log), log.meta("start")))

    def _log(self, write: bool = False) -> RunLog:
        from evolve.search.log import RunLog

        here = os.path.abspath(self.folder) == str(self._path)
        return RunLog.open(self.folder if here else self._path, write)

    # -- what it found ---------------------------------------------------------

    @property
    def summary(self) -> dict[str, Any]:
        """All that is known of it as plain data: the fields of `evolve inspect --json`."""
        with self._log() as log:
            return _summary(log)

    @property
    def champion(self) -> Optimizer | None:
        """The optimizer that the run found: the champion as it was judged, simplified.

        While the search goes on it is the best so far; None before anything was trained, and
        if nothing is better than the tuned start.
        """
        from evolve.library.optimizer import Optimizer
        from evolve.programs import load_program
        from evolve.summary import is_better

        with self._log() as log:
            if not is_better(log):
                return None
        return Optimizer(load_program(str(self._path)), str(self._path))

    @property
    def hall_of_fame(self) -> Table:
        """The programs than which none is fitter with as few slots and statements."""
        from evolve.library.tables import Table
        from evolve.summary import front, hall_of_fame

        with self._log() as log:
            return Table(front(hall_of_fame(log)))

    @property
    def history(self) -> Table:
        """Every program, in the order it was made: id, parent, mutation, outcome, fitness, ...

        The fitness is by how much more the program gains from training than the tuned start
        does, on `seeds` seeds; None where it has none.
        """
        from evolve.library.tables import Table

        names = ("id", "parent", "mutation", "outcome", "fitness", "seeds", "slots", "statements")
        query = (
            "SELECT number, parent, mutation, outcome, fitness, trained, slots, live "
            "FROM proposals ORDER BY number"
        )
        with self._log() as log, log.in_memory():
            return Table(dict(zip(names, row, strict=True)) for row in log.select(query))

    def program(self, number: int) -> Optimizer:
        """A program of the search, as it was found.

        Raises:
            BadInput: if there is none of that number.
        """
        from evolve.library.optimizer import load

        return load(f"{self._path}#{number}")

    def report(self, path: Path | str) -> Path:
        """Write a page about it: what was found, how good that is, and how it came about.

        Returns:
            where it was written.

        Raises:
            BadInput: if it cannot be written, or Matplotlib or Jinja2 is not installed.
        """
        from evolve.report.page import page

        with self._log() as log:
            text = page(log)
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise BadInput(f"'{path}' cannot be written ({error.strerror})") from None
        return Path(path)

    # -- going on --------------------------------------------------------------

    def resume(
        self,
        budget: str | None = None,
        *,
        tasks: Sequence[Any] = (),
        workers: Workers = "auto",
        address: str | None = None,
        config: Mapping[str, Any] | None = None,
        progress: bool = True,
    ) -> Run:
        """Go on with the search, and judge its best anew.

        Arguments:
            budget: this much more from now (`10m`, `500evals`); None is what was left of the last.
            tasks: those of the run that are objects of yours without an importable name.
            workers: `auto` is one for each core, 0 one child process without Ray.
            address: of a Ray cluster.
            config: settings; those that differ from the run's are an error.
            progress: whether to print how it goes, and the result.

        Returns:
            the run itself.

        Raises:
            BadInput: if something given cannot be used.
            RunBusy: if somebody else goes on with it already.
            KeyboardInterrupt: after Ctrl-C; the run can be gone on with.
        """
        from evolve.budget import parse_budget
        from evolve.library.interruption import Interruption
        from evolve.library.options import check_names, worker_count
        from evolve.library.tasks import named, resuming
        from evolve.search.config import Config

        added = [] if budget is None else [parse_budget(budget)]
        named(tasks)
        with self._log() as log:
            own = Config.from_json(log.meta("config"))
        interruption = Interruption(resuming(self.folder, own.tasks))
        with interruption.handled(), self._log(write=True) as log:
            if config:
                _check_agreement(own, config)
            if not log.events("budget"):  # it ended before its search began
                added.insert(0, parse_budget(log.meta("budget")))
            count = worker_count(str(workers), own.tasks, own.in_flight)
            try:
                check_names(tuple(name for name in own.tasks if ":" in name))
                _session(log, own, count, address, added, progress, interruption)
            except BadInput as error:
                raise _elsewhere(log, error) from None
        return self


def run(
    budget: str = "30m",
    *,
    seed: int | None = None,
    tasks: Sequence[Any] | str | None = None,
    out: Path | str | None = None,
    start: str | None = None,
    objective: str | None = None,
    language: str | None = None,
    in_flight: int | None = None,
    workers: Workers = "auto",
    address: str | None = None,
    config: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Search for an optimizer; the same as `evolve run`.

    Example: `evolve.run("5m", tasks=[my_task], out="runs/mine").champion`

    Arguments:
        budget: how long: `30m`, `2h`, `20000evals` (programs trained), `9000000steps`.
        seed: of every random choice; by default 0.
        tasks: names, or objects of yours (`evolve.torch_task`, `proxy_tasks.task.Task`), or a
            single one; by default the built-in text.
        out: the run folder, which must not exist or be empty; by default `runs/1`, `runs/2`, ...
        start: the program to begin with: a name, RUN#ID, a run folder or a file; by default AdamW.
        objective: `equal-memory` (the default) or `loss`.
        language: `paper` (the default), or `extended`, which sees rows and columns of weights.
        in_flight: how many trainings may be asked for at a time; by default 16.
        workers: `auto` is one for each core, 0 one child process without Ray.
        address: of a Ray cluster.
        config: more settings: fields of `evolve.search.config.Config`.
        progress: whether to print how it goes, and the result.

    Returns:
        the run.

    Raises:
        BadInput: if something given cannot be used.
        KeyboardInterrupt: after Ctrl-C; `evolve.open(FOLDER).resume()` goes on.
    """
    from evolve.budget import parse_budget
    from evolve.library.interruption import Interruption
    from evolve.library.options import check_names, worker_count
    from evolve.library.tasks import named, resuming
    from evolve.search.log import RunLog
    from evolve.session import DEFAULT_START, configured, facts
    from evolve.summary import baseline_number

    amount = parse_budget(budget)
    given: dict[str, Any] = {"seed": seed, "start": start, "objective": objective}
    given |= {
        "language": language,
        "in_flight": in_flight,
        "tasks": None if tasks is None else named(tasks),
    }
    settings = {"start": DEFAULT_START, **(config or {})}
    settings |= {key: value for key, value in given.items() if value is not None}
    own = configured(settings)
    check_names((*own.tasks, *own.judge_tasks))
    count = worker_count(str(workers), own.tasks, own.in_flight)
    folder = Path(out) if out is not None else _free_folder()
    interruption = Interruption(resuming(folder, own.tasks))
    with (
        interruption.handled(),
        RunLog.create(folder, facts(own, settings["start"], budget)) as log,
    ):
        try:
            _session(log, own, count, address, [amount], progress, interruption)
        except BadInput:
            if baseline_number(log) is None:
                shutil.rmtree(folder)  # nothing was searched: leave nothing behind
            raise
    return Run(folder)


def open_run(folder: Path | str) -> Run:
    """A run that was begun before, or still goes on.

    Example: `evolve.open("runs/1").hall_of_fame`

    Arguments:
        folder: the run folder.

    Raises:
        BadInput: if the folder is none, or of another version.
    """
    found = Run(folder)
    with found._log():
        return found


# -- a session -----------------------------------------------------------------------


def _session(
    log: RunLog,
    config: Config,
    workers: int,
    address: str | None,
    budgets: list[Budget],
    progress: bool,
    interruption: Interruption,
) -> None:
    """Search until the budgets are spent, judge, and print how that goes."""
    from evolve.library.conclusion import conclusion
    from evolve.library.console import Console
    from evolve.library.progress import Progress
    from evolve.library.timings import remember_seconds
    from evolve.search.driver import Driver
    from evolve.session import notes, run_setup, work
    from evolve.workers import open_pool

    console = Console(stderr=False)

    def say(lines: Iterator[str]) -> None:
        for line in lines:
            console.print(line, highlight=False, soft_wrap=True, markup=False)

    if progress:
        say(introduction(log, config, workers, budgets))
    interruption.at_once = True
    interruption.check()
    with (
        open_pool(run_setup(log, config), workers, address) as pool,
        Progress(console, not progress) as show,
    ):
        if progress:
            say(notes(pool, config))

        def observe(driver: Driver) -> None:
            interruption.check()
            show(driver)

        interruption.at_once = False
        work(log, pool, budgets, observe)
    remember_seconds(log)
    if progress:
        say(iter(["", *conclusion(_summary(log), log.meta("start"))]))


def introduction(log: RunLog, config: Config, workers: int, budgets: list[Budget]) -> Iterator[str]:
    """What a session is about to do, in words, before anything is started."""
    from evolve.library.tasks import resuming

    start, tasks = log.meta("start"), ", ".join(config.tasks)
    long = " and ".join(str(budget) for budget in budgets) or "what is left of its budget"
    again = bool(log.events("budget"))
    yield (
        f"{'Going on with' if again else 'Searching for'} an optimizer that trains {tasks} better "
        f"than {start}: {long}, {workers or 1} worker{'' if workers < 2 else 's'}, "
        f"seed {config.seed}."
    )
    yield (
        f"Everything is kept in {log.folder}. Ctrl-C stops the search, and "
        f"'{resuming(log.folder, config.tasks)}' goes on with it."
    )
    if not again and config.tune_start:
        yield (
            f"It begins with {start} whose constants are tuned, so that no lucky constant passes "
            f"for a discovery."
        )
    yield "The workers start now; the first numbers come within a minute."


def _elsewhere(log: RunLog, error: BadInput) -> BadInput:
    """An error of a task that is not found: with where the run began, if that is elsewhere."""
    began = log.meta("folder")
    if "there is no module" in str(error) and began not in (None, os.getcwd()):
        return BadInput(f"{error}; the run began in {quoted(began)}, go on with it there")
    return error


def _summary(log: RunLog) -> dict[str, Any]:
    from evolve.summary import summarize

    return summarize(log)


def _check_agreement(config: Config, settings: Mapping[str, Any]) -> None:
    from evolve.session import with_program

    difference = config.difference(with_program(dict(settings)))
    if difference:
        raise BadInput(
            f"the settings do not agree with the run's configuration ({'; '.join(difference)}); "
            "leave them out, or start a new run"
        )


def _free_folder() -> Path:
    number = 1
    while os.path.exists(f"runs/{number}"):
        number += 1
    return Path("runs") / str(number)
