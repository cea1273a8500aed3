"""Regularized evolution as a state machine, with answers computed from hashes."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random
from statistics import fmean, median
from typing import Any

import pytest
from fakes import ADAMW, UNTRAINED, Fold, answer, config, states
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.errors import BadInput
from evolve.search import state as state_module
from evolve.search.config import OBJECTIVES, Config
from evolve.search.log import MORE_SEEDS, START, Record
from evolve.search.mutation import CONSTANTS, child_rng
from evolve.search.population import Draft
from evolve.search.state import Step
from primitives.abstract import analyse
from primitives.functions import BY_NAME
from primitives.program import Program
from primitives.text import from_text, to_text
from primitives.zoo import zoo
from proxy_tasks.status import FINISHED, NOT_FINITE, STOPPED

LADDER = (1, 2, 4)
OPEN = {"hurdle_slack": (9.0, 9.0)}


def lucky(request: dict[str, Any]) -> dict[str, Any]:
    """Each program has its own luck with each seed: 0.05 to either side."""
    given = answer(request)
    digest = analyse(from_text(request["program"])).functional_hash
    for seeds in given["losses"].values():
        for seed, marks in zip(request["seeds"], seeds, strict=False):
            luck = 0.0 if request["program"] == ADAMW else Random(f"{digest} {seed}").gauss(0, 0.05)
            marks[:] = [loss + luck for loss in marks]
    return given


# -- parents and the population -------------------------------------------------------


def test_a_parent_is_the_fitter_of_two_random_members() -> None:
    fold, settled = Fold(config()), 0
    for before, step in states(fold):
        if step is not Step.DRAFT:
            continue
        rng, members = child_rng(0, before.drafted), before.population.members()
        rng.random()  # elite
        one, other = (members[rng.randrange(len(members))] for _ in range(2))
        value, number = {n: before.race.expected(n) for n in (one, other)}, before.drafted
        draft = drafted(fold, number)
        if value[one] != value[other] and not draft.constants:
            assert draft.parent == max((one, other), key=value.__getitem__)
            settled += 1
    assert settled > 20


def drafted(fold: Fold, number: int) -> Draft:
    """The draft that the step about to be taken makes."""
    if number not in fold.drafted:
        fold.step(10**9)
    return fold.drafted[number]


def test_the_elite_does_not_age() -> None:
    """The best of each length, if near the best of all, are parents for as long as they are."""
    fold, old = Fold(config(replicates=LADDER, elite_share=1.0, **OPEN), lucky), 0
    for before, step in states(fold, 150):
        if step is Step.DRAFT:
            elite = before.race.elite(0)
            live = [before.race[n].live for n in elite]
            values = [before.race.expected(n) for n in elite]
            assert len(set(live)) == len(live)
            assert sorted(values) == [v for _, v in sorted(zip(live, values, strict=True))]
            parent = drafted(fold, before.drafted).parent
            assert parent in elite
            old += parent not in before.population
    assert old > 5


def test_a_shorter_program_that_steps_alike_takes_its_parents_result() -> None:
    fold = Fold(config(probe=True, replicates=LADDER, **OPEN), lucky)
    fold.run(200)
    race, shorter = fold.state.race, 0
    for record in fold.proposals():
        if record.source is None or record.parent is None:
            continue
        source = fold.rows[record.source]
        if record.functional_hash != source.functional_hash and record.live < source.live:
            assert race[record.number].live == record.live
            assert race[record.number].seeds <= race[source.number].seeds
            shorter += 1
    assert shorter > 0


def test_a_larger_tournament_presses_harder() -> None:
    def mean(tournament: int) -> float:
        fold = Fold(config(tournament=tournament))
        fold.run(150)
        parents = [fold.rows[r.parent or 0].fitness for r in fold.proposals()]
        return fmean(-1.0 if f is None else f for f in parents)

    assert mean(1) + 0.02 < mean(2) and mean(2) < mean(6)


def test_members_are_the_last_committed() -> None:
    fold = Fold(config())
    for before, _ in states(fold):
        if not before.race:
            continue
        size, members = before.config.population, before.population.members()
        committed = fold.rows[1 : len(before.race)]
        own = [r.number for r in committed if r.mutation != MORE_SEEDS]
        expected = [*[START] * size, *own][-size:]
        assert members == expected


def test_programs_without_a_fitness_lose_and_leave() -> None:
    fold = Fold(config(population=30))
    rows = fold.run(400)
    failed = {r.number for r in rows if r.outcome not in (FINISHED, STOPPED)}
    assert {rows[n].outcome for n in failed} == {"crashed", NOT_FINITE}
    assert all(rows[n].fitness is None for n in failed)
    children = sum(r.parent in failed for r in fold.proposals())
    # Both drawn members failed: about the square of their share.
    assert children < 2 * (len(failed) / len(rows)) ** 2 * len(rows) + 10


# -- order ------------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [1, 4, 16])
def test_so_many_are_in_flight_and_commits_are_in_order(in_flight: int) -> None:
    fold = Fold(config(in_flight=in_flight))
    most = Counter[str]()
    for before, step in states(fold):
        assert before.in_flight == sum(r.source is None for r in before.pending)
        assert [r.number for r in before.pending] == [*range(len(before.race), before.proposed)]
        assert before.in_flight <= in_flight and len(before.drafts) <= (in_flight + 1) // 2
        most["trainings"] = max(most["trainings"], before.in_flight)
        most["drafts"] = max(most["drafts"], len(before.drafts))
        if step is Step.COMMIT and before.race and not before.draining:
            full = before.in_flight == in_flight
            assert full or before.pending[0].source is not None
    assert most == {"trainings": in_flight, "drafts": (in_flight + 1) // 2}


configurations = st.builds(
    config,
    seed=st.integers(0, 1000),
    in_flight=st.integers(1, 6),
    population=st.integers(1, 12),
    tournament=st.integers(1, 3),
    structure_tries=st.sampled_from([1, 2, 1000]),
    replicates=st.sampled_from([(1,), (2,), LADDER, (2, 3)]),
    objective=st.sampled_from(OBJECTIVES),
    constants_share=st.sampled_from([0.0, 0.5, 1.0]),
    tasks=st.sampled_from([("a",), ("a", "b")]),
    probe=st.booleans(),
    patience=st.sampled_from([8, 2000]),
)


@settings(max_examples=40)
@given(config=configurations, cuts=st.sets(st.integers(0, 250), max_size=4))
def test_a_restored_search_goes_on_as_if_never_interrupted(config: Config, cuts: set[int]) -> None:
    uninterrupted = Fold(config)
    uninterrupted.run(40)
    fold = Fold(config)
    for step in range(100_000):
        # What the budget decides is not in these rows.
        if step in cuts and fold.state.evaluated < 40:
            fold = fold.restored()
        if not fold.step(40):
            break
    assert fold.rows == uninterrupted.rows
    assert fold.state.drafted == uninterrupted.state.drafted


def test_every_prefix_restores_the_whole_state() -> None:
    """What a restored state does next is what the living one did next."""
    settings = config(objective="equal-memory", replicates=LADDER, population=24)
    fold = Fold(replace(settings, structure_tries=1, probe=True), lucky)
    logs = [list(fold.rows)]
    while fold.step(60) and not fold.state.draining:
        if fold.rows != logs[-1]:
            logs.append(list(fold.rows))
    for before, after in pairwise(logs):
        twin = fold.restored(before)
        while twin.rows == before:
            twin.step(10**9)
        assert twin.rows == after
    barren = fold.state.drafted - len(fold.state.drafts) - len(fold.proposals())
    assert len(logs) > 150 and barren > 0  # drafts that came to nothing are drafted again


def test_seeds_give_different_searches() -> None:
    programs = [tuple(r.program for r in Fold(config(seed=s)).run(30)) for s in (0, 1, 0)]
    assert programs[0] == programs[2] != programs[1]


# -- what is trained ----------------------------------------------------------------


def test_hits_take_the_earlier_result_and_what_is_found_later() -> None:
    fold = Fold(config(replicates=LADDER, **OPEN), lucky)
    fold.run(300)
    first: dict[str, int] = {}
    hits = 0
    for record in (r for r in fold.rows if r.mutation != MORE_SEEDS):
        expected = first.setdefault(record.functional_hash, record.number)
        assert record.source == (None if expected == record.number else expected)
        if record.source is not None:
            source = fold.rows[record.source]
            assert (record.losses, record.steps, record.hurdles) == (None, None, None)
            assert fold.state.race[record.number] is fold.state.race[source.number]
            hits += 1
    assert hits > 20


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_of_the_trained_programs_differ_in_constants_alone(share: float) -> None:
    fold = Fold(config(constants_share=share))
    fold.run(200)
    rows = [r for r in fold.proposals() if r.source is None]
    tuned = [r for r in rows if r.mutation == CONSTANTS]
    # Their parent may have no constant that counts.
    assert share - 0.1 < len(tuned) / len(rows) < share + 0.05
    for record in tuned:
        assert record.structure == fold.rows[record.parent or 0].structure


@pytest.mark.parametrize("tries", [1, 2])
def test_a_structure_is_trained_so_often_until_something_better_is_found(tries: int) -> None:
    """Unless nothing else has come for long; children with other constants alone count too."""
    fold = Fold(config(seed=1, structure_tries=tries, constants_share=0.3), lucky)
    counts: Counter[str] = Counter()
    seen, best, reset, most = 0, None, 0, 0
    for before, _ in states(fold, 200):
        for row in (r for r in fold.rows[seen:] if r.source is None and r.draft is not None):
            if row.mutation != CONSTANTS:
                assert counts[row.structure] < tries
            counts[row.structure] += 1
            most = max(most, counts[row.structure])
        seen = len(fold.rows)
        if before.race and next(iter(before.race.front()), None) != best:
            best = next(iter(before.race.front()), None)
            counts.clear()
            reset += 1
    assert reset > 2 and most >= tries


def test_a_search_goes_on_when_no_child_is_worth_it() -> None:
    """Every structure was tried as often as it may be, and nothing better is found."""

    def hopeless(request: dict[str, Any]) -> dict[str, Any]:
        marks = 1.0 if request["program"] == ADAMW else 1.5
        losses = {"a": [[marks + 0.3, marks] for _ in request["seeds"]]}
        return {"outcome": FINISHED, "losses": losses, "steps": 1}

    text = "def train(w, g, lr):\n    update = sign(g)\n    return update\n"
    few = tuple(name for name in BY_NAME if name not in ("sign", "abs", "add"))
    fold = Fold(config(start=text, without=few, structure_tries=1, population=1), hopeless)
    fold.run(30)
    assert fold.state.evaluated == 30


def test_models_are_as_large_as_the_starts_memory_allows() -> None:
    for objective in OBJECTIVES:
        state = Fold(config(objective=objective)).state
        for slots in range(5):
            share = state.config.share(slots, state.start_slots)
            if objective == "loss":
                assert share == 1 and state.niche(slots) == 0
            else:  # AdamW: weights, gradients, and two slots
                assert share * (1 + 1 + slots) == pytest.approx(4)
                assert state.niche(slots) == min(slots, 3)


def test_a_start_program_that_ignores_the_gradient_is_refused() -> None:
    text = "def train(w, g, lr):\n    update = w * lr\n    return update\n"
    with pytest.raises(BadInput, match="does not depend on g"):
        Fold(config(start=text)).run(5)


@pytest.mark.parametrize("outcome", [FINISHED, NOT_FINITE])
def test_a_start_program_that_does_not_learn_ends_the_search(outcome: str) -> None:
    def hopeless(request: dict[str, Any]) -> dict[str, Any]:
        marks = [[2.0, 2.0] for _ in request["seeds"]]
        return {"outcome": outcome, "losses": {"a": marks}, "steps": 1}

    with pytest.raises(BadInput, match="the start program does not learn"):
        Fold(config(), hopeless).run(5)


def test_hurdles_are_a_function_of_the_population_at_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # At every commit here, so that the expected ones are those of the population seen.
    monkeypatch.setattr(state_module, "HURDLES_EVERY", 1)
    fold, seen = Fold(config(hurdle_slack=(0.05, 0.01))), 0
    for before, step in states(fold, 150):
        if step is not Step.ACCEPT:
            continue
        members, count = before.population.members(), len(fold.rows)
        fold.step(10**9)
        if len(fold.rows) == count or fold.rows[-1].source is not None:
            continue
        record = fold.rows[-1]
        rows = [fold.rows[m] for m in members]
        trained = [r if r.source is None else fold.rows[r.source] for r in rows]
        finished = [r for r in trained if r.outcome == FINISHED]
        if len(finished) < min(8, len(members)):
            assert record.hurdles is None
            continue
        assert record.hurdles == {"a": pytest.approx(hurdle(fold.rows[0], record, finished))}
        seen += 1
    assert seen > 20
    assert any(r.outcome == STOPPED for r in fold.rows)


def hurdle(start: Record, record: Record, finished: list[Record]) -> list[float]:
    """The median of what is lost at each mark, and the slack, on the record's own seed."""
    zero = (start.losses or {})["a"]
    gains = [UNTRAINED - marks[-1] for marks in zero]
    seed = {r.number: r.number % 2 for r in [*finished, record]}

    def lost(r: Record, k: int) -> float:
        first = (r.losses or {})["a"][0]
        return (first[k] - zero[seed[r.number]][k]) / gains[seed[r.number]]

    mine = seed[record.number]
    return [
        zero[mine][k] + gains[mine] * (slack + median(lost(r, k) for r in finished))
        for k, slack in enumerate((0.05, 0.01))
    ]


def test_texts_are_kept_of_possible_parents_alone() -> None:
    fold = Fold(config(replicates=LADDER, structures=10), lucky)
    fold.run(400)
    state = fold.state
    assert {*state.population.members(), START} <= state.texts.keys()
    assert len(state.texts) < state.config.population + 40


def test_idle_slots_of_the_start_make_niches() -> None:
    text = to_text(Program(zoo("sgd").statements, ("m", "v")))
    state = Fold(config(start=text, objective="equal-memory")).state
    assert (state.niches, state.start_slots) == (4, 0)


# -- rounds -------------------------------------------------------------------------


def test_a_search_without_a_new_best_begins_again() -> None:
    """After `patience` trainings; parents, front and cache are those of the new round alone."""
    fold, began = Fold(config(patience=25, replicates=LADDER, **OPEN), lucky), [0]
    for state, _ in states(fold, 300):
        if state._first_row == began[-1]:
            continue
        began.append(state._first_row)
        assert {*state.population.members()} == {START} == {*state.texts}
        assert state.race.elite(0) == [START]
    assert len(began) > 4
    for record in fold.proposals():
        if record.source not in (None, START):
            assert bisect(began, record.source) == bisect(began, record.number)


def test_what_is_in_flight_when_a_round_begins_takes_no_part() -> None:
    fold = Fold(config(patience=20, in_flight=8, replicates=LADDER, **OPEN), lucky)
    first, strangers = 0, 0
    for before, step in states(fold, 300):
        if before._first_row != first:
            first = before._first_row
            strangers += sum(r.number < first for r in before.pending)
        members = before.population.members() if before.race else []
        assert all(n == START or n >= first for n in members)
        if step is Step.DRAFT:
            parent = drafted(fold, before.drafted).parent
            assert parent == START or parent >= first
    assert strangers > 0


def test_the_best_of_all_rounds_is_the_best() -> None:
    fold = Fold(config(patience=20, replicates=LADDER, **OPEN), lucky)
    best = float("-inf")
    for before, _ in states(fold, 300):
        found = next(iter(before.race.front()), None) if before.race else None
        value = before.race.expected(found) if found is not None else 0.0
        assert found is None or value >= best - 0.05  # seeds' effects become better known
        best = max(best, value)
    assert best > 0
