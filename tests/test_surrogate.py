"""The guess at what a program is worth, against scikit-learn's Gaussian process."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import config, stretches
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from evolve.search import surrogate as module
from evolve.search.proposal import Proposer
from evolve.search.surrogate import Guess, Knowledge, Surrogate, steps_of
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text, to_text
from primitives.zoo import NAMES, zoo

BOTH = stretches(0, 1)
SCALES = [0.5, 1.0, 2.0, 3.0]


def family() -> list[Program]:
    """The zoo, each program with several sizes of its steps."""
    text = [to_text(zoo(name)) for name in NAMES]
    scaled = [
        one.replace("    return update", f"    update = update * {scale}\n    return update")
        for one in text
        for scale in SCALES
    ]
    return [from_text(one) for one in scaled]


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENOUGH", 5)


def knowledge(programs: list[Program], fitness: list[float], seeds: list[int]) -> Knowledge:
    rows = zip(map(to_text, programs), fitness, seeds, strict=True)
    return Knowledge([[*rows]], [])


def made(knowledge: Knowledge) -> Surrogate:
    return Surrogate(knowledge, lambda text: steps_of(from_text(text), BOTH))


def features(program: Program) -> np.ndarray:
    """Directions and sizes, in units of the lengths over which fitness changes."""
    rows = []
    for stretch in BOTH:
        updates = stretch.updates(program)
        size = np.linalg.norm(updates)
        rows += [updates / size / module.DIRECTIONS, [np.log2(size) / module.SIZES]]
    return np.concatenate(rows)


def test_guesses_are_those_of_scikit_learn() -> None:
    programs = [p for p in family() if np.isfinite(features(p)).all()]
    rng = np.random.default_rng(0)
    given, asked = programs[::2], programs[1::2]
    fitness = rng.normal(0, 0.05, len(given)).tolist()
    seeds = rng.choice([1, 2, 4], len(given)).tolist()
    found = made(knowledge(given, fitness, seeds)).guess([(0, steps_of(p, BOTH)) for p in asked])
    process = GaussianProcessRegressor(
        module.SIGNAL**2 * Matern(1.0, "fixed", nu=2.5),
        alpha=module.SCATTER**2 / np.array(seeds),
        optimizer=None,
    )
    low = np.maximum(fitness, module.FLOOR) - module.UNKNOWN
    process.fit([features(p) for p in given], low)
    means, deviations = process.predict([features(p) for p in asked], return_std=True)
    assert [g and g.mean for g in found] == pytest.approx(means + module.UNKNOWN, abs=1e-6)
    assert [g and g.deviation for g in found] == pytest.approx(deviations, abs=1e-5)


def test_niches_know_nothing_of_each_other() -> None:
    programs = family()[:8]
    of = knowledge(programs, [0.1] * 8, [1] * 8)
    both = Surrogate(Knowledge([*of.trained, []], []), made(of)._steps)
    here, there = both.guess([(0, steps_of(programs[0], BOTH)), (5, steps_of(programs[0], BOTH))])
    assert here is not None and here.mean > 0.05 and there is None
    assert both.fitness(to_text(programs[0]), 0) == here.mean
    assert both.fitness(to_text(programs[1]), 5) == module.UNKNOWN


# -- what a proposer makes of it ----------------------------------------------------------


class Told(Surrogate):
    """Values what a test says."""

    def __init__(self, value: dict[str, float]) -> None:
        super().__init__(Knowledge([[]], []), lambda text: steps_of(from_text(text), BOTH))
        self.value = value

    def fitness(self, text: str, slots: int) -> float:
        return self.value[text]

    def guess(self, children: list) -> list[Guess | None]:  # type: ignore[override]
        """The larger the steps the better."""
        return [Guess(float(sum(steps.sizes)), 0.0) for _, steps in children]


def proposer(value: dict[str, float]) -> Proposer:
    found = Proposer(config(probe=True, candidates=4, fitting=False), BOTH)
    found._known[1] = Told(value)
    return found


def test_the_parent_is_the_one_that_is_worth_most_by_all_that_is_known() -> None:
    texts = {number: to_text(zoo(name)) for number, name in enumerate(("adamw", "lion", "signum"))}
    members = [*texts.items()]
    for best in texts:
        value = {text: 1.0 + (number == best) for number, text in texts.items()}
        children = proposer(value).propose([members], False, 3, 1)
        assert {child["parent"] for child in children} == {best}


def test_the_most_promising_child_is_proposed_first() -> None:
    """But for the first that was drawn, whose result may be known."""
    text = to_text(zoo("adamw"))
    ordered = 0
    for seed in range(30):
        children = proposer({text: 0.0}).propose([[(0, text)]] * 4, False, seed, 1)
        told = [child for child in children if child["promising"]]
        assert len(children) - len(told) <= 1 and all(child["guess"] for child in told)
        sizes = [child["guess"][0] for child in told if not child["alike"]]
        assert sizes == sorted(sizes, reverse=True)
        ordered += len(sizes) > 1
    assert ordered > 8


def test_structures_that_were_tried_often_are_passed_over() -> None:
    text = to_text(zoo("adamw"))
    free, barred = proposer({text: 0.0}), proposer({text: 0.0})
    told = [c for s in range(20) for c in free.propose([[(0, text)]] * 2, False, s, 1)]
    structures = {c["structure"] for c in told if c["promising"] and not c["alike"]}
    barred._known[1].spent = frozenset(structures)
    again = [c for s in range(20) for c in barred.propose([[(0, text)]] * 2, False, s, 1)]
    assert not structures & {c["structure"] for c in again if c["promising"] and not c["alike"]}
    assert any(c["promising"] for c in again)


def test_a_version_and_the_one_before_are_kept() -> None:
    found = Proposer(config(probe=True), BOTH)
    for version in (1, 2, 3):
        found.learn(version, Knowledge([[]], []))
    assert found._known.keys() == {2, 3}
    with pytest.raises(KeyError):
        found.propose([[(0, to_text(zoo("adamw")))]], False, 0, 1)


# -- as it is trained --------------------------------------------------------------------


def test_children_get_steps_as_large_as_their_parents_and_no_idle_statements() -> None:
    parent = zoo("adamw")
    size = [np.linalg.norm(s.updates(parent)) for s in BOTH]
    of = Proposer(config(probe=True, candidates=1), BOTH)
    changed = 0
    for seed in range(120):
        for child in of.propose([[(0, to_text(parent))]], False, seed):
            if not child["promising"] or child["alike"]:
                continue
            program = from_text(child["program"])
            apart = [
                np.log2(np.linalg.norm(s.updates(program)) / one)
                for s, one in zip(BOTH, size, strict=True)
            ]
            assert abs(np.mean(apart)) < 0.6
            assert analyse(program).functional_hash == child["functional_hash"]
            changed += "steps times" in child["detail"] or "without" in child["detail"]
    assert changed > 5


def test_statements_that_a_sign_makes_idle_go() -> None:
    text = """def train(w, g, m, lr):
        m = interp(g, m, 0.9)
        root = cbrt(m)
        update = root * lr
        return update, m
    """
    of = Proposer(config(probe=True, candidates=1, on_edges=1.0), BOTH)
    found = [
        child
        for seed in range(3000)
        for child in of.propose([[(0, text)]], False, seed)
        if child["promising"] and "sign(root)" in child["detail"]
    ]
    assert found and all("without root = cbrt(m)" in child["detail"] for child in found)
