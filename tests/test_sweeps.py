"""`evolve compare --sweep`: grids of trainings, kept in a run and shown in its report."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli
from fakes import config
from hypothesis import given
from hypothesis import strategies as st
from made_up import MadeUp, needs
from strategies import programs
from test_closing import create, fresh, settings_of, whole  # noqa: F401
from test_simplify import sized

from evolve.judge import sweeps
from evolve.judge.trials import FIRST_CHOOSING, HELDOUT, Trials
from evolve.library import comparing
from evolve.library.kept_sweeps import SWEEP, SWEEPS, keep, kept, sweeps_of
from evolve.report import page as report
from evolve.report import plots
from evolve.search.log import RunLog
from primitives.program import Program
from primitives.reference import run_step, zero_slots
from primitives.zoo import zoo
from proxy_tasks.catalog import CATALOG
from proxy_tasks.evaluation import Evaluator

BOTH = [("adamw", zoo("adamw")), ("lion", zoo("lion"))]


@given(programs(), st.sampled_from(sweeps.DECAYS), st.sampled_from([1.0, 0.25]))
def test_a_decay_takes_from_every_weight_its_share_of_the_schedule(
    program: Program, decay: float, rate: float
) -> None:
    rng = np.random.default_rng(0)
    weights, gradient = ([np.float32(rng.normal(size=(2, 3)))] for _ in range(2))
    slots = zero_slots(program, weights)
    (plain,), after = run_step(program, weights, gradient, slots, rate)
    (decayed,), same = run_step(sweeps.decayed(program, decay), weights, gradient, slots, rate)
    np.testing.assert_allclose(decayed, plain + decay * rate * weights[0], rtol=1e-5, atol=1e-7)
    for name in program.slots:
        np.testing.assert_array_equal(after[name][0], same[name][0])


def test_the_grid_is_around_what_was_tuned_and_on_seeds_that_nothing_was_chosen_on() -> None:
    pool = MadeUp(sized)
    rows = sweeps.over_rates(Trials(pool), BOTH, 16)  # type: ignore[arg-type]
    assert [row["program"] for row in rows] == ["adamw", "lion"]
    middle = sweeps.RATES.index(1.0)
    for row in rows:
        assert [len(cells) for cells in row["cells"]] == [len(sweeps.RATES)] * len(sweeps.DECAYS)
        losses = [cell["mean"] for cell in row["cells"][0]]
        assert losses[middle] < losses[0] and losses[middle] < losses[-1]
    shown = {r["seeds"][0] for r in pool.asked if r["split"] == HELDOUT}
    chosen = {r["seeds"][0] for r in pool.asked if r["split"] != HELDOUT}
    assert len(shown) == sweeps.SEEDS and not shown & chosen and min(chosen) >= FIRST_CHOOSING


def test_every_batch_size_has_the_best_scale_there() -> None:
    pool = MadeUp(needs())

    def make(batch: float) -> Trials:
        return Trials(pool, batch=batch)  # type: ignore[arg-type]

    rows = sweeps.over_batches(make, BOTH, 16)
    assert all(len(row["cells"]) == len(sweeps.BATCHES) for row in rows)
    asked = [r for r in pool.asked if r.get("batch") == 8.0]
    assert {r.get("batch", 1.0) for r in pool.asked} == set(sweeps.BATCHES)
    chosen = {r["program"] for r in asked if r["split"] != HELDOUT}
    assert len(chosen) == 2 * (1 + len(sweeps.SCALES))


def test_what_fails_is_an_empty_cell() -> None:
    def breaks(of: Program) -> float:
        return 9.0 if any(s.target.startswith("decay_of") for s in of.statements) else 1.0

    (row,) = sweeps.over_rates(Trials(MadeUp(breaks)), BOTH[:1], 8)  # type: ignore[arg-type]
    assert all(cell is not None for cell in row["cells"][0])
    assert all(cell is None for cells in row["cells"][1:] for cell in cells)


def test_what_failed_everywhere_is_drawn_all_the_same() -> None:
    cells = [[None] * len(sweeps.RATES)] * len(sweeps.DECAYS)
    rows = [{"program": "bad", "cells": cells}]
    axes = {"lr": list(sweeps.RATES), "decay": list(sweeps.DECAYS)}
    assert "<svg" in plots.rates({**axes, "programs": rows})


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize("factor", sweeps.BATCHES)
def test_every_task_has_other_batches_with_as_many_examples(name: str, factor: float) -> None:
    task = CATALOG[name]
    other = task.with_batch(factor)
    assert other.batch == factor * task.batch
    assert other.steps * other.batch == pytest.approx(task.steps * task.batch, rel=0.02)
    assert other.weights() == task.weights()


def test_a_worker_trains_with_the_batch_that_is_asked_for() -> None:
    trainer = Evaluator().trainer("quadratic", 1, 1.0, 4.0)
    assert (trainer.task.batch, trainer.task.steps) == (128, 75)


# -- the command ---------------------------------------------------------------------


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No training, few trials."""
    pool = MadeUp({"a": sized})
    monkeypatch.setattr(comparing, "TUNING", 8)
    monkeypatch.setattr(comparing, "task_names", lambda tasks: ("a",))
    monkeypatch.setattr(comparing, "trials_pool", lambda *rest: nullcontext(pool))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    create(tmp_path / "run", config())
    return tmp_path / "run"


def test_a_sweep_is_kept_in_a_run_and_in_no_folder_called_as_an_optimizer(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    run.rename("lion")
    with kept(["lion", "adamw"]) as log:
        assert log is None
    with kept(["adamw", "./lion"]) as log:
        assert log is not None


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_is_printed_kept_and_shown(sweep: str, run: Path, cli: Cli) -> None:
    # A run without a champion has no program yet; any other PROGRAM keeps nothing.
    code, out, err = cli("compare", "adamw", "lion", "--sweep", sweep, "--json")
    assert code == 0, err
    (data,) = json.loads(out)["sweeps"]
    assert [row["program"] for row in data["programs"]] == ["adamw", "lion"]
    code, out, err = cli("compare", "adamw", "lion", "--sweep", sweep)
    assert code == 0 and "adamw" in out and "lion" in out and "Kept" not in out
    with RunLog.open(run, write=True) as log:
        before = log.compared()
        keep(log, data)
        keep(log, data)  # the latest stands for both
        assert sweeps_of(log) == [data] and log.compared() == before
        context = report.context(log)
        assert len(context["sweeps"]) + (len(context["times"]) > 0) == 1
        for shown in context["sweeps"]:
            assert "<svg" in shown["svg"] and "NaN" not in shown["svg"]


def test_a_sweep_of_what_went_on_is_not_shown_any_more(run: Path) -> None:
    data: dict[str, Any] = {"sweep": "time", "task": None, "rung": 1, "programs": []}
    with RunLog.open(run, write=True) as log:
        with log.transaction():
            log.add_event(7, SWEEP, data, True)
        assert sweeps_of(log) == []


@pytest.mark.slow
def test_the_first_program_that_is_a_run_keeps_the_sweep(fresh: Any, cli: Cli) -> None:  # noqa: F811
    folder = fresh()
    whole(folder, settings_of())
    code, out, err = cli("compare", "lion", folder, "--sweep", "time", "--tasks", "quadratic")
    assert code == 0, err
    assert f"Kept in {folder}" in out
    with RunLog.open(folder) as log:
        assert [data["sweep"] for data in sweeps_of(log)] == ["time"]
        assert "compiled by JAX" in report.page(log)
