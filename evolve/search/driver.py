"""The driver: moves programs between state, log and pool until the budget is spent.

Rows are stored before they are dispatched, and committed in order, so a driver
that dies at any moment can be followed by another that goes on as if nothing
had happened.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from evolve.budget import EVALUATIONS, PROGRAMS, SECONDS, STEPS, Budget, Closing
from evolve.errors import BadInput, PoolError
from evolve.search.config import Config
from evolve.search.fitness import Losses, begin_alike
from evolve.search.log import Record, RunLog
from evolve.search.population import Draft
from evolve.search.state import State, Step
from evolve.workers import Finished, Pool, Setup, time_limit
from primitives.abstract import analyse
from primitives.functions import PAPER
from primitives.text import from_text
from proxy_tasks.catalog import resources
from proxy_tasks.task import mean_sizes

#: Seconds between looks at signals and the clock while waiting.
TICK = 0.5
#: Seconds between two notes of how long the session has gone on.
_NOTE_EVERY = 1.0
#: The most steps that one transaction holds.
_BATCH = 256
#: How often a proposal is asked for whose worker dies.
_ATTEMPTS = 2

Observer = Callable[["Driver"], None]


class Driver:
    """Runs one session of a search.

    Arguments:
        log: the run, open for writing.
        pool: started, with the run's tasks; see `worker_setup`.
        observe: called often, to show progress.
        closing: the training steps that the closing can use. Of a time the most is left for it,
            and no more than its share; a count is that of the search alone.
    """

    def __init__(
        self,
        log: RunLog,
        pool: Pool,
        observe: Observer = lambda driver: None,
        closing: Closing | None = None,
    ) -> None:
        self.log = log
        self.pool = pool
        self._closing = closing or Closing()
        self._observe = observe
        self.config = Config.from_json(log.meta("config"))
        self.untrained = check_tasks(log, pool)
        start = (log.meta("tuned_start") or {"program": self.config.start})["program"]
        self.state = State(self.config, start, self.untrained)
        drains = {at: data["drafts"] for at, _, data in log.events("drained")}
        self.state.restore(log.records(), drains)
        self._budget: dict[str, Any] = next((d for _, _, d in log.events("budget")[::-1]), {})
        self.steps = log.training_steps()
        #: By key: a row's number, or minus one less the draft's.
        self._answers: dict[int, Finished] = {}
        #: How often each proposal that is in flight was asked for.
        self._asked: dict[int, int] = {}
        self._begun: deque[Record] = deque()
        self._began = self._noted = time.monotonic()
        self._cpu = time.process_time()
        self._before, self._session = self._open_session()
        self.phase = "starting"

    @property
    def seconds(self) -> float:
        """How long the run has gone on, all sessions together."""
        return self._before + time.monotonic() - self._began

    # -- the budget ----------------------------------------------------------

    def add_budget(self, budget: Budget) -> None:
        """Let the run go on for this much more from now, whatever was left."""
        amount = self._spent(budget.kind) + budget.amount
        with self.log.transaction():
            clock = budget.kind == SECONDS
            data = {"kind": budget.kind, "until": amount}
            self._budget = data | ({"added": budget.amount} if clock else {})
            self._event("budget", self._budget, clock)

    def target(self) -> Budget | None:
        """The total that the run goes on to."""
        return Budget(self._budget["kind"], self._budget["until"]) if self._budget else None

    def left(self) -> float:
        """The share of the whole budget that is left, that of the closing included."""
        target = self.target()
        return 1 - self._spent(target.kind) / target.amount if target else 0.0

    def _spent(self, kind: str) -> float:
        spent: dict[str, float] = {
            EVALUATIONS: self.state.evaluated,
            PROGRAMS: self.state.generated,
            SECONDS: self.seconds,
            STEPS: self.steps,
        }
        return spent[kind]

    def _left_for_closing(self, target: Budget) -> float:
        """What the closing takes of the time added last: at the speed so far, at most its share.

        Nothing, if that is too little for it: then the time is for the search.
        """
        if target.kind != SECONDS:
            return 0.0
        share = self.config.closing_share * self._budget.get("added", target.amount)
        if not self.steps:
            return share
        each = self.seconds / self.steps
        return self._closing.takes(share, each)

    # -- the search ----------------------------------------------------------

    def begin_with(self, tuned: dict[str, Any]) -> None:
        """Search from a start program whose constants are tuned; `program` is its text."""
        with self.log.transaction():
            self.log.set_meta("tuned_start", tuned)
        self.state = State(self.config, tuned["program"], self.untrained)

    def search(self) -> None:
        """Search until the budget is spent."""
        for draft in self.state.drafts:
            self._ask(draft)
        for record in self.state.pending:
            self._dispatch(record)
        self._target = self.target()
        self.phase = "searching"
        while self._advance():
            self._observe(self)
            self._wait()
        self._forget_proposals()

    def _forget_proposals(self) -> None:
        """Wait for children that nobody wants any more: others will use the pool now."""
        while self._asked:
            self._observe(self)
            finished = self.pool.next(TICK)
            if finished is not None:
                self._received(finished)
        self._answers.clear()

    def watch(self, phase: str) -> None:
        """Look up while somebody else uses the pool: at signals, the clock and the display."""
        self.phase = phase
        self._observe(self)
        if time.monotonic() - self._noted >= _NOTE_EVERY:
            self.note_session()

    def note_session(self) -> None:
        """Record how long the session has gone on."""
        with self.log.transaction():
            self._note_session()

    def _advance(self) -> bool:
        """Take all steps that can be taken without waiting; False when nothing is left."""
        with self.log.transaction():
            for _ in range(_BATCH):
                if not self._take_step():
                    break
            if time.monotonic() - self._noted >= _NOTE_EVERY:
                self._note_session()
        while self._begun:  # they are stored now
            self._dispatch(self._begun.popleft())
        return self.state.next_step() is not Step.NOTHING or not self._is_spent()

    def _take_step(self) -> bool:
        """Take the next step; False if it has to wait, or there is none."""
        state = self.state
        step = state.next_step()
        if step is Step.COMMIT:
            return self._commit()
        if self._is_spent():
            return self._drain()
        if step is Step.ACCEPT:
            return self._accept()
        if step is Step.DRAFT:
            self._ask(state.draft())
        elif step is Step.BEGIN:
            self._begin(state.begin())
        elif step is Step.MORE_SEEDS:
            self._begin(state.more_seeds())
        else:
            state.go_on()
        return True

    def _is_spent(self) -> bool:
        target = self._target
        if target is None:
            return True
        return self._spent(target.kind) >= target.amount - self._left_for_closing(target)

    def _drain(self) -> bool:
        """Begin nothing more; whether something is left to be committed."""
        if not self.state.draining:
            drafts = {"drafts": self.state.drafted}
            self._event("drained", drafts, self._budget.get("kind") == SECONDS)
            self.state.drain()
        return self.state.next_step() is Step.COMMIT

    def _begin(self, record: Record) -> None:
        self.log.add(record)
        self._begun.append(record)

    def _accept(self) -> bool:
        finished = self._answers.pop(_key(self.state.drafts[0]), None)
        if finished is None:
            return False
        record = self.state.accept(finished.answer["children"])
        if record is not None:
            self._begin(record)
        return True

    def _commit(self) -> bool:
        head = self.state.pending[0]
        if head.source is not None:
            self.log.settle(self.state.commit(None))
            return True
        finished = self._answers.pop(head.number, None)
        if finished is None:
            return False
        record = self.state.commit(finished.answer)
        self.steps += record.steps or 0
        self.log.settle(record, finished.seconds)
        if "detail" in finished.answer:
            note = {"number": head.number, "detail": finished.answer["detail"]}
            self._event("fault", note, clock=True)
        return True

    # -- the pool ------------------------------------------------------------

    def _ask(self, draft: Draft) -> None:
        """Ask for children of a parent; at once, since trainings wait for them."""
        request = {
            "action": "propose",
            "program": draft.program,
            "constants": draft.constants,
            "seed": draft.seed,
        }
        self._asked[_key(draft)] = self._asked.get(_key(draft), 0) + 1
        self.pool.submit(_key(draft), request, self.config.time_limit, first=True)

    def _dispatch(self, record: Record) -> None:
        if record.source is not None:
            return
        request = self.request(record, self.state.seeds(record))
        request["hurdles"] = record.hurdles
        tasks, seeds = self.config.tasks, len(request["seeds"])
        limit = time_limit(self.pool.tasks, tasks, seeds, self.config.time_limit)
        self.pool.submit(record.number, request, limit)

    def request(
        self, record: Record, seeds: list[int], split: str = "validation"
    ) -> dict[str, Any]:
        """What a pool is asked for: training a program on some seeds."""
        return {
            "action": "evaluate",
            "program": record.program,
            "tasks": list(self.config.tasks),
            "rung": 1,
            "share": self.config.share(self._memory(record), self._memory(None)),
            "seeds": seeds,
            "split": split,
        }

    def _memory(self, record: Record | None) -> float:
        """What a program remembers, in numbers for each weight; None is the start program."""
        if self.config.language == PAPER:  # all slots are trees
            return self.state.start_slots if record is None else record.slots
        text = self.state.start if record is None else record.program
        return analyse(from_text(text)).memory(mean_sizes(self.log.meta("tasks")))

    def _wait(self) -> None:
        """Take what workers have answered, after a while at the latest."""
        finished = self.pool.next(TICK if self._is_waiting() else 0.0)
        while finished is not None:
            self._received(finished)
            finished = self.pool.next(0.0)

    def _is_waiting(self) -> bool:
        step, state = self.state.next_step(), self.state
        if step is Step.ACCEPT:
            return _key(state.drafts[0]) not in self._answers
        return step is Step.COMMIT and state.pending[0].number not in self._answers

    def _received(self, finished: Finished) -> None:
        asked = self._asked.pop(finished.key, 0)
        if not asked or "children" in finished.answer:
            self._answers[finished.key] = finished
            return
        draft = next((d for d in self.state.drafts if _key(d) == finished.key), None)
        if draft is None:
            return
        if asked == _ATTEMPTS:
            raise PoolError(f"no children could be proposed: {finished.answer['detail']}")
        self._asked[finished.key] = asked
        self._ask(draft)

    # -- the books -----------------------------------------------------------

    def _open_session(self) -> tuple[float, int]:
        ((before,),) = self.log.select("SELECT total(seconds) FROM sessions")
        ((number,),) = self.log.select("SELECT count(*) FROM sessions")
        started = datetime.now(UTC).isoformat(timespec="seconds")
        with self.log.transaction():
            self.log.open_session(number, started)
        return float(before), number

    def _note_session(self) -> None:
        self._noted = time.monotonic()
        facts = {
            "workers": self.pool.size,
            "driver_cpu_seconds": round(time.process_time() - self._cpu, 3),
        }
        self.log.note_session(self._session, time.monotonic() - self._began, facts)

    def _event(self, kind: str, data: Any, clock: bool = False) -> None:
        self.log.add_event(self.state.proposed, kind, data, clock)


def _key(draft: Draft) -> int:
    """Of a draft's request; those of rows are their numbers."""
    return -1 - draft.number


def check_tasks(log: RunLog, pool: Pool) -> Losses:
    """The losses before training, which every session of a run must share.

    Raises:
        BadInput: if a task is not what it was when the run began.
    """
    known = log.meta("tasks")
    if known is None:
        with log.transaction():
            log.set_meta("tasks", pool.tasks)
        known = pool.tasks
    for name, facts in pool.tasks.items():
        for fact in ("fingerprint", "weights", "steps"):
            if facts[fact] != known[name][fact]:
                raise BadInput(
                    f"the task '{name}' has changed: its {fact} is {facts[fact]}, "
                    f"but the run began with {known[name][fact]}; start a new run"
                )
        (now, *_), (then, *_) = facts["untrained"], known[name]["untrained"]
        if not begin_alike(now, then):
            raise BadInput(
                f"the task '{name}' has changed: its loss before training is {now:.4g}, "
                f"but the run began with {then:.4g}; start a new run"
            )
    return {name: facts["untrained"] for name, facts in known.items()}


def worker_setup(config: Config, log: str | None = None) -> Setup:
    """What the workers of a run need to know: one function, for runs, studies and benchmarks.

    Arguments:
        config: of the run.
        log: a file for what workers print; None discards it.
    """
    start = from_text(config.start)
    slots = analyse(start).trees
    return Setup(
        request={
            "program": config.start,
            "tasks": list(config.tasks),
            "rung": 1,
            "seeds": list(range(config.replicates[-1])),
            "shares": [config.share(number, slots) for number in range(len(start.slots) + 2)],
            "stretch": True if config.language == PAPER else "grid",
            "search": config.to_json(),
        },
        path=search_path(),
        log=log,
        evaluator="evolve.search.proposal:SearchWorker",
        resources=resources(config.tasks),
    )


def search_path() -> tuple[str, ...]:
    """Where workers look for modules: a user's task may lie in the working directory."""
    return (os.getcwd(), *(entry for entry in sys.path if entry))
