"""A run whose search has ended: what its closing works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from evolve.budget import SECONDS
from evolve.judge import ending, tuning
from evolve.judge.tournament import CHOOSING, Judge
from evolve.judge.trials import Trained, Training, Trainings, Trials
from evolve.search.config import EQUAL_MEMORY, Config
from evolve.search.driver import check_tasks
from evolve.search.log import START, RunLog
from evolve.workers import Pool
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text

#: Called with the name of what is being done, often; it may raise.
Watch = Callable[[str], None]


class Logged(Trainings):
    """Trainings that a run's log keeps, so that a closing that was cut short repeats none."""

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log = log
        known = {
            Training(program, tuple(tasks), *rest): Trained(losses, steps)
            for (program, tasks, *rest), losses, steps in log.trainings()
        }
        super().add(known)

    def add(self, found: dict[Training, Trained]) -> None:
        """Remember some more, and store them."""
        super().add(found)
        if not found:
            return
        with self._log.transaction():
            for training, trained in found.items():
                self._log.add_training(list(training), trained.losses, trained.steps)


class Searched:
    """A run that was searched.

    Arguments:
        log: of the run, open for writing.
        pool: started, with the run's tasks.
        watch: called while trainings are waited for.

    Attributes:
        steps: training steps of a program on every task of the tournament, for one seed.

    Raises:
        BadInput: if the search has not ended, or a task has changed.
    """

    def __init__(self, log: RunLog, pool: Pool, watch: Watch) -> None:
        self.log = log
        self.pool = pool
        self.watch = watch
        self.config = Config.from_json(log.meta("config"))
        self.untrained = check_tasks(log, pool)
        self.here = ending.require_finished(log)
        self._trainings = Logged(log)
        #: Trials of the closing, and what earlier stages cost, of earlier closings too.
        self._trials: list[tuple[int, Trials]] = []
        self._before = self._earlier = ending.cost_before(log, self.here)
        self._tasks: dict[str, Trials] = {}
        self._starts: dict[str, Program] = {}

    def trials(
        self,
        doing: str,
        *,
        tasks: Sequence[str] | None = None,
        rung: int = 1,
        choosing: int = CHOOSING,
        outside: bool = False,
    ) -> Trials:
        """Trainings as in the search, each on the model that its memory allows.

        Those `outside` of the budget are not stored, and not counted.
        """
        slots = analyse(from_text(self.config.start)).trees
        trials = Trials(
            self.pool,
            choosing,
            slots if self.config.objective == EQUAL_MEMORY else None,
            tasks=tasks,
            rung=rung,
            trainings=None if outside else self._trainings,
            limit=self.config.time_limit,
            watch=lambda: self.watch(doing),
        )
        if not outside:
            self._trials.append((rung, trials))
        return trials

    @property
    def tasks(self) -> dict[str, Trials]:
        """The trainings of the tournament by task, those of the search first."""
        if not self._tasks:
            own = [name for name in self.config.tasks if name in self.config.judge_tasks]
            doing = "judging structures, each at its best"
            for name in dict.fromkeys([*own, *self.config.judge_tasks]):
                self._tasks[name] = self.trials(doing, tasks=[name])
        return self._tasks

    def judges(self) -> dict[str, Judge]:
        """The tasks of the tournament, each with its start program."""
        return {name: Judge(trials, self.start(name)) for name, trials in self.tasks.items()}

    @property
    def steps(self) -> int:
        return sum(trials.longest for trials in self.tasks.values())

    def start(self, task: str) -> Program:
        """The start program with its constants on a task: tuned, if the run's were."""
        if self.config.tasks == (task,) or not self.config.tune_start:
            given = self.log.meta("tuned_start") or {"program": self.config.start}
            return from_text(given["program"])
        if task not in self._starts:
            known = {
                data["task"]: data["program"] for _, _, data in self.log.events(ending.TUNED_START)
            }
            self._starts[task] = from_text(known.get(task) or self._tuned(task))
        return self._starts[task]

    def _tuned(self, task: str) -> str:
        """The start program tuned on a task that the search did not see alone.

        Outside of the budget, since most are recorded; what a time allows for one that is not is
        kept with the run.
        """
        doing = f"tuning the constants of the start program on {task}"
        trials = self.trials(doing, tasks=[task], choosing=tuning.SEEDS, outside=True)
        budget = self.log.events("budget")[-1][2]
        seconds = None
        if budget["kind"] == SECONDS:
            share = tuning.SHARE * self.config.closing_share / len(self.tasks)
            seconds = share * budget.get("added", budget["until"])
        program = tuning.tuned(trials, self.config.start, seconds).program
        if trials.count:
            data = {"task": task, "program": program, "steps": trials.steps}
            with self.log.transaction():
                self.log.add_event(self.here, ending.TUNED_START, data, True)
        return program

    def program(self, number: int) -> Program:
        """A program of the run."""
        record = self.log.record(number)
        assert record is not None
        return from_text(record.program)

    @property
    def baseline(self) -> Program:
        """The tuned start, as the search had it."""
        return self.program(START)

    def spent(self) -> int:
        """What closings cost so far, in training steps; one at rung x10 counts ten."""
        return self._before + sum(rung * trials.steps for rung, trials in self._trials)

    def left(self) -> float:
        """What this one may still cost."""
        share = self.config.closing_share
        ((searched,),) = self.log.select("SELECT total(steps) FROM programs")
        left = float(searched * share / (1 - share) - self.spent())
        budget = self.log.events("budget")[-1][2]
        added = budget.get("added", budget["until"])
        if budget["kind"] != SECONDS or added >= budget["until"]:
            return left
        # The run was gone on with for a time: that is what this closing has its share of.
        return min(left, share * added / self.seconds_each - (self.spent() - self._earlier))

    @property
    def seconds_each(self) -> float:
        """What a training step took so far."""
        ((seconds,),) = self.log.select("SELECT total(seconds) FROM sessions")
        return float(seconds / max(self.log.training_steps(), 1))

    def stage(self, kind: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a stage of the closing came to: read from the log, or made and stored there."""
        known = ending.stage(self.log, kind)
        if known is not None:
            self._before = self._earlier + known["cost"]
            self._trials.clear()
            self._tasks.clear()
            return known
        data = {**make(), "cost": self.spent() - self._earlier}
        self.watch("closing the run")  # a signal may have ended a child early: store nothing
        with self.log.transaction():
            self.log.add_event(self.here, kind, data)
        return data
