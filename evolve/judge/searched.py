"""A run whose search has ended: what its closing works with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evolve.judge import ending, final_selection
from evolve.judge.trials import Trials
from evolve.search.config import EQUAL_MEMORY, Config
from evolve.search.driver import check_tasks
from evolve.search.fitness import Losses
from evolve.search.log import RunLog
from evolve.workers import Pool
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text

#: Called with the name of what is being done, often; it may raise.
Watch = Callable[[str], None]


class Searched:
    """A run that was searched and judged.

    Arguments:
        log: of the run, open for writing.
        pool: started, with the run's tasks.
        watch: called while trainings are waited for.

    Attributes:
        baseline, champion: their numbers; the champion is that on fresh seeds.
        steps: training steps of a program on every task, for one seed.

    Raises:
        BadInput: if the search has not ended, or a task has changed.
    """

    def __init__(self, log: RunLog, pool: Pool, watch: Watch) -> None:
        self.log = log
        self.pool = pool
        self.watch = watch
        self.config = Config.from_json(log.meta("config"))
        self.untrained = check_tasks(log, pool)
        self.here, facts = ending.require_finished(log)
        self.baseline, self.champion = facts["baseline"], facts["champion"]
        self.steps = sum(task["steps"] for task in pool.tasks.values())

    def trials(self, doing: str, **options: Any) -> Trials:
        """Trainings as in the search, each on the model that its memory allows."""
        slots = len(analyse(from_text(self.config.start)).slots)
        memory = slots if self.config.objective == EQUAL_MEMORY else None
        return Trials(self.pool, memory=memory, watch=lambda: self.watch(doing), **options)

    def program(self, number: int) -> Program:
        """A program of the run."""
        record = self.log.record(number)
        assert record is not None
        return from_text(record.program)

    def judged(self) -> dict[int, Losses]:
        """The losses of baseline and finalists on the fresh seeds."""
        return self.log.judgements(self.here, final_selection.FINAL)

    def fresh(self) -> dict[int, float]:
        """The fitness of the finalists on the fresh seeds, of those that finished there."""
        judged = self.judged()
        values = {
            number: final_selection.fitness(losses, judged[self.baseline], self.untrained)
            for number, losses in judged.items()
            if number != self.baseline and losses
        }
        return {number: value for number, value in values.items() if value is not None}

    def left(self) -> float:
        """Training steps that the closing may still take; a step at rung x10 counts ten."""
        share = self.config.closing_share
        ((searched,),) = self.log.select("SELECT total(steps) FROM programs")
        ((judged,),) = self.log.select("SELECT total(steps) FROM judgements")
        ((closed,),) = self.log.select(
            "SELECT total(json_extract(data, '$.cost')) FROM events WHERE NOT clock"
        )
        return float(searched * share / (1 - share) - judged - closed)

    def stage(self, kind: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a stage of the closing came to: read from the log, or made and stored there."""
        known = ending.stage(self.log, kind)
        if known is not None:
            return known
        data = make()
        self.watch("closing the run")  # a signal may have ended a child early: store nothing
        with self.log.transaction():
            self.log.add_event(self.here, kind, data)
        return data
