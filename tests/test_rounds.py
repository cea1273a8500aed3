"""Tuning, rounds and the scale of fitness, with answers computed from hashes."""

from __future__ import annotations

from statistics import fmean

import pytest
from fakes import ADAMW, UNTRAINED, Fold, answer, config, states

from evolve.errors import BadInput
from evolve.search.fitness import final_losses, score
from primitives.text import from_text
from proxy_tasks.status import FINISHED, NOT_FINITE

EVALUATIONS = 60


def test_tuning_is_so_many_evaluations_of_constants_only() -> None:
    rows = Fold(config(tuning_evaluations=10)).run(EVALUATIONS)
    tuning = [r for r in rows if r.round == 0]
    assert sum(r.source is None for r in tuning) == 1 + 10
    assert tuning == rows[: len(tuning)]
    assert all(r.mutation.startswith("tune ") for r in tuning[1:])
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
    fold = Fold(config(tuning_evaluations=12, patience=1000, seed=5))
    rows = fold.run(80)
    tuned = [r for r in rows if r.round == 0 and r.source is None and r.outcome == FINISHED]
    best = max(tuned, key=lambda r: (r.fitness, -r.number))
    assert fold.evolution.baseline == best.number != 0
    assert fold.evolution.fitness(best.number) == 0.0
    found = [r for r in rows if r.round > 0 and r.source is None and r.outcome == FINISHED]
    assert max(r.fitness for r in found) > 0  # else there is no best, and nothing is shown
    assert fold.evolution.best == max(found, key=lambda r: (r.fitness, -r.number)).number
    assert rows[0].fitness == 0.0
    assert best.losses is not None
    for record in found:
        assert record.losses is not None
        losses, zero = final_losses(record.losses), final_losses(best.losses)
        own = [zero["a"][(record.number + i) % 2] for i in range(2)]
        parts = [(b - x) / (UNTRAINED - b) for x, b in zip(losses["a"], own, strict=True)]
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


@pytest.mark.parametrize(
    ("restart", "origins"),
    [("start", "bbbb"), ("best", "bxxx"), ("alternate", "bxbx")],
)
def test_a_round_without_progress_is_followed_by_another(restart: str, origins: str) -> None:
    fold, populations = Fold(config(restart=restart, patience=25, tuning_evaluations=3)), {}
    for before, record in states(fold, 150):
        if record is not None and record.round > before.round:
            begun = Fold.restored(fold.evolution.config, fold.rows[: record.number + 1]).evolution
            populations[record.round] = (
                set(begun.population.members()),
                before.baseline,
                before.best,
            )
            assert not before.pending
    assert len(populations) >= 4
    for number, origin in enumerate(origins, start=1):
        members, baseline, best = populations[number]
        expected = baseline if origin == "b" or best is None else best
        assert members == {expected}
    assert [r.round for r in fold.rows] == sorted(r.round for r in fold.rows)


def test_patience_counts_programs_since_the_last_best() -> None:
    fold, rounds, last, best = (
        Fold(config(patience=20, tuning_evaluations=0, restart="start")),
        [],
        0,
        0.0,
    )
    for before, record in states(fold, 150):
        committed = len(before.results)
        if record is None:
            settled = fold.rows[committed]
            if settled.outcome == FINISHED and settled.round > 0:
                assert settled.fitness is not None
                if settled.fitness > best:
                    last, best = committed + 1, settled.fitness
        elif record.round > before.round:
            rounds.append(committed - last)
            last, best = committed, 0.0  # rounds from the start are searches of their own
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
