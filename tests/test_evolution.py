"""Regularized evolution as a fold over the log, with answers computed from hashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import fmean, median

import pytest
from fakes import ADAMW, UNTRAINED, Fold, answer, config
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.errors import BadInput
from evolve.search.evolution import Evolution
from evolve.search.fitness import final_losses, score
from evolve.search.log import Record
from evolve.search.mutation import child_rng
from primitives.abstract import analyse
from primitives.text import from_text
from proxy_tasks.status import FINISHED, NOT_FINITE, STOPPED

EVALUATIONS = 60


def states(fold: Fold, evaluations: int = EVALUATIONS) -> Iterator[tuple[Evolution, Record | None]]:
    """The state before each step, with the record that the step proposed, if it did."""
    while True:
        before = Fold.restored(fold.evolution.config, fold.rows).evolution
        count = len(fold.rows)
        if not fold.step(evaluations):
            return
        yield before, fold.rows[count] if len(fold.rows) > count else None


def test_a_child_comes_from_the_fitter_of_two_random_members() -> None:
    fold, settled = Fold(config(patience=1000)), 0
    for before, record in states(fold):
        if record is None or record.round == 0 or record.round != before.round:
            continue
        rng = child_rng(before.config.seed, record.number)
        one, other = (before.members[rng.randrange(len(before.members))] for _ in range(2))
        fitness = {n: before.fitness(n) for n in (one, other)}
        worst = float("-inf")
        ranks = {n: worst if value is None else value for n, value in fitness.items()}
        assert record.parent == (other if ranks[other] > ranks[one] else one)
        settled += ranks[other] != ranks[one]
    assert settled > 20


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
        assert len(before.members) == size
        rows = fold.rows[: len(before.results)]
        here = [r.number for r in rows if r.round == before.round and r.number]
        origins = set(list(before.members)[: max(0, size - len(here))])
        assert len(origins) <= 1
        assert list(before.members)[max(0, size - len(here)) :] == here[-size:]


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
    replicates=st.integers(1, 2),
    tasks=st.sampled_from([("a",), ("a", "b")]),
    max_statements=st.sampled_from([0, 9, 12]),
)


@settings(max_examples=40, deadline=None)
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
    fold = Fold(config(patience=15))
    for before, record in states(fold, 50):
        if record is not None:
            assert before.propose() == record
        else:
            assert before.proposed >= len(fold.rows)
    assert fold.evolution.round >= 3


def test_tuning_is_so_many_evaluations_of_constants_only() -> None:
    rows = Fold(config(tuning_evaluations=10)).run(EVALUATIONS)
    tuning = [r for r in rows if r.round == 0]
    assert sum(r.source is None for r in tuning) == 1 + 10
    assert tuning == rows[: len(tuning)]
    assert all(r.mutation.startswith("change") for r in tuning[1:])
    start = from_text(ADAMW).statements
    for record in tuning:
        statements = from_text(record.program).statements
        assert [(s.target, s.function) for s in statements] == [
            (s.target, s.function) for s in start
        ]


@pytest.mark.parametrize(
    ("text", "changes", "most"),
    [
        (ADAMW, {"tuning_evaluations": 0}, 1),
        ("def train(w, g, lr):\n    update = sign(g)\n    return update\n", {}, 1),
        # Its only constant is dead, so that every child is a hit: tuning gives up.
        (
            "def train(w, g, lr):\n    x = exp(0.5)\n    update = sign(g)\n    return update\n",
            {"tuning_evaluations": 2},
            151,
        ),
    ],
    ids=["no tuning", "no constants", "dead constants"],
)
def test_tuning_ends_when_there_is_nothing_to_tune(text: str, changes: dict, most: int) -> None:
    def learns(request: dict) -> dict:
        return answer({**request, "program": ADAMW})

    rows = Fold(config(start=text, **changes), learns).run(10)
    assert sum(r.round == 0 for r in rows) == most
    assert sum(r.round > 0 and r.source is None for r in rows) == 9


def test_the_baseline_is_the_best_of_the_tuning_and_scores_zero() -> None:
    fold = Fold(config(tuning_evaluations=12, patience=1000))
    rows = fold.run(80)
    tuned = [r for r in rows if r.round == 0 and r.source is None and r.outcome == FINISHED]
    best = max(tuned, key=lambda r: (r.fitness, -r.number))
    assert fold.evolution.baseline == best.number != 0
    assert fold.evolution.fitness(best.number) == 0.0
    found = [r for r in rows if r.round > 0 and r.source is None and r.outcome == FINISHED]
    assert fold.evolution.best == max(found, key=lambda r: (r.fitness, -r.number)).number
    assert rows[0].fitness == 0.0
    assert best.losses is not None
    for record in found:
        assert record.losses is not None
        losses, zero = final_losses(record.losses), final_losses(best.losses)
        parts = [(b - x) / (UNTRAINED - b) for x, b in zip(losses["a"], zero["a"], strict=True)]
        assert record.fitness == pytest.approx(fmean(parts), abs=1e-12)


def test_the_scale_of_fitness() -> None:
    baseline, start = {"a": [1.0, 1.2], "b": [10.0]}, {"a": [2.0, 2.0], "b": [30.0]}
    assert score(baseline, baseline, start) == 0.0
    assert score(start, baseline, start) == -1.0
    assert score({"a": [0.9, 1.12], "b": [8.0]}, baseline, start) == pytest.approx(0.1)
    assert score({"a": [0.9]}, baseline, start) == pytest.approx(0.1)  # stopped early
    assert score({}, baseline, start) is None


def test_a_program_that_fails_one_task_is_no_baseline() -> None:
    """Better on average, but above the untrained loss on task b."""

    def given(request: dict) -> dict:
        two = [[1.5, 1.5], [1.5, 1.5]]
        if request["program"] == ADAMW:
            return {"outcome": FINISHED, "losses": {"a": two, "b": two}, "steps": 1}
        good, bad = [[0.01, 0.01]] * 2, [[2.1, 2.1]] * 2
        return {"outcome": FINISHED, "losses": {"a": good, "b": bad}, "steps": 1}

    fold = Fold(config(tasks=("a", "b")), given)
    assert max(r.fitness or 0.0 for r in fold.run(7)) > 0.5
    assert fold.evolution.baseline == 0


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


def test_programs_without_a_fitness_lose_and_leave() -> None:
    rows = Fold(config(population=30, patience=10_000)).run(400)
    failed = {r.number for r in rows if r.outcome not in (FINISHED, STOPPED)}
    assert {rows[n].outcome for n in failed} == {"crashed", NOT_FINITE}
    assert all(rows[n].fitness is None for n in failed)
    parents = Counter(r.parent for r in rows if r.parent)
    children_of_failed = sum(n for parent, n in parents.items() if parent in failed)
    # Both drawn members failed: about the square of their share.
    assert children_of_failed < 2 * (len(failed) / len(rows)) ** 2 * len(rows) + 10


def test_hurdles_are_a_function_of_the_rows_committed_before() -> None:
    fold, seen = Fold(config(hurdle_slack=(0.05, 0.01))), 0
    for before, record in states(fold):
        if record is None or record.source is not None or not before.results:
            assert record is None or record.hurdles is None
            continue
        state = before
        if record.round != before.round:  # its population is the copies it began with
            members = [record.parent]
            baseline = fold.rows[state.baseline]
        else:
            members, baseline = list(before.members), fold.rows[before.baseline]
        losses = [
            fold.rows[m].losses or fold.rows[fold.rows[m].source or 0].losses for m in members
        ]
        finished = [
            marks["a"][0]
            for m, marks in zip(members, losses, strict=True)
            if fold.rows[m].outcome == FINISHED and marks
        ]
        assert baseline.losses is not None
        zero = baseline.losses["a"][0]
        gain = UNTRAINED - zero[1]
        expected = [
            median(marks[k] for marks in finished or [zero]) + slack * gain
            for k, slack in enumerate(before.config.hurdle_slack)
        ]
        assert record.hurdles == {"a": pytest.approx(expected)}
        seen += 1
    assert seen > 30
    assert any(r.outcome == STOPPED for r in fold.rows)


@pytest.mark.parametrize(
    ("restart", "origins"),
    [("start", "bbbb"), ("best", "bxxx"), ("alternate", "bxbx")],
)
def test_a_round_without_progress_is_followed_by_another(restart: str, origins: str) -> None:
    fold, populations = Fold(config(restart=restart, patience=25, tuning_evaluations=3)), {}
    for before, record in states(fold, 150):
        if record is not None and record.round > before.round:
            begun = Fold.restored(fold.evolution.config, fold.rows[: record.number + 1]).evolution
            populations[record.round] = (set(begun.members), before.baseline, before.best)
            assert not before.pending
    assert len(populations) >= 4
    for number, origin in enumerate(origins, start=1):
        members, baseline, best = populations[number]
        expected = baseline if origin == "b" or best is None else best
        assert members == {expected}
    assert [r.round for r in fold.rows] == sorted(r.round for r in fold.rows)


def test_patience_counts_programs_since_the_last_best() -> None:
    fold, rounds, last, best = Fold(config(patience=20, tuning_evaluations=0)), [], 0, 0.0
    for before, record in states(fold, 150):
        committed = len(before.results)
        if record is None:
            settled = fold.rows[committed]
            if settled.source is None and settled.outcome == FINISHED and settled.round > 0:
                assert settled.fitness is not None
                if settled.fitness > best:
                    last, best = committed + 1, settled.fitness
        elif record.round > before.round:
            rounds.append(committed - last)
            last = committed
        elif record.round > 0:
            assert committed - last < 20
    assert len(rounds) > 3 and min(rounds[1:]) >= 20


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        (
            ADAMW,
            {"outcome": FINISHED, "losses": {"a": [[2.1, 2.2]] * 2}, "steps": 1},
            r"the start program does not learn \(finished; a: untrained 2, trained 2.2\); "
            "give another --start, or better constants",
        ),
        (
            ADAMW,
            {"outcome": NOT_FINITE, "losses": {"a": [[]]}, "steps": 1},
            r"the start program does not learn \(not_finite; no loss\)",
        ),
        (
            ADAMW,
            {"outcome": "timed_out", "losses": {}, "steps": 0, "detail": "killed after 60 s"},
            r"the start program cannot be trained \(timed_out: killed after 60 s\); "
            "check the tasks, or give another --start",
        ),
        (
            "def train(w, g, lr):\n    update = w * 0.1\n    return update\n",
            {},
            "the update of the start program does not depend on g; give another one",
        ),
    ],
    ids=["no progress", "not finite", "hangs", "no gradient"],
)
def test_a_start_program_must_learn(text: str, given: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Fold(config(start=text), lambda request: given).run(5)


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
