"""A run whose search has ended: what its closing works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
        self._judges: dict[str, Judge] = {}

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
            watch=lambda: self.watch(doing),
        )
        if not outside:
            self._trials.append((rung, trials))
        return trials

    def judges(self) -> dict[str, Judge]:
        """The tasks of the tournament, those of the search first."""
        if not self._judges:
            own = [name for name in self.config.tasks if name in self.config.judge_tasks]
            for name in dict.fromkeys([*own, *self.config.judge_tasks]):
                trials = self.trials("judging structures, each at its best", tasks=[name])
                self._judges[name] = Judge(trials, self.start(name))
        return self._judges

    @property
    def steps(self) -> int:
        return sum(judge.trials.longest for judge in self.judges().values())

    def start(self, task: str) -> Program:
        """The start program with its constants on a task: tuned, if the run's were."""
        given = self.log.meta("tuned_start")
        if self.config.tasks == (task,) or not self.config.tune_start:
            return from_text((given or {"program": self.config.start})["program"])
        doing = f"looking up the tuned start program on {task}"
        trials = self.trials(doing, tasks=[task], choosing=tuning.SEEDS, outside=True)
        return from_text(tuning.tuned(trials, self.config.start).program)

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
        return float(searched * share / (1 - share) - self.spent())

    def stage(self, kind: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a stage of the closing came to: read from the log, or made and stored there."""
        known = ending.stage(self.log, kind)
        if known is not None:
            self._before = self._earlier + known["cost"]
            self._trials.clear()
            self._judges.clear()
            return known
        data = {**make(), "cost": self.spent() - self._earlier}
        self.watch("closing the run")  # a signal may have ended a child early: store nothing
        with self.log.transaction():
            self.log.add_event(self.here, kind, data)
        return data
