"""Regularized evolution (arXiv 2302.06675, section 2.2) as a fold over the log.

Proposals and commits alternate in an order that depends on the configuration
alone: children are proposed while fewer than `look_ahead` evaluations are in
flight, then the oldest pending child is committed. So everything a child knows
(population, hurdles, cache) is a function of the rows before it, whatever the
number of workers. The state is rebuilt from the rows of a log by `restore`.

Round 0 tunes the constants of the start program by constants-only mutation;
its best program is the *baseline*. Every later round is a search that begins
with a population of copies of the baseline, or of the best programs found.

A score on few seeds is partly luck, and the best of many is mostly so. So each
program of the search begins with a seed of its own, what others of its kind score
is weighed in (`surrogate`), and one that would be the best of its niche, or near
it and better than all that are not longer, is trained *again*, on more seeds, and
so on while it stays ahead; only on all of them it counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from evolve.errors import BadInput
from evolve.search.bests import Bests
from evolve.search.breeding import Breeding
from evolve.search.config import EQUAL_MEMORY, RANDOM, Config
from evolve.search.fitness import Hurdles, Losses, check_start, final_losses, learns
from evolve.search.log import AGAIN, START, TUNING, Record
from evolve.search.mutation import TUNE, Mutant, child_rng
from evolve.search.population import Population
from evolve.search.results import Result, Results
from evolve.search.selection import Selection
from evolve.search.stretches import Stretch
from evolve.search.surrogate import Surrogate
from evolve.search.tries import Tries
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text, to_text
from proxy_tasks.status import FINISHED

#: Commits between two looks at the population's medians.
_HURDLES_EVERY = 32
#: Tuning ends after this many proposals per evaluation asked for: its constants change nothing.
_FUTILE = 50


class Evolution:
    """The state of a search: what has been proposed, committed and learnt."""

    def __init__(
        self, config: Config, untrained: Losses, stretches: Sequence[Stretch] = ()
    ) -> None:
        self.config = config
        self.untrained = untrained
        self.start = from_text(config.start)
        self.start_slots = len(analyse(self.start).slots)
        self.results = Results(config.replicates, untrained)
        self.pending: deque[Record] = deque()
        self.in_flight = 0
        self.proposed = 0  # rows, further seeds included
        self.generated = 0
        self.hits = 0  # of equal functional hash
        self.evaluated = 0
        self.round = TUNING
        self.baseline = START
        self.bests = Bests(self.results, self.niches, config.complexity_cost)
        self.population = Population(self.niches, 0, [])
        #: Programs that wait for more seeds, first come first served.
        self._again: deque[Record] = deque()
        self._cache: dict[str, int] = {}
        #: Programs trained in the search: all, those that differ in constants, of each structure.
        self._trained = self._tuned = 0
        self._tries = Tries(config.structure_tries)
        seen = () if config.method == RANDOM else stretches  # random search chooses nothing
        self._surrogate = Surrogate(self.niches, self.niche, seen)
        self._selection = Selection(
            config,
            self.results,
            self.bests,
            self._tries,
            self._cache,
            Breeding(config, stretches, self._cache, self._tries),
            self._surrogate,
            self.program,
        )
        self._programs: dict[int, Program | str] = {}
        self._hurdles: list[Hurdles | None] = [None] * self.niches
        self._improved = 0

    @property
    def niches(self) -> int:
        """One for each number of slots up to the start's, live or idle, and one for more."""
        return len(self.start.slots) + 2 if self.config.objective == EQUAL_MEMORY else 1

    def niche(self, slots: int) -> int:
        """The niche of programs with so many live slots."""
        return min(slots, self.niches - 1)

    @property
    def best(self) -> int | None:
        """The best program found; None if none is better than the baseline."""
        return self.bests.best()

    # -- proposing ---------------------------------------------------------

    def propose(self) -> Record | None:
        """The next child, or None if a pending one must be committed first."""
        if self.in_flight >= self.config.look_ahead or (self.proposed and not self.results):
            return None
        if self._again:
            record = self._once_more(self._again[0])
            self._note_proposal(record, record.program)
            return record
        if self._round_is_over():
            if self.pending:
                return None
            self._begin_round(self.round + 1)
        parent, mutant = self._child() if self.proposed else (None, self._first())
        record = self._record(parent, mutant)
        self._note_proposal(record, mutant.program)
        return record

    def _once_more(self, earlier: Record) -> Record:
        """A row that trains the program of an earlier one on more seeds."""
        number = earlier.parent if earlier.mutation == AGAIN else earlier.number
        more = next(count for count in self.config.replicates if count > earlier.replicates)
        return earlier.again(self.proposed, number, more)

    def _first(self) -> Mutant:
        analysis = analyse(self.start)
        if not analysis.learns:
            raise BadInput("the update of the start program does not depend on g; give another one")
        return Mutant(self.start, analysis, "start", 0)

    def _child(self) -> tuple[int, Mutant]:
        rng = child_rng(self.config.seed, self.proposed)
        if self.round == TUNING:
            return self._selection.tuned(self.population, rng)
        share = self.config.constants_share
        tuning = bool(share) and self._tuned <= share * self._trained
        return self._selection.child(self.population, tuning, rng)

    def _record(self, parent: int | None, mutant: Mutant) -> Record:
        source = parent if mutant.alike else self._cache.get(mutant.analysis.functional_hash)
        slots = len(mutant.analysis.slots)
        hurdles = self._hurdles[self.niche(slots)]
        record = Record(
            number=self.proposed,
            round=self.round,
            parent=parent,
            mutation=mutant.mutation,
            rejected=mutant.rejected,
            passed=mutant.passed,
            program=to_text(mutant.program),
            functional_hash=mutant.analysis.functional_hash,
            statements=len(mutant.program.statements),
            live=mutant.analysis.statements,
            slots=slots,
            structure=mutant.analysis.structure,
            replicates=self.config.replicates[0 if self.proposed else -1],
            source=source,
            guess=mutant.guess if source is None else None,
        )
        if source is not None or hurdles is None or self.proposed == START:
            return record
        return replace(record, hurdles=self.results.limits(hurdles, self._first_seed(record)))

    def seeds(self, record: Record) -> list[int]:
        """The seeds that a program is to be trained on."""
        if record.mutation != AGAIN:
            return self.results.seeds(self._first_seed(record), record.replicates)
        assert record.parent is not None
        result = self.results[record.parent]
        return self.results.seeds(result.first, record.replicates)[result.seeds :]

    def _first_seed(self, record: Record) -> int:
        """The first seed of a program: its own, lest the search climbs the landscape of one."""
        return 0 if record.round == TUNING else record.number % self.config.replicates[-1]

    def fitness(self, number: int) -> float | None:
        """The fitness of a committed program; in the search the baseline's is 0."""
        return self.results[number].fitness

    def _set_hurdles(self) -> None:
        """Take the niches' medians anew: not at every commit, which would cost most."""
        slack, capacity = self.config.hurdle_slack, self.population.capacity
        self._hurdles = [
            self.results.hurdles(members, capacity, slack) for members in self.population.niches
        ]

    # -- rounds ------------------------------------------------------------

    def _round_is_over(self) -> bool:
        if self.round == TUNING:
            # The start program is one evaluation; the tuning comes on top.
            enough = self.evaluated > self.config.tuning_evaluations
            futile = self.proposed > _FUTILE * (1 + self.config.tuning_evaluations)
            return bool(self.results) and (enough or futile or not self.start.constants)
        return len(self.results) - self._improved >= self.config.patience

    def _begin_round(self, number: int) -> None:
        if self.round == TUNING:
            self._begin_search()
        self.round = number
        self._improved = len(self.results)
        self._tries.begin_round(self.proposed)
        origins = self._origins(number)
        self.bests.begin_round(origins)
        self._surrogate.forget()
        self._populate(origins, self.config.population // self.niches or 1)

    def _begin_search(self) -> None:
        """The baseline is known: all that was tuned is scored anew, with it as the zero."""
        self.round = TUNING + 1
        self.results.measure_from(self.baseline)

    def _populate(self, origins: dict[int, int], capacity: int) -> None:
        """Fill niches with copies of one program each."""
        founders = [(member, niche) for niche, member in origins.items()]
        self.population = Population(self.niches, capacity, founders)
        self._programs = {n: p for n, p in self._programs.items() if self._is_kept(n)}
        self._set_hurdles()

    def _origins(self, number: int) -> dict[int, int]:
        restart = self.config.restart
        if restart == "alternate":
            restart = "best" if number % 2 == 0 else "start"
        start = {self.niche(self.start_slots): self.baseline}
        return {**start, **self.bests.ever} if restart == "best" else start

    # -- committing --------------------------------------------------------

    def commit(self, answer: dict[str, Any] | None) -> Record:
        """Settle the oldest pending program.

        Arguments:
            answer: what its evaluation gave; None if it takes an earlier result.

        Raises:
            BadInput: if it is the start program and that does not learn.
        """
        record = self.pending[0]
        if record.source is not None:
            record = replace(record, outcome=self.results[record.source].outcome)
        else:
            assert answer is not None
            record = replace(
                record, outcome=answer["outcome"], losses=answer["losses"], steps=answer["steps"]
            )
        if record.number == START and answer is not None:
            check_start(answer, self.untrained)
        result = self._note_commit(record)
        return replace(record, fitness=result.fitness)

    # -- the fold ----------------------------------------------------------

    def restore(self, records: Iterable[Record]) -> None:
        """Rebuild the state from the rows of a log."""
        for record in records:
            if record.round > self.round:
                self._begin_round(record.round)
            self._note_proposal(record, record.program)
            if record.outcome is not None:
                self._note_commit(record)

    def _note_proposal(self, record: Record, program: Program | str) -> None:
        self.proposed += 1
        self.pending.append(record)
        if record.mutation == AGAIN:
            self._again.popleft()
            self.in_flight += 1
            return
        self.generated += 1
        self._programs[record.number] = program
        if record.source is None:
            self.evaluated += 1
            self.in_flight += 1
            self._tries.note(record.structure, record.number)
            if self.round != TUNING:
                self._trained += 1
                self._tuned += record.mutation.startswith(TUNE)
            self._cache[record.functional_hash] = record.number
        else:
            self.hits += record.functional_hash in self._cache
            # It has no result of its own yet if it only steps as its parent does.
            self._cache.setdefault(record.functional_hash, record.source)

    def _note_commit(self, record: Record) -> Result:
        self.pending.popleft()
        result = self._settle(record)
        if record.source is None:
            self.in_flight -= 1
        if record.number == START:
            self._populate({self.niche(self.start_slots): START}, self.config.tuning_population)
        elif record.mutation != AGAIN:
            self._enter(record.number, self.niche(record.slots))
        self._compare_with_best(record, result)
        if record.source is None and record.mutation != AGAIN and self.round != TUNING:
            self._surrogate.note(record.number, result.niche, record.program)
        if len(self.results) % _HURDLES_EVERY == 0:
            self._set_hurdles()
            self._surrogate.take_anew(self.results)
        return result

    def _settle(self, record: Record) -> Result:
        """Keep what a committed row tells of its program."""
        if record.source is not None:
            self.results.append_hit(record.source, record.structure, record.live)
        elif record.mutation == AGAIN:
            result = self.results[record.parent or START]
            self.results.train_again(result, record.losses or {}, str(record.outcome))
            self.results.append(result)
        else:
            result = Result(
                record.number,
                None,
                str(record.outcome),
                record.losses or {},
                self._first_seed(record),
                record.structure,
                record.live,
                self.niche(record.slots),
                record.guess,
            )
            self.results.score(result)
            self.results.append(result)
        return self.results[record.number]

    def _compare_with_best(self, record: Record, result: Result) -> None:
        """Train it on more seeds if it may well be the best; note it if it is.

        One that takes an earlier result is the best if it is shorter than what gave it that.
        """
        number = record.parent if record.mutation == AGAIN else record.number
        if result.outcome != FINISHED or number is None or number == START:
            return
        trained, complete = record.source is None, result.seeds == self.config.replicates[-1]
        if trained and complete and self.round != TUNING:
            self.results.note_luck(result)
        if complete and self._leads(number):
            self._note_best(number, record)
        elif trained and not complete and self._may_lead(number, result.niche):
            self._again.append(record)

    def _leads(self, number: int) -> bool:
        if self.round != TUNING:
            return not self.bests.is_behind(number)
        better = self.results.expected(number) > self.results.expected(self.baseline)
        # Else it is better on average, with nothing to measure progress by on some task.
        return better and learns(final_losses(self.results[number].marks), self.untrained)

    def _may_lead(self, number: int, niche: int) -> bool:
        if self.round == TUNING:
            return self._leads(number)
        return not (self.bests.is_hopeless(number) and self.results.luck.is_known(niche))

    def _note_best(self, number: int, record: Record) -> None:
        self._programs.setdefault(number, record.program)  # it may have left the population
        if self.round == TUNING:
            self.baseline, self._improved = number, len(self.results)
            return
        leads_niche, leads = self.bests.note(number)
        if leads_niche:
            self._tries.since = record.number
        if leads:
            self._improved = len(self.results)

    def _enter(self, number: int, niche: int) -> None:
        """Join the population; the oldest member of the niche leaves."""
        gone = self.population.enter(number, niche)
        if gone is not None and not self._is_kept(gone):
            self._programs.pop(gone, None)

    def _is_kept(self, number: int) -> bool:
        kept = number in (START, self.baseline)
        return kept or number in self.population or number in self.bests

    def program(self, number: int) -> Program:
        """A program that is still at hand: a member, the baseline or the best."""
        program = self._programs[number]
        if isinstance(program, str):
            program = self._programs[number] = from_text(program)
        return program
