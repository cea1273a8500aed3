"""The study of what each part of the search is worth."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from fakes import UNTRAINED, FakePool, answer

from evolve.budget import STEPS, Budget
from evolve.judge.comparison import FIRST_FRESH
from evolve.search.driver import Driver
from evolve.session import configured
from evolve.studies import parts, parts_table
from evolve.studies.parts import ALONE, PARTS, SEARCHES, design
from primitives.text import from_text, to_text
from proxy_tasks.status import FINISHED

WHOLE = frozenset[str]()
ONE_OFF = {name: frozenset({name}) for name in (*PARTS, *ALONE)}


class Searched:
    """A search without training, what it came to, and what it asked for."""

    def __init__(self, off: frozenset[str]) -> None:
        self.config = parts.config_without(off, 100)
        self.pool = FakePool(self.config)
        budget = Budget(STEPS, 20_000)
        self.row = parts.search(off, 100, budget, lambda config: self.pool, Driver)

    def asked(self) -> list[tuple[str, tuple[int, ...]]]:
        """The programs that were trained, on which seeds, in order."""
        return [
            (request["program"], tuple(request["seeds"]))
            for _, request, _ in self.pool.submitted
            if max(request["seeds"]) < FIRST_FRESH
        ]


@pytest.fixture(scope="module")
def searched() -> dict[str, Searched]:
    return {"": Searched(WHOLE)} | {name: Searched(off) for name, off in ONE_OFF.items()}


def fresh(*texts: str) -> float:
    """What a program is worth on fresh seeds, from the answers to it and to the start."""
    losses = []
    for text in texts:
        program = to_text(from_text(text))
        asked = {"program": program, "tasks": ["text_transformer"], "split": "validation"}
        seeds = range(FIRST_FRESH, FIRST_FRESH + parts.FRESH)
        given = [answer({**asked, "seeds": [seed]}) for seed in seeds]
        if any(one["outcome"] != FINISHED for one in given):
            return -1.0
        losses.append([one["losses"]["text_transformer"][0][-1] for one in given])
    return fmean((b - x) / (UNTRAINED - b) for b, x in zip(*losses, strict=True))


@pytest.mark.parametrize("name", ["", *ONE_OFF])
def test_each_search_is_judged_on_fresh_seeds(searched: dict[str, Searched], name: str) -> None:
    found = searched[name]
    assert found.row["fresh"] == pytest.approx(fresh(found.row["start"], found.row["program"]))
    assert found.row["trained"] > 10 and found.row["off"] == [name] * bool(name)


@pytest.mark.parametrize("name", ONE_OFF)
def test_without_a_part_it_is_another_search(searched: dict[str, Searched], name: str) -> None:
    """Not only by its settings: other programs are trained, or on other seeds, or for longer."""
    whole, without = searched[""], searched[name]
    assert without.config != whole.config
    assert without.asked() != whole.asked() or without.row["steps"] != whole.row["steps"]


def test_the_search_as_it_is_has_the_default_settings() -> None:
    """But for the closing, which is no part of the search."""
    mine, default = parts.config_without(WHOLE, 0).to_json(), configured({}).to_json()
    assert {key for key in mine if mine[key] != default[key]} == {"closing_share"}


def test_in_the_design_each_part_is_off_in_half_of_the_searches_of_every_three_others() -> None:
    """Resolution IV: no part is mistaken for what two others do together."""
    ways = list(design())
    assert len(set(ways)) == 16 and WHOLE in ways and frozenset(PARTS) in ways
    signs = {name: np.array([-1 if name in off else 1 for off in ways]) for name in PARTS}
    for name, sign in signs.items():
        assert sign.sum() == 0
        others = [each for each in PARTS if each != name]
        assert all(sign @ signs[other] == 0 for other in others)
        assert all(sign @ (signs[a] * signs[b]) == 0 for a, b in combinations(others, 2))


def test_searches_that_were_done_are_not_done_again_and_seeds_go_in_order() -> None:
    todo = list(parts.missing([], range(100, 102)))
    assert todo == [(off, seed) for seed in (100, 101) for off in SEARCHES]
    rows = [{"off": sorted(off), "seed": seed} for off, seed in todo[:3]]
    assert list(parts.missing(rows, range(100, 102))) == todo[3:]


def test_the_table_finds_what_each_part_brings_whatever_the_seeds_are_worth() -> None:
    rng = np.random.default_rng(0)
    truth = dict(zip(PARTS, rng.normal(0, 0.02, len(PARTS)), strict=True))
    rows = [
        {
            "off": sorted(off),
            "seed": seed,
            "trained": 100,
            "minutes": parts.MINUTES,
            "fresh": 0.1 * seed - sum(truth[name] for name in off) + rng.normal(0, 0.004),
        }
        for seed in range(3)
        for off in design()
    ]
    found = parts_table.effects(rows)
    for name, effect in found.items():
        off = [row["fresh"] for row in rows if name in row["off"]]
        on = [row["fresh"] for row in rows if name not in row["off"]]
        assert effect.mean == pytest.approx(fmean(on) - fmean(off))
        assert abs(effect.mean - truth[name]) < 2 * effect.half
        assert effect.error == pytest.approx(2 * 0.004 / len(rows) ** 0.5, rel=0.5)
        assert f"{effect.mean:+.4f} ± {effect.error:.4f}" in parts_table.table(rows)


def test_of_an_unfinished_design_there_is_no_table() -> None:
    rows = [{"off": [], "seed": 1, "trained": 100, "minutes": parts.MINUTES, "fresh": 0.1}]
    assert parts_table.table(rows).endswith("there is no table.*")


def test_longer_searches_are_shown_beside_the_design_and_change_nothing_of_it() -> None:
    rows = [
        {"off": sorted(off), "seed": 1, "trained": 100, "minutes": parts.MINUTES, "fresh": 0.01 * i}
        for i, off in enumerate(design())
    ]
    whole = parts_table.table(rows)
    pair = {"seed": 103, "trained": 9, "minutes": parts.LONGER_MINUTES}
    longer = [
        {**pair, "off": [*off], "fresh": 0.5 - 0.125 * i} for i, off in enumerate(parts.LONGER)
    ]
    text = parts_table.table([*rows, *longer[:2], longer[3]])
    assert text.startswith(whole)
    cells = [line.split(" | ")[1].strip(" |") for line in text.splitlines()[-4:]]
    assert cells == ["+0.5000", "+0.3750", "-", "+0.1250"]
    assert all(off < frozenset(parts.PARTS) for off in parts.LONGER)


def test_the_readme_of_the_search_shows_what_the_parts_bring() -> None:
    text = parts_table.README.read_text()
    assert parts_table.written(text) == text, "run: python -m evolve.studies.parts_table"
