"""How trainings are shared among structures: programs that differ in constants alone."""

from __future__ import annotations

from collections import Counter
from math import sqrt

import pytest
from fakes import Fold, config, states

from evolve.search.log import AGAIN
from evolve.search.mutation import TUNE
from primitives.abstract import analyse
from primitives.text import from_text


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_of_the_programs_trained_differ_in_constants_alone(share: float) -> None:
    fold = Fold(config(constants_share=share, patience=1000))
    rows = [r for r in fold.run(200) if r.round > 0 and r.mutation != AGAIN]
    trained = [r for r in rows if r.source is None]
    tuned = [r for r in trained if r.mutation.startswith(TUNE)]
    assert len(tuned) == pytest.approx(share * len(trained), abs=2)
    for record in tuned:
        assert record.parent is not None
        assert record.structure == fold.rows[record.parent].structure


def test_the_other_mutations_do_not_train_a_structure_again_and_again() -> None:
    fold = Fold(config(structure_tries=2, constants_share=0.0, patience=1000))
    tries: Counter[str] = Counter()
    bests, again, most = {}, 0, 0
    for before, record in states(fold):
        if before.bests.round != bests:
            bests = {**before.bests.round}
            again += bool(tries)
            tries.clear()
        if record is None or record.round == 0 or record.mutation == AGAIN or record.source:
            continue
        tries[record.structure] += 1
        if record.structure != analyse(before.start).structure:  # its copies: in round 0
            most = max(most, tries[record.structure])
    assert most == 2 and again > 1
    rows = Fold(config(structure_tries=1000, constants_share=0.0, patience=1000)).run(200)
    freely = Counter(r.structure for r in rows if r.round > 0 and r.source is None)
    assert max(freely.values()) > 2


def test_tuning_goes_to_the_fit_and_to_what_was_tuned_little() -> None:
    fold = Fold(config(constants_share=0.5, optimism=0.03, complexity_cost=0.0005, patience=1000))
    fold.run(100)
    evolution = fold.evolution
    trained = [r for r in fold.rows if r.source is None and r.mutation != AGAIN and r.round > 0]
    tries = Counter(r.structure for r in trained)
    assert {r.round for r in trained} == {1}
    for member in set(evolution.population.members()):
        fitness = evolution.results.expected(member)
        if fitness == float("-inf"):
            continue
        structure = analyse(from_text(fold.rows[member].program)).structure
        expected = fitness + 0.03 / sqrt(tries[structure] or 1) - 0.0005 * fold.rows[member].live
        assert evolution._selection._prospect(member) == pytest.approx(expected)


@pytest.mark.parametrize("method", ["evolution", "random"])
def test_functions_can_be_left_out(method: str) -> None:
    without = ("sign", "abs", "interp")
    fold = Fold(config(without=without, method=method, patience=1000))
    for record in fold.run(150):
        words = record.mutation if method == "evolution" else record.program
        if method == "evolution" and not words.startswith("insert"):
            continue
        if record.round > 0:
            assert not any(f"{name}(" in words for name in without)


def test_random_search_knows_no_parents_structures() -> None:
    fold = Fold(config(method="random", patience=1000))
    rows = [r for r in fold.run(150) if r.round > 0 and r.mutation != AGAIN]
    assert {r.mutation for r in rows} == {"random"}
