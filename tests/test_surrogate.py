"""What is guessed of programs before they are trained, against the formulas done by hand."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from fakes import Fold, config
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stretches import stretch

from evolve.search import surrogate as search_surrogate
from evolve.search.log import AGAIN
from evolve.search.mutation import Mutant, mutate
from evolve.search.results import NOISE, Result, Results
from evolve.search.stretches import Stretch
from evolve.search.surrogate import DIRECTIONS, SCATTER, SIGNAL, SIZES, UNKNOWN, Surrogate
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text
from primitives.zoo import zoo
from proxy_tasks.status import FINISHED

STRETCHES = [Stretch(stretch(seed)) for seed in (0, 1)]


def family(count: int) -> list[Program]:
    """Programs that step, each in another way: AdamW and its descendants."""
    found, rng = [zoo("adamw")], Random(1)
    while len(found) < count:
        child = mutate(found[rng.randrange(len(found))], rng).program
        if all(0 < np.linalg.norm(s.updates(child)) < np.inf for s in STRETCHES):
            found.append(child)
    return found


PROGRAMS = family(12)


def mutant(program: Program, factor: float = 1.0) -> Mutant:
    return Mutant(program, analyse(program), "", 0, factor=factor)


def results(losses: list[list[float]]) -> Results:
    """Of programs with these losses on each seed; the first is the baseline, untrained it is 2."""
    found = Results((1, 2, 4), {"a": [2.0] * 4})
    for number, seeds in enumerate(losses):
        marks = {"a": [[2.0, loss] for loss in seeds]}
        found.append(Result(number, None, FINISHED, marks, 0, "", 1, 0))
    found.measure_from(0)
    return found


def surrogate(fitness: Results, programs: list[Program]) -> Surrogate:
    made = Surrogate(1, lambda slots: 0, STRETCHES)
    for number, program in enumerate(programs):
        made.note(number, 0, program)
    made.take_anew(fitness)
    return made


def apart(one: Program, other: Program, factor: float = 1.0) -> float:
    """The squared distance, from the definition."""
    total = 0.0
    for s in STRETCHES:
        u, v = factor * s.updates(one), s.updates(other)
        a, b = np.linalg.norm(u), np.linalg.norm(v)
        total += (np.linalg.norm(u / a - v / b) / DIRECTIONS) ** 2
        total += (np.log2(a / b) / SIZES) ** 2
    return total


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_surrogate, "ENOUGH", 2)


@pytest.mark.usefixtures("few")
@settings(max_examples=20)
@given(
    losses=st.lists(
        st.lists(st.floats(0.95, 1.05), min_size=1, max_size=4), min_size=2, max_size=9
    ),
    factor=st.sampled_from([0.5, 1.0, 4.0]),
    asked=st.integers(0, 11),
)
def test_guesses_are_those_of_a_gaussian_process(
    losses: list[list[float]], factor: float, asked: int
) -> None:
    """The posterior of a normal vector, from its covariance: mean and standard deviation."""
    losses[0] = (losses[0] * 4)[:4]  # the baseline is trained on every seed
    given_, fitness = PROGRAMS[: len(losses)], results(losses)
    guess = surrogate(fitness, given_).guess([mutant(PROGRAMS[asked], factor)])[0]

    def covariance(squared: float) -> float:
        """Matern 5/2."""
        r = np.sqrt(5 * squared)
        return SIGNAL**2 * (1 + r + r**2 / 3) * np.exp(-r)

    among = np.array([[covariance(apart(p, q)) for q in given_] for p in given_])
    noise = np.diag([SCATTER**2 / len(seeds) for seeds in losses])
    shared = np.array([covariance(apart(PROGRAMS[asked], q, factor)) for q in given_])
    gain = shared @ np.linalg.inv(among + noise)
    measured = np.array([fitness.measured(n) for n in range(len(losses))])
    mean = UNKNOWN + gain @ (measured - UNKNOWN)
    deviation = np.sqrt(max(SIGNAL**2 - gain @ shared, 0.0))
    assert guess == pytest.approx([mean, deviation], abs=1e-6)


@pytest.mark.usefixtures("few")
def test_what_is_known_is_cleared_of_luck_but_not_of_sense() -> None:
    rng = Random(3)
    fitness = results([[1.0] * 4, *([1.0 - 0.03 * rng.random()] for _ in PROGRAMS[1:])])
    made = surrogate(fitness, PROGRAMS)
    for number, program in enumerate(PROGRAMS):
        worth = made.worth(number, 0)
        assert worth == pytest.approx(made.guess([mutant(program)])[0][0])
        measured = fitness.measured(number)
        assert worth is not None and abs(worth - measured) < 2 * SCATTER
    assert made.worth(99, 0) is None


@pytest.mark.usefixtures("few")
def test_nothing_is_guessed_of_what_nothing_is_known() -> None:
    fitness = results([[1.0] * 4, [0.9]])
    child = [mutant(PROGRAMS[3])]
    assert surrogate(fitness, PROGRAMS[:1]).guess(child) == [None]
    made = Surrogate(1, lambda slots: 0, STRETCHES)
    assert made.guess(child) == [None] and made.worth(0, 0) is None
    for number in (0, 1):
        made.note(number, 0, PROGRAMS[number])
    assert made.guess(child) == [None]  # until it is told to
    made.take_anew(fitness)
    assert made.guess(child) != [None]
    blind = Surrogate(1, lambda slots: 0, [])
    blind.note(0, 0, PROGRAMS[0])
    blind.note(1, 0, PROGRAMS[1])
    blind.take_anew(fitness)
    assert not blind.can_guess and blind.guess(child) == [None]


@pytest.mark.usefixtures("few")
def test_steps_that_are_none_break_nothing() -> None:
    still = from_text("def train(w, g, lr):\n    update = g * 0.0\n    return update\n")
    made = surrogate(results([[1.0] * 4, [0.9], [1.1]]), [*PROGRAMS[:2], still])
    (guess,) = made.guess([mutant(still)])
    assert guess is not None and np.isfinite(guess).all()


@settings(max_examples=5)
@given(cuts=st.sets(st.integers(0, 300), max_size=3), seed=st.integers(0, 9))
def test_a_restored_search_guesses_as_if_never_interrupted(cuts: set[int], seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_surrogate, "ENOUGH", 20)
        settings = config(
            seed=seed, patience=60, constants_share=0.5, candidates=4, replicates=(1, 2)
        )
        whole = Fold(settings, stretches=STRETCHES).run(110)
        fold = Fold(settings, stretches=STRETCHES)
        for step in range(100_000):
            if step in cuts:
                fold = Fold.restored(settings, fold.rows, STRETCHES)
            if not fold.step(110):
                break
    assert fold.rows == whole
    assert any(row.guess for row in whole)


def test_the_most_promising_of_the_children_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more children the best guess is better; the rows keep it, and what is known has none."""
    monkeypatch.setattr(search_surrogate, "ENOUGH", 20)

    def guessed(candidates: int) -> list[float]:
        made = config(candidates=candidates, patience=1000, complexity_cost=0.001)
        rows = Fold(made, stretches=STRETCHES).run(150)
        assert not any(row.guess for row in rows if row.source is not None)
        return [sum(r.guess) - 0.001 * r.live for r in rows if r.guess and r.mutation != AGAIN]

    chance = Fold(config(method="random", patience=1000), stretches=STRETCHES).run(150)
    assert not any(row.guess for row in chance)
    assert np.mean(guessed(1)) < np.mean(guessed(12))


@given(st.floats(-0.1, 0.1), st.floats(1e-4, 0.1), st.floats(0.9, 1.1), st.integers(1, 4))
def test_a_guess_and_a_score_are_weighed_as_two_measurements(
    mean: float, deviation: float, loss: float, seeds: int
) -> None:
    """Means weighed by precision; the improvement is a mean over what is not known."""
    found = results([[1.0] * 4, [loss] * seeds])
    found[1].guess = [mean, deviation]
    precisions = (deviation**-2, seeds * NOISE**-2)
    together = (mean, found.measured(1)) @ np.array(precisions) / sum(precisions)
    assert found.expected(1) == pytest.approx(together)
    spread = 1 / np.sqrt(sum(precisions))
    grid = np.linspace(-9, 9, 20_001)
    density = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi) * (grid[1] - grid[0])
    for bar in (together - spread, together, together + 2 * spread):
        beyond = np.maximum(together + spread * grid - bar, 0) @ density
        assert found.improvement(1, bar) == pytest.approx(beyond, rel=1e-4)
    assert found.improvement(1, float("-inf")) == float("inf")
    found[1].guess = [mean, 0.0]
    assert found.improvement(1, mean - 0.5) == pytest.approx(0.5)
    found[1].guess = None
    assert found.expected(1) == found.measured(1)
    assert found.improvement(1, found.measured(1) - 0.5) == pytest.approx(0.5)
    assert found.improvement(1, found.measured(1) + 0.5) == 0
