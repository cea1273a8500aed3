"""Regularized evolution (arXiv 2302.06675, section 2.2) as a state machine over the log.

A child goes through three steps. It is *drafted*: a parent is chosen. A worker then proposes
children of that parent, and one of them is *accepted*: it becomes a row of the log, and is
trained, or takes the result of an earlier program that computes the same. At last its outcome is
*committed*: it joins the population, and the oldest member of its niche leaves.

`next_step` says which of these comes next, from the configuration and from what happened so far
alone. Drafts, trainings and commits are each taken in the order of their numbers, however the
answers of the workers arrive. So everything that a child depends on is a function of the rows
before it, whatever the number of workers; and the state is rebuilt from the rows of a log by
taking the same steps again (`restore`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum, auto
from typing import Any

from evolve.errors import BadInput
from evolve.search.config import Config
from evolve.search.fitness import Hurdles, Losses, check_start
from evolve.search.log import MORE_SEEDS, START, Record, described
from evolve.search.mutation import CONSTANTS, child_rng
from evolve.search.population import Draft, Parents, Population
from evolve.search.racing import Race, Result
from primitives.abstract import analyse
from primitives.text import from_text
from proxy_tasks.status import FINISHED

#: After so many drafts in a row of which nothing came, a child is accepted whatever it is.
PATIENCE = 64
#: Commits between two looks at the population's medians.
HURDLES_EVERY = 32


class Step(Enum):
    """What a search does next."""

    BEGIN = auto()  # the start program becomes a row
    DRAFT = auto()
    ACCEPT = auto()
    MORE_SEEDS = auto()  # a program that is ahead is trained on further seeds
    COMMIT = auto()
    NOTHING = auto()  # all is committed, and nothing more is to be begun


class State:
    """What has been drafted, accepted and committed, and what is known from it.

    Arguments:
        config: of the run.
        start: text of the start program, tuned.
        untrained: the losses before training.
    """

    def __init__(self, config: Config, start: str, untrained: Losses) -> None:
        self.config = config
        self.untrained = untrained
        self.start = start
        program = from_text(start)
        self.start_slots = analyse(program).trees
        self.niches = config.niches(len(program.slots))
        self.race = Race(config.replicates, untrained, self.niches, config.complexity_cost)
        self.population = Population(self.niches, 0, [])
        self.drafts: deque[Draft] = deque()
        self.pending: deque[Record] = deque()
        #: Programs that wait for more seeds, first come first served.
        self._waiting: deque[Record] = deque()
        self.drafted = 0
        self.in_flight = 0  # trainings
        self.proposed = 0  # rows, those for more seeds included
        self.generated = self.evaluated = 0  # programs; those trained
        self.draining = False
        self._in_vain = 0  # drafts of which nothing came, since the last row
        #: The first draft and row of this round, and the programs trained until its last new best.
        self._first_draft = self._first_row = self._improved = 0
        #: For each functional hash the program whose result is taken.
        self._known: dict[str, int] = {}
        #: Trainings of each structure since a niche had a new best: reason to try again.
        self._tries: Counter[str] = Counter()
        self._tuned = 0  # programs trained that differ from their parent in constants alone
        #: Of programs that may be parents.
        self.texts: dict[int, str] = {}
        self._parents = Parents(config, self.race, self.niches)
        self._hurdles: list[Hurdles | None] = [None] * self.niches

    # -- what comes next ---------------------------------------------------

    def next_step(self) -> Step:
        """What is to be done now; a function of the configuration and of the steps before."""
        if self.pending and (self.draining or self.pending[0].source is not None):
            return Step.COMMIT
        if self.draining:
            return Step.NOTHING
        if not self.proposed:
            return Step.BEGIN
        if not self.race:  # nothing is known before the start program is trained
            return Step.COMMIT
        if self._waiting and self.in_flight < self.config.in_flight:
            return Step.MORE_SEEDS
        if len(self.drafts) < (self.config.in_flight + 1) // 2:
            return Step.DRAFT
        return Step.ACCEPT if self.in_flight < self.config.in_flight else Step.COMMIT

    def drain(self) -> None:
        """Begin nothing more; what is pending is to be committed. Drafts are forgotten."""
        self.draining = True
        self.drafts.clear()

    def go_on(self) -> None:
        """Begin again."""
        self.draining = False

    # -- drafting ----------------------------------------------------------

    def draft(self) -> Draft:
        """Choose the parent of the next child."""
        rng = child_rng(self.config.seed, self.drafted)
        share = self.config.constants_share
        constants = share > 0 and self._tuned <= share * self.evaluated
        parent = self._parents.choose(self.population, rng, constants)
        draft = Draft(self.drafted, parent, self.texts[parent], constants, rng.getrandbits(64))
        self.drafted += 1
        self.drafts.append(draft)
        return draft

    # -- accepting ---------------------------------------------------------

    def begin(self) -> Record:
        """The row of the start program."""
        program = from_text(self.start)
        if not analyse(program).learns:
            raise BadInput("the update of the start program does not depend on g; give another one")
        record = Record(
            number=START,
            draft=None,
            parent=None,
            mutation="start",
            detail="",
            rejected=0,
            passed=0,
            **described(program),
            seeds=self.config.replicates[-1],
        )
        self._note_row(record)
        return record

    def accept(self, children: list[dict[str, Any]]) -> Record | None:
        """The row of the first of a draft's children that is worth it; None if none is.

        One that computes what an earlier program does is worth it only if it is the first:
        that costs nothing, and lets programs drift. One that steps as its parent does, but is
        shorter, takes its parent's result.
        """
        draft = self.drafts.popleft()
        if draft.number < self._first_draft:
            return None  # its parent is of the round before
        for place, child in enumerate(children):
            known = self._known.get(child["functional_hash"])
            if known is None and child["alike"]:
                known = self.race[draft.parent].number
            elif not self._is_worth_it(child) if known is None else place:
                continue
            record = self._row(draft, child, known)
            self._note_row(record)
            return record
        self._in_vain += 1
        return None

    def _is_worth_it(self, child: dict[str, Any]) -> bool:
        """Whether a child that is not known is to be trained."""
        tries = self._tries[child["structure"]]
        is_new = child["mutation"] == CONSTANTS or tries < self.config.structure_tries
        return (child["promising"] and is_new) or self._in_vain >= PATIENCE

    def _row(self, draft: Draft, child: dict[str, Any], source: int | None) -> Record:
        facts = {key: value for key, value in child.items() if key not in ("promising", "alike")}
        hurdles = None if source is not None else self._hurdles[self.niche(child["slots"])]
        return Record(
            number=self.proposed,
            draft=draft.number,
            parent=draft.parent,
            seeds=self.config.replicates[0],
            source=source,
            hurdles=hurdles and self.race.limits(hurdles, self._first_seed(self.proposed)),
            **facts,
        )

    def more_seeds(self) -> Record:
        """The row that trains the program that has waited longest on more seeds."""
        earlier = self._waiting[0]
        number = earlier.parent if earlier.mutation == MORE_SEEDS else earlier.number
        result = self.race[number or START]
        more = replace(
            earlier,
            number=self.proposed,
            draft=None,
            parent=result.number,
            mutation=MORE_SEEDS,
            detail="",
            rejected=0,
            passed=0,
            seeds=result.seeds + len(self.race.next_seeds(result)),
            hurdles=None,
            outcome=None,
            fitness=None,
            losses=None,
            steps=None,
        )
        self._note_row(more)
        return more

    def seeds(self, record: Record) -> list[int]:
        """The seeds that a row that is pending is to be trained on."""
        if record.mutation == MORE_SEEDS:
            return self.race.next_seeds(self.race[record.parent or START])
        return self.race.next_seeds(self._new_result(record))

    def _first_seed(self, number: int) -> int:
        """The first seed of a program: its own, lest the search climbs the landscape of one."""
        return number % self.config.replicates[-1]

    def niche(self, slots: int) -> int:
        """The niche of programs with so many live slots: those that compete with each other."""
        return min(slots, self.niches - 1)

    # -- committing --------------------------------------------------------

    def commit(self, answer: dict[str, Any] | None) -> Record:
        """Settle the oldest pending row.

        Arguments:
            answer: what its training gave; None if it takes an earlier result.

        Raises:
            BadInput: if it is the start program and that does not learn.
        """
        record = self.pending[0]
        if record.source is not None:
            record = replace(record, outcome=self.race[record.source].outcome)
        else:
            assert answer is not None
            record = replace(
                record, outcome=answer["outcome"], losses=answer["losses"], steps=answer["steps"]
            )
            if record.number == START:
                check_start(answer, self.untrained)
        return replace(record, fitness=self._note_commit(record).fitness)

    # -- the fold ----------------------------------------------------------

    def restore(self, rows: Iterable[Record], drains: Mapping[int, int] | None = None) -> None:
        """Take the steps again that led to the rows of a log, some of the last pending maybe.

        Arguments:
            rows: in order.
            drains: how many rows there were whenever a budget was spent, and for each how
                many drafts.
        """
        outcomes: dict[int, Record] = {}
        waiting = iter(rows)
        row = next(waiting, None)
        drains = {**(drains or {})}
        while True:
            if self.proposed in drains:
                self.drain()
                self.drafted = drains.pop(self.proposed)
            step = self.next_step()
            if step is Step.NOTHING:
                if row is None:
                    return
                self.go_on()
            elif step is Step.DRAFT:
                self.draft()
            elif step is Step.COMMIT:
                settled = outcomes.pop(self.pending[0].number)
                if settled.outcome is None:
                    return
                self._note_commit(settled)
            elif row is None:
                return
            elif step is Step.ACCEPT and row.draft != self.drafts[0].number:
                self.accept([])  # none of its children was worth it
            else:
                if step is Step.ACCEPT:
                    self.drafts.popleft()
                self._note_row(row)
                outcomes[row.number] = row
                row = next(waiting, None)

    def _note_row(self, record: Record) -> None:
        self._in_vain = 0
        self.proposed += 1
        self.pending.append(record)
        self._parents.lengths.append(record.statements)
        if record.mutation == MORE_SEEDS:
            self._waiting.popleft()
            self.in_flight += 1
            return
        self.generated += 1
        self.texts[record.number] = record.program
        if record.source is None:
            self.evaluated += 1
            self.in_flight += 1
            self._known[record.functional_hash] = record.number
            self._tries[record.structure] += 1
            self._parents.trials[record.structure] += 1
            self._tuned += record.mutation == CONSTANTS
        else:  # maybe it computes something new, but steps as that does
            self._known.setdefault(record.functional_hash, record.source)

    def _note_commit(self, record: Record) -> Result:
        self.pending.popleft()
        result = self._result(record)
        self.race.append(result)
        goes_on = False
        if record.source is None:
            self.in_flight -= 1
            goes_on = self.race.note(result, str(record.outcome), record.losses or {})
        if record.number == START:
            self._populate()
        elif record.number >= self._first_row:
            self._take_part(record, result, goes_on)
        if self.evaluated - self._improved >= self.config.patience:
            self._begin_round()
        if (len(self.race) - 1) % HURDLES_EVERY == 0:
            self._set_hurdles()
        return result

    def _take_part(self, record: Record, result: Result, goes_on: bool) -> None:
        """A program of this round joins the population, and the front if it is ahead."""
        if goes_on:
            self._waiting.append(record)
        if record.mutation != MORE_SEEDS:
            self._forget(self.population.enter(record.number, self.niche(record.slots)))
        if record.source is None and record.outcome == FINISHED:
            self.texts.setdefault(result.number, record.program)
            self._forget(self._parents.keep(result))
        is_new = record.source is None or result.number == record.number
        if is_new and self.race.joins_front(result):
            self.texts.setdefault(result.number, record.program)  # it may have left
            if self.race.leads(result):
                self._tries.clear()
            if self.race.leads_all(result):
                self._improved = self.evaluated

    def _populate(self) -> None:
        """Everybody is the start program."""
        founders = [(START, self.niche(self.start_slots))]
        capacity = self.config.population // self.niches or 1
        self.population = Population(self.niches, capacity, founders)
        self.race.joins_front(self.race[START])

    def _begin_round(self) -> None:
        """Begin again: a search that found nothing for long is in a dead end, and another is not.

        Nothing of what was found is used, but how seeds differ. What is in flight still belongs
        to the round before.
        """
        self._first_draft, self._first_row = self.drafted, self.proposed
        self._improved = self.evaluated
        self._waiting.clear()
        self._known = {hashed: n for hashed, n in self._known.items() if n == START}
        self._tries.clear()
        self._parents.begin_round()
        self.race.begin_round()
        self._populate()
        self.texts = {START: self.start}
        self._set_hurdles()

    def _result(self, record: Record) -> Result:
        if record.source is not None:
            result = self.race[record.source]
            shorter = replace(result, number=record.number, live=record.live)
            return shorter if record.live < result.live else result
        if record.mutation == MORE_SEEDS:
            return self.race[record.parent or START]
        return self._new_result(record)

    def _new_result(self, record: Record) -> Result:
        niche, first = self.niche(record.slots), self._first_seed(record.number)
        return Result(record.number, niche, record.live, record.structure, first)

    def _set_hurdles(self) -> None:
        """Take the niches' medians anew: not at every commit, which would cost most."""
        self._hurdles = [
            self.race.hurdles(members, self.population.capacity, self.config.hurdle_slack)
            for members in self.population.niches
        ]

    def _forget(self, number: int | None) -> None:
        """The text of a program that is no parent any more is in the log alone."""
        if number is None or number in self.population or number in self._parents.structures:
            return
        if number != START and not self.race.in_front(number):
            self.texts.pop(number, None)
