"""The driver: moves programs between evolution, log and pool until the budget is spent.

Rows are stored before they are dispatched, and committed in order, so a driver
that dies at any moment can be followed by another that goes on as if nothing
had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from evolve.errors import BadInput
from evolve.search import final_selection
from evolve.search.budget import EVALUATIONS, PROGRAMS, SECONDS, STEPS, Budget
from evolve.search.config import Config
from evolve.search.evolution import Evolution
from evolve.search.fitness import Losses, final_losses
from evolve.search.log import Record, RunLog
from evolve.search.stretches import Stretch
from evolve.workers import Finished, Pool
from proxy_tasks.status import FINISHED

#: Seconds between looks at signals and the clock while waiting.
_TICK = 0.5
#: Seconds between two notes of how long the session has gone on.
_NOTE_EVERY = 1.0
#: The phase of which the rounds tell more; the others are told by their names.
SEARCH = "search"
#: The most proposals and commits that one transaction holds.
_BATCH = 256

Observer = Callable[["Driver"], None]


class Driver:
    """Runs one session of a search.

    Arguments:
        log: the run, open for writing.
        pool: started, with the run's tasks.
        observe: called often, to show progress.
    """

    def __init__(self, log: RunLog, pool: Pool, observe: Observer) -> None:
        self.log = log
        self.pool = pool
        self._observe = observe
        self.config = Config.from_json(log.meta("config"))
        self.untrained = check_tasks(log, pool)
        self.evolution = Evolution(self.config, self.untrained, self._stretches())
        self.evolution.restore(log.records())
        self.rejected = int(log.select("SELECT total(rejected) FROM programs")[0][0])
        self.steps = log.training_steps()
        self._answers: dict[int, Finished] = {}
        self._began = self._noted = time.monotonic()
        self._cpu = time.process_time()
        self._before, self._session = self._open_session()
        self.phase = SEARCH

    @property
    def seconds(self) -> float:
        """How long the run has gone on, all sessions together."""
        return self._before + time.monotonic() - self._began

    def add_budget(self, budget: Budget) -> None:
        """Let the run go on for this much more."""
        target = self.target()
        spent = self._spent(budget.kind)
        open_target = target.amount if target and target.kind == budget.kind else spent
        amount = max(open_target, spent) + budget.amount
        with self.log.transaction():
            clock = budget.kind == SECONDS
            self._event("budget", {"kind": budget.kind, "until": amount}, clock)

    def target(self) -> Budget | None:
        """The total that the run goes on to."""
        events = self.log.events("budget")
        return Budget(events[-1][2]["kind"], events[-1][2]["until"]) if events else None

    def remaining(self) -> float:
        """The share of the target that is left."""
        target = self.target()
        return 1 - self._spent(target.kind) / target.amount if target else 0.0

    def _spent(self, kind: str) -> float:
        spent: dict[str, float] = {
            EVALUATIONS: self.evolution.evaluated,
            PROGRAMS: self.evolution.generated,
            SECONDS: self.seconds,
            STEPS: self.steps,
        }
        return spent[kind]

    def run(self) -> None:
        """Search until the budget is spent, then judge."""
        self.search()
        self._judge()
        self.note_session()

    def search(self) -> None:
        """Search until the budget is spent."""
        for record in self.evolution.pending:
            self._dispatch(record)
        self._target = self.target()
        while self._advance():
            self._observe(self)
            self._wait()

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

    # -- the search ----------------------------------------------------------

    def _advance(self) -> bool:
        """Propose and commit all that can be without waiting; False when nothing is left."""
        fresh: list[Record] = []
        events = 0
        with self.log.transaction():
            while events < _BATCH:
                events += 1
                record = None if self._is_spent() else self.evolution.propose()
                if record is not None:
                    self.log.add(record)
                    self.rejected += record.rejected
                    fresh.append(record)
                elif not self._commit_next():
                    break
            if time.monotonic() - self._noted >= _NOTE_EVERY:
                self._note_session()
        for record in fresh:
            self._dispatch(record)
        return bool(self.evolution.pending) or not self._is_spent()

    def _is_spent(self) -> bool:
        return self._target is None or self._spent(self._target.kind) >= self._target.amount

    def _commit_next(self) -> bool:
        if not self.evolution.pending:
            return False
        head = self.evolution.pending[0]
        if head.source is not None:
            self.log.settle(self.evolution.commit(None))
            return True
        finished = self._answers.pop(head.number, None)
        if finished is None:
            return False
        record = self.evolution.commit(finished.answer)
        self.steps += record.steps or 0
        self.log.settle(record, finished.seconds)
        if "detail" in finished.answer:
            note = {"number": head.number, "detail": finished.answer["detail"]}
            self._event("fault", note, clock=True)
        return True

    def _dispatch(self, record: Record) -> None:
        if record.source is None:
            request = self._request(record, self.evolution.seeds(record))
            request["hurdles"] = record.hurdles
            self.pool.submit(record.number, request, self.config.time_limit)

    def _request(
        self, record: Record, seeds: list[int], split: str = "validation"
    ) -> dict[str, Any]:
        return {
            "action": "evaluate",
            "program": record.program,
            "tasks": list(self.config.tasks),
            "rung": 1,
            "share": self.config.share(record.slots, self.evolution.start_slots),
            "seeds": seeds,
            "split": split,
        }

    def _wait(self) -> None:
        pending = self.evolution.pending
        if pending and pending[0].source is None and pending[0].number not in self._answers:
            finished = self.pool.next(_TICK)
            if finished is not None:
                self._answers[finished.key] = finished

    # -- the judgement -------------------------------------------------------

    def _judge(self) -> None:
        """Choose the champion on fresh seeds and compare it on held-out data."""
        self.phase = "judging the finalists on fresh seeds"
        evolution = self.evolution
        finalists = dict.fromkeys([evolution.baseline, *self._finalists()])
        judged = self._judge_stage(final_selection.FINAL, list(finalists))
        statements = {n: self.log.complexity(n)[1] for n in judged}
        price = self.config.statement_price
        champion = final_selection.champion(
            judged, evolution.baseline, self.untrained, statements, price
        )
        pair = list(dict.fromkeys([evolution.baseline, champion]))
        self._judge_stage(final_selection.HELDOUT, pair)
        facts = {"baseline": evolution.baseline, "champion": champion}
        if ("finished", facts) not in [event[1:] for event in self._events_here()]:
            with self.log.transaction():
                self._event("finished", facts)

    def _finalists(self) -> list[int]:
        """For each number of slots the best of each length, and then of each structure."""
        rows = self.log.select(
            "SELECT number, slots, max(fitness) AS best FROM proposals WHERE round > 0 "
            "AND source IS NULL AND outcome = ? AND fitness > 0 "
            "GROUP BY slots, structure ORDER BY best DESC, number",
            (FINISHED,),
        )
        # Few seeds tell little, and some are easy.
        rows.sort(key=lambda row: self.evolution.bests.worth(row[0]), reverse=True)
        found: dict[int, list[int]] = {}
        front = [(n, self.log.complexity(n)[0]) for n in self.evolution.bests.front()]
        for number, slots in [*front, *(row[:2] for row in rows)]:
            found.setdefault(slots, []).append(number)
        share = -(-self.config.finalists // max(len(found), 1))
        return [n for numbers in found.values() for n in [*dict.fromkeys(numbers)][:share]]

    def _judge_stage(self, stage: str, numbers: list[int]) -> dict[int, Losses]:
        """The losses of programs on the seeds of a stage."""
        here = self.evolution.proposed
        count = self.config.judge_seeds * (2 if stage == final_selection.HELDOUT else 1)
        missing = [n for n in numbers if n not in self.log.judgements(here, stage)]
        # A training on every seed is many times a search evaluation.
        limit = self.config.time_limit * count
        for number in missing:
            record = self.log.record(number)
            assert record is not None
            request = self._request(
                record, final_selection.seeds(stage, count), final_selection.SPLIT[stage]
            )
            self.pool.submit(number, request, limit)
        answers: dict[int, Finished] = {}
        for number in missing:  # stored in order, whichever ends first
            while number not in answers:
                self._observe(self)
                finished = self.pool.next(_TICK)
                if finished is not None:
                    answers[finished.key] = finished
            answer = answers[number].answer
            with self.log.transaction():
                losses = final_losses(answer["losses"]) if answer["outcome"] == FINISHED else {}
                self.log.add_judgement(here, number, stage, losses, answer["steps"])
            self.steps += answer["steps"]
        return self.log.judgements(here, stage)

    # -- the books -----------------------------------------------------------

    def _stretches(self) -> list[Stretch]:
        tasks = self.log.meta("tasks").values() if self.config.stretches else ()
        return [Stretch(facts["stretch"]) for facts in tasks if facts.get("stretch")]

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
        self.log.add_event(self.evolution.proposed, kind, data, clock)

    def _events_here(self) -> list[tuple[int, str, Any]]:
        return [e for e in self.log.events() if e[0] == self.evolution.proposed]


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
    return {name: facts["untrained"] for name, facts in known.items()}
