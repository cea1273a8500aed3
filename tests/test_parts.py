"""The study of what each part of the search is worth."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from fakes import UNTRAINED, FakePool, answer
from scipy.stats import ttest_ind
from test_breeding import STRETCHES, breeding
from test_idle import DIVIDED

from evolve.search import breeding as breeding_module
from evolve.search import results, stretches
from evolve.search.config import Config
from evolve.search.evolution import Evolution
from evolve.search.final_selection import FINAL, FIRST_SEED
from evolve.search.mutation import Mutant
from evolve.studies import parts, parts_table
from evolve.studies.parts import AS_IT_IS, PARTS, START, search
from primitives.abstract import analyse
from primitives.text import from_text, to_text
from primitives.zoo import zoo

BUDGET = 40_000


class Searched:
    """A search without training, and what it asked for."""

    def __init__(self, name: str) -> None:
        self.pool = FakePool(Config(start=START))
        self.row = search(name, 100, BUDGET, lambda _: self.pool)

    @property
    def asked(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Programs that the search trained, and on which seeds."""
        for number, request, _ in self.pool.submitted:
            if max(request["seeds"]) < FIRST_SEED[FINAL]:
                yield number, request

    def seeds(self) -> list[set[int]]:
        """Of each program of the search but the start."""
        found: dict[str, set[int]] = {}
        for _, request in self.asked:
            found.setdefault(request["program"], set()).update(request["seeds"])
        found.pop(to_text(from_text(START)))
        return list(found.values())


@pytest.fixture(scope="module")
def searched() -> dict[str, Searched]:
    return {name: Searched(name) for name in PARTS}


def fresh(text: str) -> float:
    """What a program is worth on fresh seeds, from the answers themselves."""
    seeds = [FIRST_SEED[FINAL] + i for i in range(parts.FRESH)]
    losses = []
    for program in (to_text(from_text(START)), text):
        asked = {"program": program, "tasks": ["text_transformer"], "split": "validation"}
        given = answer({**asked, "seeds": seeds})["losses"]["text_transformer"]
        losses.append([marks[-1] for marks in given])
    return fmean((b - x) / (UNTRAINED - b) for b, x in zip(*losses, strict=True))


@pytest.mark.parametrize("name", PARTS)
def test_each_search_is_judged_on_fresh_seeds_at_each_mark(
    searched: dict[str, Searched], name: str
) -> None:
    row = searched[name].row
    assert [steps for steps, _ in row["fresh"]] == [BUDGET // 4 * k for k in (1, 2, 3, 4)]
    assert row["fresh"][-1][1] == pytest.approx(fresh(row["program"]))
    assert row["trained"] > 10


@pytest.mark.parametrize("name", [name for name in PARTS if name != AS_IT_IS])
def test_each_part_that_is_left_out_is_another_search(
    searched: dict[str, Searched], name: str
) -> None:
    part = PARTS[name]
    assert part.switch is not PARTS[AS_IT_IS].switch or part.settings
    default = Config().to_json()
    assert all(
        Config.from_json(dict(part.settings)).to_json()[k] != default[k] for k in part.settings
    )


def test_what_was_switched_off_is_on_again(searched: dict[str, Searched]) -> None:
    assert searched
    assert Evolution.seeds is parts._common
    assert results.rotated is not parts._flat
    assert breeding_module.Breeding._lean.__name__ == "_lean"
    assert breeding_module.factor is stretches.factor


def test_seeds_are_common_but_where_each_program_has_its_own(
    searched: dict[str, Searched],
) -> None:
    common, own = searched[AS_IT_IS].seeds(), searched["common seeds"].seeds()
    assert set().union(*common) == set(range(16))
    assert sum(len(seeds) for seeds in own) == len(set().union(*own)) > 100


def test_replicates_are_few_first_but_where_they_are_many_or_never_more(
    searched: dict[str, Searched],
) -> None:
    counts = {name: {len(seeds) for seeds in searched[name].seeds()} for name in PARTS}
    assert {1, 16} <= counts[AS_IT_IS]
    assert counts["few seeds first"] == {16} and counts["more seeds later"] == {1}
    assert searched["more seeds later"].seeds()[0] == {0}


def factors() -> set[float]:
    """By what the steps of some children are multiplied."""
    draws = [breeding(STRETCHES).other_structure(zoo("adamw"), Random(k)) for k in range(20)]
    return {mutant.factor for mutants in draws for mutant in mutants}


def test_without_scales_children_step_as_they_come() -> None:
    with PARTS["scales"].switch():
        assert factors() == {1.0}
    assert len(factors()) > 2


def test_idle_statements_stay_where_they_are_to_pay() -> None:
    divided = from_text(DIVIDED)
    mutant = Mutant(divided, analyse(divided), "insert update = sign(update)", 0)
    with PARTS["idle statements"].switch():
        assert breeding(STRETCHES).ready(mutant) == mutant
    ready = breeding(STRETCHES).ready(mutant)
    assert ready is not None and len(ready.analysis.slots) < len(mutant.analysis.slots)


def test_searches_that_were_done_are_not_done_again_and_seeds_go_in_order() -> None:
    names = [AS_IT_IS, "elite"]
    todo = list(parts.missing([], names))
    assert len(todo) == len(parts.SEEDS) + len(parts.AS_IT_IS_SEEDS)
    assert [seed for _, seed in todo] == sorted(seed for _, seed in todo)
    rows = [{"part": name, "seed": seed} for name, seed in todo[:3]]
    assert list(parts.missing(rows, names)) == todo[3:]


def test_the_table_tells_what_a_lead_brings_with_its_spread() -> None:
    ends = {AS_IT_IS: [0.03, 0.05, 0.04, 0.06], "elite": [0.01, 0.03, 0.02]}
    rows = [
        {"part": name, "fresh": [[1, 0.0], [2, end]]}
        for name, all_of in ends.items()
        for end in all_of
    ]
    first, part = parts_table.table(rows).splitlines()[2:]
    assert first == "| as it is | nothing | 4 | +0.0450 | - | +0.0225 | - |"
    # With two groups alone the pooled test is Student's.
    found = ttest_ind(ends[AS_IT_IS], ends["elite"])
    error = 0.025 / found.statistic
    assert f"| 3 | +0.0200 | +0.0250 ± {error:.4f} (p = {found.pvalue:.2g}) | +0.0100 |" in part


def test_the_spread_of_seeds_is_that_within_leads() -> None:
    rng = np.random.default_rng(3)
    groups = [rng.normal(level, 0.01, 40) for level in (-1.0, 0.0, 5.0)]
    deviation, freedom = parts_table.spread(groups)
    assert freedom == 117 and deviation == pytest.approx(0.01, rel=0.2)


def test_the_readme_of_the_search_shows_what_the_leads_bring() -> None:
    text = parts_table.README.read_text()
    assert parts_table.written(text) == text, "run: python -m evolve.studies.parts_table"
