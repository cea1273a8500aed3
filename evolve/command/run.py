"""`evolve run` and `evolve resume`."""

from __future__ import annotations

import argparse
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from evolve.budget import Budget, parse_budget
from evolve.command.options import check_names, whole_number, worker_count
from evolve.command.progress import Progress
from evolve.command.show import print_result
from evolve.command.timings import remember_seconds
from evolve.errors import BadInput, EvolveError
from evolve.search.config import Config, read_config
from evolve.search.driver import Driver, worker_setup
from evolve.search.log import RunLog
from evolve.session import DEFAULT_START, configured, facts, with_program, work
from evolve.summary import baseline_number
from evolve.workers import Setup, open_pool

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(arguments: argparse.Namespace) -> None:
    """Begin a run and go on until its budget is spent."""
    budget = parse_budget(arguments.budget)
    settings = _settings(arguments)
    config = configured(settings)
    check_names((*config.tasks, *config.judge_tasks))
    workers = worker_count(arguments.workers, config)
    folder = Path(arguments.out) if arguments.out else _free_folder()
    told = facts(config, settings["start"], arguments.budget)
    interruption = _Interruption(folder)
    with interruption.handled(), RunLog.create(folder, told) as log:
        try:
            _session(log, config, workers, arguments, [budget], interruption)
        except BadInput:
            if baseline_number(log) is None:
                shutil.rmtree(folder)  # nothing was searched: leave nothing behind
            raise


def resume(arguments: argparse.Namespace) -> None:
    """Go on with a run."""
    added = [] if arguments.budget is None else [parse_budget(arguments.budget)]
    folder = Path(arguments.run)
    interruption = _Interruption(folder)
    with interruption.handled(), RunLog.open(folder, write=True) as log:
        config = Config.from_json(log.meta("config"))
        if arguments.config:
            _check_agreement(config, arguments.config)
        if not log.events("budget"):  # it ended before its search began
            added.insert(0, parse_budget(log.meta("budget")))
        workers = worker_count(arguments.workers, config)
        _session(log, config, workers, arguments, added, interruption)


def _session(
    log: RunLog,
    config: Config,
    workers: int,
    arguments: argparse.Namespace,
    budgets: list[Budget],
    interruption: _Interruption,
) -> None:
    console = Console(stderr=False)
    if not arguments.quiet:
        for line in introduction(log, config, workers, budgets):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    interruption.at_once = True
    interruption.check()
    with (
        open_pool(run_setup(log, config), workers, arguments.address) as pool,
        Progress(console, arguments.quiet) as progress,
    ):

        def observe(driver: Driver) -> None:
            interruption.check()
            progress(driver)

        interruption.at_once = False
        work(log, pool, budgets, observe)
    remember_seconds(log)
    print_result(log, console)


def introduction(log: RunLog, config: Config, workers: int, budgets: list[Budget]) -> Iterator[str]:
    """What a session is about to do, in words, before anything is started."""
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
        f"'evolve resume {log.folder}' goes on with it."
    )
    if not again and config.tune_start:
        yield (
            f"It begins with {start} whose constants are tuned, so that no lucky constant passes "
            f"for a discovery."
        )


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings of the config file, with the flags that were given on top."""
    settings = read_config(Path(arguments.config)) if arguments.config else {}
    if arguments.seed is not None:
        settings["seed"] = arguments.seed
    if arguments.tasks is not None:
        settings["tasks"] = [name.strip() for name in arguments.tasks.split(",") if name.strip()]
    if arguments.start is not None:
        settings["start"] = arguments.start
    if arguments.in_flight is not None:
        settings["in_flight"] = whole_number("--in-flight", arguments.in_flight)
    if arguments.objective is not None:
        settings["objective"] = arguments.objective
    return {"start": DEFAULT_START, **settings}


def _check_agreement(config: Config, path: str) -> None:
    difference = config.difference(with_program(read_config(Path(path))))
    if difference:
        raise BadInput(
            f"'{path}' does not agree with the run's configuration "
            f"({'; '.join(difference)}); leave --config out, or start a new run"
        )


def _free_folder() -> Path:
    number = 1
    while (Path("runs") / str(number)).exists():
        number += 1
    return Path("runs") / str(number)


def run_setup(log: RunLog, config: Config) -> Setup:
    """What the workers of a run need to know; what they print goes into its folder."""
    return worker_setup(config, str((log.folder / "workers.log").resolve()))


class Interrupted(EvolveError):
    """A signal ended the session; what was committed stays."""

    def __init__(self, signal_number: int, folder: Path) -> None:
        super().__init__(f"interrupted; go on with: evolve resume {folder}")
        self.exit_code = 128 + signal_number


class _Interruption:
    """SIGINT or SIGTERM, turned into `Interrupted`; the log is sound whenever that happens.

    While the workers start, it is raised at once. Before that, when there may be no run to go on
    with yet, and later, when the driver looks up often, only by `check`: an exception raised in
    the middle of native code may be lost there, or come back as another.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._received: int | None = None
        self.at_once = False

    def check(self) -> None:
        """Raise `Interrupted` if a signal came."""
        if self._received is not None:
            raise Interrupted(self._received, self._folder)

    def _receive(self, number: int, frame: object) -> None:
        self._received = number
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # let the workers be ended in peace
        if self.at_once:
            self.check()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Receive signals inside."""
        before = {each: signal.signal(each, self._receive) for each in _SIGNALS}
        try:
            yield
        except BaseException:  # Ray may turn a signal into an exit of its own
            self.check()
            raise
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
