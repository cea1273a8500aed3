"""More seeds for what seems to be the best."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from fakes import ADAMW, UNTRAINED, Fold, answer, config

from evolve.search.fitness import final_losses, score
from evolve.search.log import AGAIN, Record
from primitives.abstract import analyse
from primitives.text import from_text

LADDER = (1, 2, 4)


def lucky(request: dict[str, Any]) -> dict[str, Any]:
    """Each program has its own luck with each seed: 0.05 to either side."""
    given = answer(request)
    digest = analyse(from_text(request["program"])).functional_hash
    for seeds in given["losses"].values():
        for seed, marks in zip(request["seeds"], seeds, strict=False):
            luck = 0.0 if request["program"] == ADAMW else Random(f"{digest} {seed}").gauss(0, 0.05)
            marks[:] = [loss + luck for loss in marks]
    return given


def ladder_of(rows: list[Record], number: int) -> list[Record]:
    """The rows that trained a program, in order."""
    return [r for r in rows if r.number == number or (r.mutation, r.parent) == (AGAIN, number)]


def test_a_program_counts_as_the_best_only_on_every_seed() -> None:
    fold = Fold(config(replicates=LADDER, patience=1000, hurdle_slack=(9.0, 9.0)), lucky)
    rows = fold.run(150)
    baseline, best = fold.evolution.baseline, fold.evolution.best
    assert baseline and best is not None
    for number in (baseline, best):
        trained = ladder_of(rows, number)
        assert [r.replicates for r in trained] == list(LADDER)
        assert [len((r.losses or {})["a"]) for r in trained] == [1, 1, 2]  # the new seeds only
    zero, found = (
        {"a": [x for r in ladder_of(rows, n) for x in final_losses(r.losses or {})["a"]]}
        for n in (baseline, best)
    )
    expected = score(found, zero, {"a": [UNTRAINED] * 4})
    assert fold.evolution.fitness(best) == pytest.approx(expected)


def test_who_is_ahead_by_luck_is_found_out() -> None:
    fold = Fold(config(replicates=LADDER, patience=1000, hurdle_slack=(9.0, 9.0)), lucky)
    rows = fold.run(200)
    again = [r for r in rows if r.mutation == AGAIN and r.round > 0]
    fell = 0
    for record in again:
        assert record.parent is not None and record.source is None and record.hurdles is None
        assert record.program == rows[record.parent].program
        first = rows[record.parent].fitness
        assert first is not None
        fell += record.fitness is None or record.fitness < first
    assert len(again) > 5 and fell > 0.6 * len(again)
    # No program stands above the best on few seeds.
    evolution = fold.evolution
    assert evolution.best is not None
    top = evolution.fitness(evolution.best)
    assert top is not None
    standing = [evolution.fitness(n) for n in evolution.population.members()]
    assert max(f for f in standing if f is not None) <= top


def test_a_hit_shares_what_is_found_later() -> None:
    fold = Fold(config(replicates=LADDER, patience=1000, hurdle_slack=(9.0, 9.0)), lucky)
    rows = fold.run(200)
    hits = [r for r in rows if r.source is not None]
    changed = 0
    for record in hits:
        assert record.source is not None
        assert fold.evolution.fitness(record.number) == fold.evolution.fitness(record.source)
        changed += fold.evolution.fitness(record.number) != record.fitness
    assert changed
