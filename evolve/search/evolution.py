"""Regularized evolution (arXiv 2302.06675, section 2.2) as a fold over the log.

Proposals and commits alternate in an order that depends on the configuration
alone: children are proposed while fewer than `look_ahead` evaluations are in
flight, then the oldest pending child is committed. So everything a child knows
(population, hurdles, cache) is a function of the rows before it, whatever the
number of workers. The state is rebuilt from the rows of a log by `restore`.

Round 0 tunes the constants of the start program by constants-only mutation;
its best program is the *baseline*. Every later round is a search that begins
with a population of copies of the baseline, or of the best program found.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from evolve.errors import BadInput
from evolve.search.config import Config
from evolve.search.fitness import Losses, Marks, final_losses, hurdles, learns, score
from evolve.search.log import Record
from evolve.search.mutation import Mutant, child_rng, mutate, mutate_constants
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text, to_text
from proxy_tasks.status import FINISHED, STOPPED

#: The number of the start program, and of the round that tunes it.
START = 0
TUNING = 0
#: Commits between two looks at the population's medians.
_HURDLES_EVERY = 32
#: Tuning ends after this many proposals per evaluation asked for: its constants change nothing.
_FUTILE = 50


class Result(NamedTuple):
    """What is known of a committed program."""

    fitness: float | None
    outcome: str
    marks: Marks


class Evolution:
    """The state of a search: what has been proposed, committed and learnt."""

    def __init__(self, config: Config, untrained: Losses) -> None:
        self.config = config
        self.untrained = untrained
        self.start = from_text(config.start)
        self.results: list[Result] = []
        self.pending: deque[Record] = deque()
        self.in_flight = 0
        self.proposed = 0
        self.evaluated = 0
        self.round = TUNING
        self.baseline = START
        self.best: int | None = None
        self.members: deque[int] = deque()
        self._cache: dict[str, int] = {}
        self._programs: dict[int, Program | str] = {}
        self._uses: Counter[int] = Counter()
        self._limits: dict[str, list[float]] | None = None
        self._improved = 0

    # -- proposing ---------------------------------------------------------

    def propose(self) -> Record | None:
        """The next child, or None if a pending one must be committed first."""
        if self.in_flight >= self.config.look_ahead or (self.proposed and not self.results):
            return None
        if self._round_is_over():
            if self.pending:
                return None
            self._begin_round(self.round + 1)
        parent, mutant = self._child() if self.proposed else (None, self._first())
        record = self._record(parent, mutant)
        self._note_proposal(record, mutant.program)
        return record

    def _first(self) -> Mutant:
        analysis = analyse(self.start)
        if not analysis.learns:
            raise BadInput("the update of the start program does not depend on g; give another one")
        return Mutant(self.start, analysis, "start", 0)

    def _child(self) -> tuple[int, Mutant]:
        rng = child_rng(self.config.seed, self.proposed)
        tuning = self.round == TUNING
        size = self.config.tuning_tournament if tuning else self.config.tournament
        parent = self._tournament(rng, size)
        program = self.program(parent)
        if tuning:
            return parent, mutate_constants(program, rng)
        return parent, mutate(program, rng, self.config.max_statements)

    def _record(self, parent: int | None, mutant: Mutant) -> Record:
        source = self._cache.get(mutant.analysis.functional_hash)
        return Record(
            number=self.proposed,
            round=self.round,
            parent=parent,
            mutation=mutant.mutation,
            rejected=mutant.rejected,
            program=to_text(mutant.program),
            functional_hash=mutant.analysis.functional_hash,
            statements=len(mutant.program.statements),
            live=mutant.analysis.statements,
            slots=len(mutant.analysis.slots),
            source=source,
            hurdles=self._limits if source is None else None,
        )

    def _tournament(self, rng: random.Random, size: int) -> int:
        """The fittest of `size` members drawn at random; the first drawn wins a tie."""
        drawn = [self.members[rng.randrange(len(self.members))] for _ in range(size)]
        return max(drawn, key=self._rank)

    def _rank(self, number: int) -> float:
        value = self.fitness(number)
        return float("-inf") if value is None else value

    def fitness(self, number: int) -> float | None:
        """The fitness of a committed program; in the search the baseline's is 0."""
        if self.round > TUNING and number == self.baseline:
            return 0.0
        return self.results[number].fitness

    def _set_hurdles(self) -> None:
        """Take the medians of the population anew: not at every commit, which would cost most."""
        finished = [
            self.results[member].marks
            for member in self.members
            if self.results[member].outcome == FINISHED
        ]
        baseline = self.results[self.baseline].marks
        slack = self.config.hurdle_slack
        self._limits = hurdles(finished or [baseline], baseline, self.untrained, slack)

    # -- rounds ------------------------------------------------------------

    def _round_is_over(self) -> bool:
        if self.round == TUNING:
            # The start program is one evaluation; the tuning comes on top.
            enough = self.evaluated > self.config.tuning_evaluations
            futile = self.proposed > _FUTILE * (1 + self.config.tuning_evaluations)
            return bool(self.results) and (enough or futile or not _has_constants(self.start))
        return len(self.results) - self._improved >= self.config.patience

    def _begin_round(self, number: int) -> None:
        self.round = number
        self._improved = len(self.results)
        self._populate(self._origin(number), self.config.population)

    def _populate(self, origin: int, size: int) -> None:
        """Fill the population with copies of one program."""
        self.members = deque([origin] * size)
        self._uses = Counter(self.members)
        kept = {START, self.baseline, self.best, origin}
        self._programs = {n: p for n, p in self._programs.items() if n in kept}
        self._set_hurdles()

    def _origin(self, number: int) -> int:
        restart = self.config.restart
        if restart == "alternate":
            restart = "best" if number % 2 == 0 else "start"
        return self.baseline if self.best is None or restart == "start" else self.best

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
            marks, outcome = self.results[record.source].marks, self.results[record.source].outcome
        else:
            assert answer is not None
            marks, outcome = answer["losses"], answer["outcome"]
            record = replace(record, losses=marks, steps=answer["steps"])
        if record.number == START and answer is not None:
            self._check_start(answer)
        record = replace(record, outcome=outcome, fitness=self._score(outcome, marks))
        self._note_commit(record, marks)
        return record

    def _score(self, outcome: str, marks: Marks) -> float | None:
        """Fitness on the scale of the present round, on which its baseline scores 0."""
        if outcome not in (FINISHED, STOPPED):
            return None
        zero = START if self.round == TUNING else self.baseline
        baseline = self.results[zero].marks if self.results else marks
        losses = final_losses(marks)
        return score(losses, final_losses(baseline), self.untrained)

    def _check_start(self, answer: dict[str, Any]) -> None:
        outcome, losses = answer["outcome"], final_losses(answer["losses"])
        if outcome == FINISHED and learns(losses, self.untrained):
            return
        if "detail" in answer:
            raise BadInput(
                f"the start program cannot be trained ({outcome}: {answer['detail']}); "
                "check the tasks, or give another --start"
            )
        detail = "; ".join(
            f"{task}: untrained {self.untrained[task][0]:.4g}, trained {values[0]:.4g}"
            for task, values in losses.items()
            if values
        )
        raise BadInput(
            f"the start program does not learn ({outcome}; {detail or 'no loss'}); "
            "give another --start, or better constants"
        )

    # -- the fold ----------------------------------------------------------

    def restore(self, records: Iterable[Record]) -> None:
        """Rebuild the state from the rows of a log."""
        for record in records:
            if record.round > self.round:
                self._begin_round(record.round)
            self._note_proposal(record, record.program)
            if record.outcome is not None:
                earlier = None if record.source is None else self.results[record.source]
                self._note_commit(record, earlier.marks if earlier else record.losses or {})

    def _note_proposal(self, record: Record, program: Program | str) -> None:
        self.proposed += 1
        self.pending.append(record)
        self._programs[record.number] = program
        if record.source is None:
            self.evaluated += 1
            self.in_flight += 1
            self._cache[record.functional_hash] = record.number

    def _note_commit(self, record: Record, marks: Marks) -> None:
        self.pending.popleft()
        assert record.outcome is not None
        self.results.append(Result(record.fitness, record.outcome, marks))
        if record.source is None:
            self.in_flight -= 1
        if record.number == START:
            self._populate(START, self.config.tuning_population)
        else:
            self._enter(record.number)
        if record.source is None and record.outcome == FINISHED:
            self._compare_with_best(record.number)
        if len(self.results) % _HURDLES_EVERY == 0:
            self._set_hurdles()

    def _enter(self, number: int) -> None:
        """Join the population; the oldest member leaves."""
        self.members.append(number)
        self._uses[number] += 1
        gone = self.members.popleft()
        self._uses[gone] -= 1
        if not self._uses[gone]:
            del self._uses[gone]
            if gone not in (START, self.baseline, self.best):
                self._programs.pop(gone, None)

    def _compare_with_best(self, number: int) -> None:
        if self.round == TUNING and not learns(
            final_losses(self.results[number].marks), self.untrained
        ):
            return  # better on average, but nothing to measure progress by on some task
        champion = self.baseline if self.round == TUNING or self.best is None else self.best
        if self._rank(number) > self._rank(champion):
            self._improved = len(self.results)
            if self.round == TUNING:
                self.baseline = number
            else:
                self.best = number

    def program(self, number: int) -> Program:
        """A program that is still at hand: a member, the baseline or the best."""
        program = self._programs[number]
        if isinstance(program, str):
            program = self._programs[number] = from_text(program)
        return program


def _has_constants(program: Program) -> bool:
    return any(not isinstance(a, str) for s in program.statements for a in s.arguments)
