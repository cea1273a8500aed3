"""The study of what each part of the search is worth."""

from __future__ import annotations

from statistics import fmean

import pytest
from fakes import UNTRAINED, FakePool, answer
from scipy.stats import ttest_rel

from evolve.budget import STEPS, Budget
from evolve.judge.comparison import FINAL, FIRST_SEED
from evolve.search.config import Config
from evolve.search.driver import Driver
from evolve.studies import parts, parts_table
from evolve.studies.parts import AS_IT_IS, PARTS, START
from primitives.text import from_text, to_text
from proxy_tasks.status import FINISHED


class Searched:
    """A search without training, what it came to, and what it asked for."""

    def __init__(self, name: str) -> None:
        self.config = parts.configured(name, 100)
        self.pool = FakePool(self.config)
        budgets = [Budget(STEPS, steps) for steps in (10_000, 20_000)]
        self.rows = parts.search(name, 100, budgets, lambda config: self.pool, Driver)
        self.row = self.rows[-1]

    def asked(self) -> list[tuple[str, tuple[int, ...]]]:
        """The programs that the search trained, on which seeds, in order."""
        return [
            (request["program"], tuple(request["seeds"]))
            for _, request, _ in self.pool.submitted
            if max(request["seeds"]) < FIRST_SEED[FINAL]
        ]


@pytest.fixture(scope="module")
def searched() -> dict[str, Searched]:
    return {name: Searched(name) for name in PARTS}


def fresh(text: str) -> float:
    """What a program is worth on fresh seeds, from the answers themselves."""
    losses = []
    for program in (to_text(from_text(START)), text):
        asked = {"program": program, "tasks": ["text_transformer"], "split": "validation"}
        seeds = range(FIRST_SEED[FINAL], FIRST_SEED[FINAL] + parts.FRESH)
        given = [answer({**asked, "seeds": [seed]}) for seed in seeds]
        if any(one["outcome"] != FINISHED for one in given):
            return -1.0
        losses.append([one["losses"]["text_transformer"][0][-1] for one in given])
    return fmean((b - x) / (UNTRAINED - b) for b, x in zip(*losses, strict=True))


@pytest.mark.parametrize("name", PARTS)
def test_each_search_is_judged_on_fresh_seeds(searched: dict[str, Searched], name: str) -> None:
    first, last = searched[name].rows
    for row in (first, last):
        assert row["fresh"] == pytest.approx(fresh(row["program"]))
        assert row["trained"] > 10 and row["part"] == name
    assert first["trained"] < last["trained"] and first["minutes"] < last["minutes"]


@pytest.mark.parametrize("name", [name for name in PARTS if name != AS_IT_IS])
def test_without_a_part_it_is_another_search(searched: dict[str, Searched], name: str) -> None:
    """Not only by its settings: other programs are trained, or on other seeds, or for longer."""
    whole, without = searched[AS_IT_IS], searched[name]
    assert without.config != whole.config
    assert without.asked() != whole.asked() or without.row["steps"] != whole.row["steps"]


def test_the_search_as_it_is_has_the_default_settings() -> None:
    """But for what all searches of the study share."""
    shared = {"seed", "start", "tune_start", "closing_share"}
    mine, default = parts.configured(AS_IT_IS, 100).to_json(), Config().to_json()
    assert {key for key in mine if mine[key] != default[key]} == shared


def test_searches_that_were_done_are_not_done_again_and_seeds_go_in_order() -> None:
    names = [AS_IT_IS, "probe"]
    todo = list(parts.missing([], names, range(100, 103), 3))
    assert todo == [(name, seed) for seed in range(100, 103) for name in names]
    rows = [{"part": name, "seed": seed, "minutes": 3.0} for name, seed in todo[:3]]
    assert list(parts.missing(rows, names, range(100, 103), 3)) == todo[3:]
    assert list(parts.missing(rows, names, range(100, 103), 9)) == todo


def test_the_table_tells_what_a_part_brings_with_its_interval() -> None:
    ends = {AS_IT_IS: [0.03, 0.05, 0.04, 0.06], "probe": [0.01, 0.03, 0.035]}
    rows = [
        {"part": name, "seed": seed, "minutes": 3.0, "trained": 100, "fresh": end}
        for name, all_of in ends.items()
        for seed, end in enumerate(all_of)
    ]
    first, part = parts_table.table(rows).splitlines()[2:]
    assert first == "| 3 | as it is | nothing | 4 | 100 | +0.0450 | - |"
    found = ttest_rel(ends[AS_IT_IS][:3], ends["probe"])
    low, high = found.confidence_interval()
    error = fmean([0.02, 0.02, 0.005]) / found.statistic
    assert part.endswith(f"| +0.0150 ± {error:.4f} ({low:+.4f} to {high:+.4f}) |")


def test_the_readme_of_the_search_shows_what_the_parts_bring() -> None:
    text = parts_table.README.read_text()
    assert parts_table.written(text) == text, "run: python -m evolve.studies.parts_table"
