"""Regularized evolution as a fold over the log, with answers computed from hashes."""

from __future__ import annotations

from collections import Counter
from random import Random
from statistics import fmean, median

import pytest
from fakes import UNTRAINED, Fold, config, states, untrained
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.search.breeding import Breeding
from evolve.search.config import OBJECTIVES
from evolve.search.evolution import Evolution
from evolve.search.log import Record
from evolve.search.mutation import Mutant, child_rng
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text
from proxy_tasks.status import FINISHED, NOT_FINITE, STOPPED

EVALUATIONS = 60


@pytest.mark.parametrize("cost", [0.0, 0.01])
def test_a_child_comes_from_the_fitter_of_two_random_members(cost: float) -> None:
    fold, settled, shorter = Fold(config(patience=1000, complexity_cost=cost)), 0, 0
    for before, record in states(fold):
        if record is None or record.round == 0 or record.round != before.round:
            continue
        rng, members = child_rng(before.config.seed, record.number), before.population.members()
        one, other = (members[rng.randrange(len(members))] for _ in range(2))
        fitness = {n: before.fitness(n) for n in (one, other)}
        worst = float("-inf")
        live = {n: analyse(before.program(n)).statements for n in (one, other)}
        ranks = {
            n: worst if value is None else value - cost * live[n] for n, value in fitness.items()
        }
        length = {n: len(before.program(n).statements) for n in (one, other)}
        better = (ranks[other], -length[other]) > (ranks[one], -length[one])
        assert record.parent == (other if better else one)
        settled += ranks[other] != ranks[one]
        shorter += ranks[other] == ranks[one] and length[other] != length[one]
    assert settled > 20 and (shorter or cost)


def test_a_larger_tournament_presses_harder() -> None:
    def mean(tournament: int) -> float:
        rows = Fold(config(tournament=tournament, patience=1000)).run(150)
        parents = [rows[r.parent].fitness for r in rows if r.parent and r.round > 0]
        return fmean(-1.0 if f is None else f for f in parents)

    assert mean(1) + 0.02 < mean(2) and mean(2) < mean(6)


def test_members_are_the_last_committed_of_the_round() -> None:
    fold = Fold(config())
    for before, _ in states(fold):
        if not before.results:
            continue
        size = (before.config.tuning_population, before.config.population)[before.round > 0]
        members = before.population.members()
        assert len(members) == size
        rows = fold.rows[: len(before.results)]
        here = [r.number for r in rows if r.round == before.round and r.number]
        origins = set(members[: max(0, size - len(here))])
        assert len(origins) <= 1
        assert members[max(0, size - len(here)) :] == here[-size:]


@pytest.mark.parametrize("look_ahead", [1, 4, 16])
def test_children_are_proposed_ahead_and_committed_in_order(look_ahead: int) -> None:
    fold, commits = Fold(config(look_ahead=look_ahead, patience=1000)), 0
    for before, record in states(fold):
        assert before.in_flight == sum(r.source is None for r in before.pending)
        assert [r.number for r in before.pending] == list(
            range(len(before.results), before.proposed)
        )
        if record is None:
            commits += 1
            assert fold.rows[len(before.results)].outcome is not None
            # Nothing is committed while another child could be proposed.
            spent = before.evaluated >= EVALUATIONS
            waits = before.in_flight == look_ahead or not before.results or spent
            assert waits or before.round == 0
        else:
            assert before.in_flight < look_ahead
            assert record.number == before.proposed
    assert commits == len(fold.rows)


configurations = st.builds(
    config,
    seed=st.integers(0, 1000),
    look_ahead=st.integers(1, 6),
    population=st.integers(1, 12),
    tournament=st.integers(1, 3),
    patience=st.integers(1, 60),
    tuning_evaluations=st.integers(0, 8),
    tuning_population=st.integers(1, 4),
    restart=st.sampled_from(["alternate", "start", "best"]),
    replicates=st.sampled_from([(1,), (2,), (1, 2, 4), (2, 3)]),
    objective=st.sampled_from(OBJECTIVES),
    constants_share=st.sampled_from([0.0, 0.5, 1.0]),
    tasks=st.sampled_from([("a",), ("a", "b")]),
    max_statements=st.sampled_from([0, 9, 12]),
)


@settings(max_examples=40)
@given(config=configurations, cuts=st.sets(st.integers(0, 150), max_size=4))
def test_a_restored_search_goes_on_as_if_never_interrupted(config, cuts) -> None:  # type: ignore[no-untyped-def]
    uninterrupted = Fold(config).run(40)
    fold = Fold(config)
    for step in range(100_000):
        if step in cuts:
            fold = Fold.restored(config, fold.rows)
        if not fold.step(40):
            break
    assert fold.rows == uninterrupted


def test_every_prefix_restores_the_whole_state() -> None:
    """What a restored state proposes next is what the living one proposes next."""
    settings = {"objective": "equal-memory", "replicates": (1, 2, 3)}
    fold = Fold(config(patience=6, population=24, **settings))
    restored, count = Fold(fold.evolution.config), 0
    while fold.step(120):
        if len(fold.rows) > count:
            assert restored.evolution.propose() == fold.rows[-1]
        else:
            assert restored.evolution.proposed >= len(fold.rows)
        restored, count = Fold.restored(fold.evolution.config, fold.rows), len(fold.rows)
    assert fold.evolution.round >= 3


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_models_are_as_large_as_the_starts_memory_allows(objective: str) -> None:
    evolution = Fold(config(objective=objective)).evolution
    for slots in range(5):
        share = evolution.config.share(slots, evolution.start_slots)
        if objective == "loss":
            assert share == 1 and evolution.niche(slots) == 0
        else:  # AdamW: weights, gradients, and two slots
            assert share * (1 + 1 + slots) == pytest.approx(4)
            assert evolution.niche(slots) == min(slots, 3)


def test_hits_take_the_earlier_result() -> None:
    rows = Fold(config(tuning_evaluations=12, patience=1000)).run(200)
    hits = [r for r in rows if r.source is not None]
    first: dict[str, int] = {}
    for record in rows:
        expected = first.setdefault(record.functional_hash, record.number)
        assert record.source == (None if expected == record.number else expected)
    assert len(hits) > 20
    for record in hits:
        assert record.source is not None
        source = rows[record.source]
        assert (record.outcome, record.losses, record.steps) == (source.outcome, None, None)
        assert record.hurdles is None
        if record.round == source.round:
            assert record.fitness == source.fitness
    across = [r for r in hits if r.source is not None and rows[r.source].round != r.round]
    assert across  # a hit on a program of the tuning is scored on the search's scale
    assert any(r.fitness != rows[r.source].fitness for r in across if r.source is not None)


def shorter_steps_alike(monkeypatch: pytest.MonkeyPatch, least: int) -> None:
    """Let children that are shorter than their parent pass for ones that step as it does."""
    draw = Breeding.other_structure

    def alike(breeding: Breeding, parent: Program, rng: Random) -> list[Mutant]:
        (mutant,) = draw(breeding, parent, rng)
        shorter = least <= mutant.analysis.statements < analyse(parent).statements
        return [mutant._replace(alike=shorter)]

    monkeypatch.setattr(Breeding, "other_structure", alike)


def test_a_child_that_steps_as_its_parent_does_takes_its_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorter_steps_alike(monkeypatch, least=6)
    fold = Fold(config(constants_share=0.3, patience=1000))
    rows = fold.run(150)
    taken = [r for r in rows if r.source is not None and r.source == r.parent]
    assert len(taken) > 5
    for record in taken:
        assert record.source is not None and record.steps is None
        result = fold.evolution.results[record.number]
        assert (result.structure, result.live) == (record.structure, record.live)
        assert (record.outcome, record.fitness) == (
            rows[record.source].outcome,
            fold.evolution.fitness(record.source),
        )
    again = Evolution(fold.evolution.config, untrained(fold.evolution.config))
    again.restore(rows)
    for record in taken:
        assert again.results[record.number].live == record.live


def test_the_shorter_of_two_that_step_alike_is_the_best_of_its_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorter_steps_alike(monkeypatch, least=0)
    fold = Fold(config(constants_share=0.3, patience=1000, elite_share=0.8))
    instead = 0
    for before, record in states(fold, 200):
        settled = None if record else fold.rows[len(before.results)]
        if settled is None or settled.source is None or settled.source != settled.parent:
            continue
        worth = before.results.expected(settled.source)
        if settled.source in before.bests.front() and worth > 1e-6:
            elite, after = before.bests.elite(0), fold.evolution.bests.front()
            rivals = [n for n in elite if before.results[n].live <= settled.live]
            leads = all(before.results.expected(n) < worth for n in rivals)
            assert (settled.number in after) == leads
            assert not (leads and settled.source in after)
            instead += leads
    assert instead > 2


def test_programs_without_a_fitness_lose_and_leave() -> None:
    rows = Fold(config(population=30, patience=10_000)).run(400)
    failed = {r.number for r in rows if r.outcome not in (FINISHED, STOPPED)}
    assert {rows[n].outcome for n in failed} == {"crashed", NOT_FINITE}
    assert all(rows[n].fitness is None for n in failed)
    parents = Counter(r.parent for r in rows if r.parent)
    children_of_failed = sum(n for parent, n in parents.items() if parent in failed)
    # Both drawn members failed: about the square of their share.
    assert children_of_failed < 2 * (len(failed) / len(rows)) ** 2 * len(rows) + 10


def test_hurdles_are_a_function_of_the_rows_committed_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # At every commit here, so that the expected ones are those of the population seen.
    monkeypatch.setattr("evolve.search.evolution._HURDLES_EVERY", 1)
    fold, seen = Fold(config(hurdle_slack=(0.05, 0.01))), 0
    for before, record in states(fold, 150):
        if record is None or record.source is not None or not before.results:
            assert record is None or record.hurdles is None
            continue
        baseline = fold.rows[before.baseline]
        if record.round != before.round:  # its population is the copies it began with
            members = [record.parent] * before.config.population
        else:
            members = before.population.members()
        rows = [fold.rows[m] for m in members]
        trained = [r if r.source is None else fold.rows[r.source] for r in rows]
        finished = [r for r in trained if r.outcome == FINISHED]
        assert baseline.losses is not None
        zero = baseline.losses["a"]
        gains = [UNTRAINED - marks[-1] for marks in zero]

        def seed(row: Record) -> int:
            return row.number % 2 if row.round else 0

        if len(finished) < min(8, len(members)):
            assert record.hurdles is None
            continue
        mine = seed(record)
        expected = [
            zero[mine][k]
            + gains[mine]
            * (
                slack
                + median(
                    (r.losses["a"][0][k] - zero[seed(r)][k]) / gains[seed(r)]
                    for r in finished
                    if r.losses
                )
            )
            for k, slack in enumerate(before.config.hurdle_slack)
        ]
        assert record.hurdles == {"a": pytest.approx(expected)}
        seen += 1
    assert seen > 30
    assert any(r.outcome == STOPPED for r in fold.rows)


def test_the_memory_of_a_search_does_not_grow_with_its_programs() -> None:
    fold = Fold(config(patience=100))
    fold.run(400)
    evolution = fold.evolution
    assert len(evolution._programs) <= evolution.config.population + 4 + len(evolution.pending) + 10


def test_records_tell_what_analysis_found() -> None:
    for record in Fold(config()).run(40):
        program = from_text(record.program)
        analysis = analyse(program)
        assert record.statements == len(program.statements)
        assert record.live == analysis.statements
        assert record.slots == len(analysis.slots)
        assert record.functional_hash == analysis.functional_hash
        assert (record.parent is None) == (record.number == 0)


def test_seeds_give_different_searches() -> None:
    programs = [tuple(r.program for r in Fold(config(seed=s)).run(30)) for s in (0, 1, 0)]
    assert programs[0] == programs[2] != programs[1]
