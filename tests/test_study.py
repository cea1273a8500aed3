"""The plumbing of the studies: their settings are accepted, their tables say what was found."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import Fold, config, stretches
from scipy.stats import kendalltau, ttest_rel
from strategies import replay_reference

from evolve.export.catalog import TARGETS, emit
from evolve.search.config import Config
from evolve.search.log import RunLog
from evolve.search.mutation import CONSTANTS
from evolve.studies import calibration as calibration
from evolve.studies import found_programs, larger, proxy_tables, table, unseen, way
from evolve.studies import rediscovery as study
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text, to_text
from primitives.zoo import NAMES, zoo

OTHERS = {**{name: settings for name, (_, settings) in study.VARIANTS.items()}, **study.CONTROLS}


@pytest.mark.parametrize("name", OTHERS)
def test_a_control_has_settings_that_a_run_accepts(name: str) -> None:
    settings = OTHERS[name]
    accepted = Config.from_json(settings).to_json()
    assert all(accepted[key] == value for key, value in settings.items())
    assert accepted != Config().to_json()


def test_the_control_of_constants_only_trains_nothing_else() -> None:
    settings = study.CONTROLS["constants-only-loss"]
    fold = Fold(config(**settings))
    fold.run(80)
    searched = fold.proposals()
    assert searched and all(r.mutation == CONSTANTS for r in searched)
    assert len({r.structure for r in searched}) == 1


LIONS = study.Lions(stretches(0, 1))
ORNATE = """def train(w, g, m, lr):
    x0 = interp(m, g, 0.3)
    x1 = cbrt(x0)
    x2 = sign(x1)
    m = interp(g, m, 0.95)
    x3 = sin(lr)
    x4 = x3 * 0.5
    update = x2 * x4
    return update, m
"""


@pytest.mark.parametrize("name", NAMES)
def test_of_the_zoo_lion_alone_steps_as_lion_does(name: str) -> None:
    """The paper's programs decay weights, and some clip."""
    assert (LIONS.likest(zoo(name)) is not None) == (name == "lion")


def test_ornaments_do_not_hide_lion_and_a_signum_is_none() -> None:
    likest = LIONS.likest(from_text(ORNATE))
    assert likest is not None and likest[0] > 0.98
    assert LIONS.likest(from_text(ORNATE.replace("m, g, 0.3", "m, g, 0.0"))) is None


def held(rung: str, losses: list[float], p: float | None = None) -> dict[str, Any]:
    comparison = {"mean": 0.03, "error": 0.004, "pairs": 16, "wins": 16, "t": 7.0, "p": p}
    return {"task": "a", "rung": rung, "champion": losses, "comparison": p and comparison}


def digest(family: str | None) -> dict[str, Any]:
    identity = {"family": family, "exact": family is not None}
    champion = {"structure": "ab", "score": 0.03, "behind": 0.002, "error": 0.003}
    best = {"structure": "cd", "score": 0.032, "behind": 0.0, "error": 0.0}
    failed = {"structure": "ef", "score": None, "behind": None, "error": None}
    return {
        "champion": {"id": 7, "identity": identity},
        "champion_found_at": {"generated": 6000, "trained": 2500, "steps": 500_000},
        "ancestry": [{"id": 6100}, {"id": 5900}, {"id": 4100}, {"id": 0}],
        "tournament": {
            "structures": [best, champion, failed],
            "champion": {"structure": "ab", "best": False},
        },
        "first_lion": {"generated": 1234, "trained": 500, "steps": 200_000}
        if family == "lion"
        else None,
        "leaders": [{"slots": 1, "identity": identity}, {"slots": 2, "identity": {}}],
        "heldout": [held("x1", [1.0, 1.1], 1e-6)],
        "seconds": 1180.0,
        "generated": 10_000,
        "evaluated": 5_000,
        "training_steps": 1_000_000,
        "cache_hit_rate": 0.5,
        "redundant_share": 0.6,
    }


def test_the_table_counts_the_seeds_that_found_lion() -> None:
    rows = {f"seed-{i}": digest(name) for i, name in enumerate(["lion", None, "lion", "signum"])}
    rows["seed-2"]["champion"]["identity"]["exact"] = False
    found, words, search = table.table({**rows, "random-search-loss": digest("lion")}).split(
        "\n\n"
    )[:3]
    assert "Champions: Lion in 2 of 4 (95 % interval 7% to 93%), exact in 1." in words
    assert "Best of one slot: Lion in 2 of 4" in words
    assert "with p < 0.01, of 4 champions: a at x1 4." in words
    assert "median: 1,234 programs, 500 trained, 200,000 training steps." in words
    lines, shown = found.splitlines(), "+0.0300 ± 0.0040, p = 1e-06"
    assert lines[2] == f"| seed-0 | lion | lion | -0.0020 ± 0.0030 | {shown} |"
    assert lines[3].startswith("| seed-1 | none | none |")
    assert lines[4].startswith("| seed-2 | lion and more |")
    numbers = "| 20 | 10,000 | 5,000 | 1,000,000 | 50% | 60% | 1,234 | 4,100 | 6,000 |"
    assert search.splitlines()[2] == f"| seed-0 {numbers}"


def test_a_champion_that_is_the_best_is_ahead_of_the_next() -> None:
    row = digest("lion")
    row["tournament"]["champion"] = {"structure": "cd", "best": True}
    assert table.ahead(row) == "+0.0020 ± 0.0030"
    assert table.ahead({**row, "tournament": None}) == "-"


def judged(x1: list[float], x10: list[float] | None = None) -> dict[str, Any]:
    rows = [held("x1", x1), *([held("x10", x10)] if x10 else [])]
    return {**digest(None), "heldout": rows}


def test_a_control_is_held_against_the_search_seed_by_seed() -> None:
    rows = {
        "seed-0": judged([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        "seed-1": judged([1.1, 2.1, 3.1], [0.9, 1.8, 2.7]),
        "objective-loss": judged([1.2, 2.2, 3.1]),
        "random-search-equal-memory": judged([1.5, 2.6, 3.4], [0.8, 1.9, 2.85]),
        "random-search-loss": judged([1.0, 2.0, 3.0]),
    }
    (here,) = table.controls(rows)
    # Differences to the mean of the two: 0.45, 0.55, 0.35; at x10 -0.15, 0, 0.
    equal, alone = here.splitlines()[2:]
    same = "+0.4500 ± 0.0577, p = 0.016 | -0.0500 ± 0.0500, p = 0.42"
    assert equal == f"| random-search-equal-memory | {same} |"
    assert "-0.1667 ± 0.0333, p = 0.038" in alone
    assert here in table.table(rows)
    assert set(table.SEARCHES) == set(study.CONTROLS)
    del rows["objective-loss"]["heldout"][0]
    assert next(table.controls(rows)).splitlines()[3] == "| random-search-loss | - |"


def test_a_unit_leaves_a_digest_and_a_program_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny search: what it came to is told in full, and is not done again."""
    monkeypatch.setattr(study, "RESULTS", tmp_path / "study")
    small = {"population": 20, "tune_start": False, "in_flight": 4}
    settings = {**small, "replicates": [1, 2], "closing_share": 0.0}
    flags = ["--tasks", "quadratic", "--workers", "0"]
    name = f"seed-{study.SEEDS[0]}"
    study.unit(tmp_path / "runs", name, "60evals", 9, settings, *flags)
    study.unit(tmp_path / "runs", name, "61evals", 9, {}, "--no-such-flag")
    rows = study.read()
    digest = rows[name]
    assert (digest["budget"], digest["evaluated"], digest["settings"]) == ("60evals", 60, settings)
    assert digest["ancestry"][0]["id"] == digest["champion"]["id"]
    oldest = digest["ancestry"][-1]
    assert (oldest["id"], oldest["mutation"], oldest["fitness"]) == (0, "start", 0.0)
    assert (oldest["slots"], oldest["live"]) == (2, analyse(zoo("adamw")).statements)
    assert table.table(rows).splitlines()[2].startswith(f"| {name} | none | none | - |")
    program = from_text(found_programs.text(name, digest))
    assert program == from_text(digest["champion"]["live_program"])


def test_what_had_no_time_for_the_larger_rung_is_compared_there_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunLog.create(tmp_path / "run", {"config": config().to_json(), "provenance": {}}).close()
    monkeypatch.setattr(study.ending, "is_start", lambda log: False)
    for rungs, lacks in (([], False), (["x1", "x1"], True), (["x1", "x10"], False)):
        rows = [{"rung": rung} for rung in rungs]
        monkeypatch.setattr(study.ending, "heldout", lambda log, rows=rows: rows)
        assert study._lacks_the_larger_rung(tmp_path / "run") is lacks
    monkeypatch.setattr(study.ending, "is_start", lambda log: True)
    monkeypatch.setattr(study.ending, "heldout", lambda log: [{"rung": "x1"}])
    assert not study._lacks_the_larger_rung(tmp_path / "run")


FOUND = found_programs.every()


@pytest.mark.parametrize("unit", FOUND)
def test_what_is_kept_is_what_was_found(unit: str) -> None:
    kept = (found_programs.PROGRAMS / f"{unit}.txt").read_text()
    assert kept == found_programs.text(unit, FOUND[unit])
    from_text(kept)
    newest, *_, oldest = FOUND[unit]["ancestry"]
    assert newest["id"] == FOUND[unit]["champion"]["id"] and oldest["mutation"] == "start"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("unit", FOUND)
def test_what_was_found_exports(unit: str, target: str) -> None:
    program = from_text((found_programs.PROGRAMS / f"{unit}.txt").read_text())
    assert emit(target, program, "found", {}).strip()


def test_the_readme_shows_the_study() -> None:
    text = found_programs.README.read_text()
    assert found_programs.written(text) == text, "run: python -m evolve.studies.found_programs"


def test_the_readme_of_the_proxies_shows_what_was_measured() -> None:
    text = proxy_tables.README.read_text()
    assert proxy_tables.written(text) == text, "run: python -m evolve.studies.proxy_tables"


def steps_of(program: Program) -> np.ndarray:
    """The updates of a program over three steps from nothing, [steps, elements]."""
    rng = np.random.default_rng(3)
    gradients = [[rng.normal(size=50).astype(np.float32)] for _ in range(3)]
    updates = replay_reference(program, [np.zeros(50, np.float32)], gradients, 1.0)
    return np.array([update for (update,) in updates])


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("sign after AdamW's division", "Signum"),
        ("cube root of momentum", "Signum"),
        ("cube root of Lion's mixture", "Lion"),
        ("cube root of the gradient", "sign of the gradient"),
    ],
)
def test_the_rules_beside_the_known_ones_have_their_signs(name: str, like: str) -> None:
    ours, known = (steps_of(way.RULES[each]) for each in (name, like))
    assert np.array_equal(np.sign(ours), np.sign(known))
    sizes = np.unique(np.abs(ours).round(12))
    assert (len(sizes) == 1) == name.startswith("sign")


def test_the_table_of_the_way_shows_each_rule() -> None:
    found = {"loss": [2.25, 0.004], "better": [0.01, 0.002, 0.018, 16], "tuned": ""}
    programs = dict.fromkeys(way.RULES, found)
    programs["AdamW"], programs["SGD"] = {**found, "better": None}, {"loss": None, "better": None}
    rows = [
        {"objective": objective, "programs": programs} for objective in ("equal-memory", "loss")
    ]
    lines = way.table(rows).splitlines()
    assert len(lines) == 2 + len(way.RULES)
    shown = "2.2500 ± 0.0040 | +0.0100 (+0.0020 to +0.0180)"
    assert f"| Lion | 1 | {shown} | {shown} |" in lines
    assert "| AdamW | 2 | 2.2500 ± 0.0040 | - | 2.2500 ± 0.0040 | - |" in lines
    assert "| SGD | 0 | failed | - | failed | - |" in lines


def calibrated(task: str, sign: float, error: float = 1e-6) -> dict[str, Any]:
    losses = {n: {"loss": [sign * known, error]} for n, known in calibration.KNOWN.items()}
    return {"task": task, "objective": "loss", "trials": 8, "seconds": 60, "programs": losses}


def test_the_agreement_is_kendalls() -> None:
    rng = np.random.default_rng(0)
    ranks, drawn = np.array([1.0, 2.0, 2.0, 5.0, 3.0]), rng.normal(size=(50, 5))
    wanted = [kendalltau(ranks, draw).statistic for draw in drawn]
    assert calibration.taus_b(ranks, drawn) == pytest.approx(wanted)


@pytest.mark.parametrize("without", [None, "lion"])
def test_agreement_is_highest_for_the_known_order_and_lowest_for_its_reverse(
    without: str | None,
) -> None:
    # PowerSign and AddSign are level in what is known, and never in what is drawn.
    right, low, high = calibration.agreement(calibrated("a", -1.0), without)
    assert low == pytest.approx(right) == high and right > 0.9
    wrong, *_ = calibration.agreement(calibrated("a", 1.0), without)
    assert wrong == pytest.approx(-right)


def test_the_agreement_of_noise_is_not_told_from_none() -> None:
    tau, low, high = calibration.agreement(calibrated("a", -1.0, error=100.0))
    assert low < 0 < high and abs(tau) < 0.2


def test_the_table_of_proxies_ranks_them_by_agreement() -> None:
    rows = [calibrated("bad", 1.0), calibrated("good", -1.0)]
    assert calibration.best(rows) == ["good", "bad"]
    assert "| bad | loss | 8 | 1.0 |" in calibration.table(rows)
    more = [{**row, "trials": 16} for row in rows[:1]]
    assert calibration.choice(rows + more).splitlines() == [
        "loss, 8 trials: agreement from the best down: good, bad; without Lion: good, bad.",
    ]


def test_proxies_begin_with_the_constants_that_the_first_came_to() -> None:
    assert calibration.begun([]) == {name: zoo(name) for name in calibration.KNOWN}
    rows = calibration.read(proxy_tables.CALIBRATION)
    programs = calibration.begun(rows)
    for name, program in programs.items():
        assert to_text(program) == rows[0]["programs"][name]["tuned"]
        assert program.constants != zoo(name).constants


@pytest.mark.parametrize("name", calibration.CANDIDATES)
def test_candidates_are_tasks_that_workers_find_by_name(name: str) -> None:
    assert getattr(calibration, name) is calibration.CANDIDATES[name]
    assert calibration.CANDIDATES[name].steps > 0


@pytest.mark.parametrize("name", unseen.TASKS)
def test_unseen_tasks_are_found_by_name_and_count_their_weights(name: str) -> None:
    task, rung = unseen.TASKS[name]
    assert getattr(unseen, name) is task
    large = task.at(rung)
    assert large.weights() == sum(math.prod(shape) for shape in shapes(large))


def shapes(task: Any) -> list[tuple[int, ...]]:
    import jax

    return [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(task.init, jax.random.key(0)))]


def test_the_table_of_unseen_tasks_compares_seed_by_seed() -> None:
    losses = {"lion": [1.0, 1.2, 1.4], "muon": [0.9, 1.15, 1.25], "found": None}
    losses["runs/best.txt"] = [0.5, 0.701, 0.9]
    facts = {"objective": "loss", "untrained": 3.2}
    rows = [
        {**facts, "task": task, "program": name, "losses": of}
        for task in ("mlp", "text")
        for name, of in losses.items()
    ]
    _, _, *lines = unseen.table(rows, "loss", "lion").splitlines()
    place = list(unseen.TASKS).index("mlp") + 1
    cells = [line.strip("| ").split(" | ") for line in lines]
    p, best = (ttest_rel(losses["lion"], losses[n]).pvalue for n in ("muon", "runs/best.txt"))
    assert [row[place] for row in cells] == [
        "1.2000", f"1.1000, +0.0500 (p = {p:.1e})", "failed", f"0.7003, +0.2498 (p = {best:.1e})",
    ]  # fmt: skip
    assert [row[0] for row in cells] == ["lion", "muon", "found", "best"]
    assert [row[-2:] for row in cells] == [
        ["-", "-"], ["no", "0 of 6"], ["no", "0 of 6"], ["yes", "1 of 6"],
    ]  # fmt: skip
    assert unseen.table(rows, "equal-memory", "lion").count("\n") == 1


def test_rules_begin_elsewhere_with_the_constants_that_the_task_of_the_search_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, Program]] = []

    def measured(task: str, program: str, objective: str, start: Program) -> dict[str, Any]:
        begun.append((task, start))
        facts = {"task": task, "program": program, "objective": objective}
        return {**facts, "tuned": to_text(zoo("signum")), "losses": None}

    monkeypatch.setattr(unseen, "measure", measured)
    for _ in range(2):  # what is there is not done again
        unseen.measure_all(tmp_path / "rows", "lion", "loss")
    assert [task for task, _ in begun] == list(unseen.TASKS)
    assert [start for _, start in begun] == [zoo("lion")] + [zoo("signum")] * 6


def test_a_larger_model_is_trained_and_its_rate_chosen_before_fresh_seeds(tmp_path: Path) -> None:
    small = replace(larger.LARGE, width=8, heads=2, blocks=2, steps=2 * larger.EVERY)
    assert 9e5 < larger.LARGE.weights() < 1.1e6
    losses = larger.curve(zoo("lion"), 30.0, 0, small)
    assert len(losses) == 3 and losses[-1] < losses[0] - 0.2
    splits = small.splits()
    other = larger.curve(zoo("lion"), 30.0, 0, small, "validation")
    assert other != losses and not np.array_equal(splits.validation[0], splits.heldout[0])
    rows: list[dict[str, Any]] = [{"program": "lion", "tuned": to_text(zoo("lion"))}]
    asked = []
    for factor, seed in larger.trainings(lambda: rows):
        asked.append((factor, seed))
        ends = math.nan if factor >= 1 else abs(factor - 0.125)
        rows.append({"program": "lion", "factor": factor, "seed": seed, "losses": [4.0, ends]})
    assert asked[-3:] == [(0.125, seed) for seed in larger.FRESH]
    assert len(asked) == len({*asked}) == len(larger.PEAKS) + len(larger.AROUND) + 3
    assert "| lion | 0.0000 ± 0.0000 | 100 |" in larger.table(rows)
    larger.plot(rows, tmp_path / "curves.svg")
    assert "held-out loss" in (tmp_path / "curves.svg").read_text()
    assert larger.table([]).count("|") > 4


def test_the_larger_study_tries_as_much_however_often_it_is_called() -> None:
    rows: list[dict[str, Any]] = []

    def call() -> None:
        for factor, seed in larger.trainings(lambda: rows):
            if not any((row["factor"], row["seed"]) == (factor, seed) for row in rows):
                rows.append({"factor": factor, "seed": seed, "losses": [9.0, 5.0 - factor]})

    call()
    first = list(rows)
    call()
    assert rows == first  # though the best is at the edge of what was tried
    assert [row["factor"] for row in rows if row["seed"] in larger.FRESH] == [2.0] * 3
