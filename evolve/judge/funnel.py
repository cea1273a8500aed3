"""The funnel: what was good on the small tasks is judged on larger ones.

A rung is a task with ten or a hundred times the compute: a larger model, larger batches.
The best finalists and the tuned start are trained there, each at the best of a few scales
of its update, the start moreover with constants tuned at that rung. The champion is the
best on both sizes; champion and start are then compared on held-out data.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from evolve.errors import BadInput
from evolve.judge import ending, final_selection, tuning
from evolve.judge.searched import Searched
from evolve.judge.trials import HELDOUT
from evolve.search.fitness import Losses
from primitives.program import Program
from primitives.text import from_text, to_text

#: Finalists that go to the larger rung at most.
CANDIDATES = 4
#: Fresh seeds that choose among the candidates, and held-out pairs that compare.
FRESH, PAIRS = 8, 16
#: Factors of an update that are tried there, besides 1: larger models want smaller steps.
SCALES = (0.125, 0.25, 0.35, 0.5, 0.71, 1.41, 2.0)


class Rung:
    """The trainings of a run at a larger rung.

    Raises:
        BadInput: if a task has no such rung.
    """

    def __init__(self, run: Searched, rung: int) -> None:
        self.run, self.rung = run, rung
        self._doing = f"judging at x{rung}"
        self.trials = run.trials(self._doing, choosing=tuning.SEEDS, rung=rung)
        self.shipped = tuning.shipped(self.trials.tasks, rung, run.config.start)

    def tuned_start(self) -> tuning.Tuning:
        """The start program with constants tuned at this rung; tuned now if it never was."""
        if self.shipped:
            return self.shipped
        doing = f"tuning the start program at x{self.rung}"
        first, large = (
            self.run.trials(doing, choosing=tuning.SEEDS, rung=rung) for rung in (1, self.rung)
        )
        return tuning.find(first, large, self.rung, self.run.config.start)

    def at_their_best(
        self, start: tuning.Tuning, programs: Sequence[Program]
    ) -> tuple[Program, list[Program]]:
        """The start program and others, each at the best scale of its update.

        The start has the constants of this rung's tuning or those of the run's, whichever
        are better here.
        """
        starts = [from_text(start.program), self.run.program(self.run.baseline)]
        found = self.trials.at_best_of([*starts, *programs], SCALES)
        baseline, _ = min(found[: len(starts)], key=lambda entry: entry[1])
        return baseline, [program for program, _ in found[len(starts) :]]

    def fitness(self, programs: Sequence[Program], baseline: Program) -> list[float | None]:
        """The fitness of programs on fresh seeds; None where a training failed."""
        seeds = final_selection.seeds(final_selection.FINAL, FRESH)
        base, *found = self.trials.losses([baseline, *programs], seeds)
        if base is None:
            return [None] * len(found)
        return [final_selection.fitness(losses or {}, base, self._untrained) for losses in found]

    def heldout(self, champion: int, programs: dict[str, Program]) -> dict[str, Any]:
        """Baseline and champion on seeds and data that nothing was chosen on."""
        seeds = final_selection.seeds(final_selection.HELDOUT, PAIRS)
        losses = self.trials.losses(list(programs.values()), seeds, HELDOUT)
        return {
            "id": champion,
            "rung": self.rung,
            "untrained": self._untrained,
            "programs": {name: to_text(program) for name, program in programs.items()},
            **{name: found or {} for name, found in zip(programs, losses, strict=True)},
        }

    @property
    def _untrained(self) -> Losses:
        return {task: facts["untrained"] for task, facts in self.trials.tasks.items()}


def funnel(run: Searched, rung: int) -> dict[str, Any]:
    """Choose the champion on both sizes, and compare it with the start on the larger.

    As many candidates are taken as there are steps left for.
    """
    rows = [_row(run, n, value) for n, value in sorted(run.fresh().items())]
    result = {"champion": run.champion, "finalists": rows, "steps": 0, "cost": 0, "rung": rung}
    best = candidates(rows, run.champion, run.config.statement_price)
    if not best:  # no finalist is better than the start
        return result
    outside = f"rung x{rung}; outside the budget: evolve funnel RUN --rung x{rung}"
    if affordable(run, rung, tuned=True) < 1:  # known before anything is compiled
        return {**result, "left_out": outside}
    try:
        at_rung = Rung(run, rung)
    except BadInput as error:
        return {**result, "left_out": f"rung x{rung} ({error})"}
    count = affordable(run, rung, tuned=at_rung.shipped is not None)
    if count < 1:
        return {**result, "left_out": outside}
    return {**result, **_judged(at_rung, best[:count])}


def affordable(run: Searched, rung: int, tuned: bool) -> int:
    """How many candidates the steps that are left suffice for, the start being tuned or not."""
    at_rung = run.steps * rung
    tuned_for = 0 if tuned else tuning.most(run.steps, rung)
    scales = tuning.SEEDS * (1 + len(SCALES))
    baseline = 2 * scales + FRESH  # with two sets of constants
    fixed = tuned_for + (baseline + 2 * PAIRS) * at_rung + 2 * run.config.judge_seeds * run.steps
    return min(CANDIDATES, int((run.left() - fixed) // ((scales + FRESH) * at_rung)))


def judge_outside(run: Searched, rung: int) -> None:
    """Compare the champion with the start at a rung, whatever it costs, and record it.

    Raises:
        BadInput: if a task has no such rung, or there is nothing to compare.
    """
    champion = ending.champion_at_end(run.log)
    if champion is None or champion == run.baseline:
        raise BadInput(
            f"the champion of '{run.log.folder}' is the tuned start itself, so there is nothing "
            f"to compare; 'evolve resume {run.log.folder} --budget 30m' searches on"
        )
    at_rung = Rung(run, rung)
    baseline, (winner,) = at_rung.at_their_best(at_rung.tuned_start(), [run.program(champion)])
    data = at_rung.heldout(champion, {"baseline": baseline, "champion": winner})
    with run.log.transaction():
        # Not of the budget, so not of what equal budgets must have in common.
        run.log.add_event(run.here, ending.RUNG, {**data, "steps": at_rung.trials.steps}, True)


def _judged(at_rung: Rung, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the larger rung says of candidates; their rows are completed."""
    run, start = at_rung.run, at_rung.tuned_start()
    baseline, others = at_rung.at_their_best(start, [run.program(row["id"]) for row in rows])
    for row, value in zip(rows, at_rung.fitness(others, baseline), strict=True):
        row["rung"] = value
    champion = choose(rows, run.config.statement_price)
    winner = others[[row["id"] for row in rows].index(champion)]
    heldout = at_rung.heldout(champion, {"baseline": baseline, "champion": winner})
    losses, small = (None, 0) if champion == run.champion else _small_heldout(run, champion)
    # A tuning counts whether it was done now or read, so that the cache decides nothing.
    steps, cost = (0, 0) if at_rung.shipped else (start.steps, start.cost)
    large = at_rung.trials.steps
    return {
        "champion": champion,
        "champion_losses": losses,
        "heldout": heldout,
        "tuning": start.facts(),
        "steps": steps + large + small,
        "cost": cost + large * at_rung.rung + small,
    }


def _small_heldout(run: Searched, champion: int) -> tuple[Losses, int]:
    """The losses of another champion on held-out data at the first rung, and the steps."""
    trials = run.trials("comparing on held-out data")
    seeds = final_selection.seeds(final_selection.HELDOUT, 2 * run.config.judge_seeds)
    (losses,) = trials.losses([run.program(champion)], seeds, HELDOUT)
    return losses or {}, trials.steps


def _row(run: Searched, number: int, fresh: float) -> dict[str, Any]:
    """What is known of a finalist."""
    slots, statements = run.log.complexity(number)
    return {"id": number, "slots": slots, "statements": statements, "fresh": fresh, "rung": None}


def candidates(rows: list[dict[str, Any]], champion: int, price: float) -> list[dict[str, Any]]:
    """The finalists that go on: those better than the start on fresh seeds.

    The champion there and the worthiest of each number of slots come first, so that none is
    crowded out; then the worthiest. `price` is what a statement must bring, in fitness.
    """
    better = [row for row in rows if row["fresh"] > 0]
    better.sort(key=lambda row: price * row["statements"] - row["fresh"])
    first = {row["slots"]: row["id"] for row in reversed(better)}
    first_ids = [champion, *first.values()]
    return sorted(better, key=lambda row: (row["id"] != champion, row["id"] not in first_ids))


def choose(rows: list[dict[str, Any]], price: float) -> int:
    """The worthiest by the mean of both sizes; by the first if all failed there.

    `price` is what a statement must bring, in fitness.
    """
    finished = [row for row in rows if row["rung"] is not None]
    scores = {row["id"]: fmean([row["fresh"], row["rung"]]) for row in finished}
    if not scores:
        scores = {row["id"]: row["fresh"] for row in rows}
    return final_selection.worthiest(scores, {row["id"]: row["statements"] for row in rows}, price)
