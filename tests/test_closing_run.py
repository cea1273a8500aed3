"""The closing in whole runs and commands."""

from __future__ import annotations

import json
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Cli
from fakes import ADAMW, FakePool, config
from processes import evolve, finish, start
from runs import Moment, compared, stop
from test_closing import create, go_on, large_is_another_world, quick  # noqa: F401

from evolve.budget import EVALUATIONS, Budget
from evolve.command import funnel as command
from evolve.judge import ending, heldout
from evolve.search.log import RunLog
from evolve.summary import summarize
from proxy_tasks.status import FINISHED

SCHEMAS = Path(__file__).parent.parent / "evolve" / "schemas"
#: Enough for a tournament, its ablations and x10.
SETTINGS = """
tasks = ["quadratic"]
start = "signum"
seed = 3
population = 20
replicates = [1]
tune_start = false
in_flight = 8
closing_share = 0.98
"""
BUDGET = ["--budget", "150evals", "--workers", 0]


def _stage(kind: str) -> Moment:
    return lambda log: ending.stage(log, kind) is not None


@pytest.mark.slow
@pytest.mark.promise(1)
def test_a_closing_that_was_killed_goes_on_as_if_it_never_had(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(SETTINGS)
    whole, run = tmp_path / "whole", tmp_path / "run"
    given = ["--config", tmp_path / "run.toml", *BUDGET]
    code, out, err = evolve("run", *given, "--out", whole)
    assert (code, err) == (0, "")
    assert "The best of them, #" in out and "On held-out data of quadratic it " in out
    code, out, err = evolve("inspect", whole)
    assert (code, err) == (0, "")
    assert "hall of fame" in out and "name       " in out and "held out   " in out
    assert "tournament of " in out and "<- champion" in out and "; update = " in out
    with RunLog.open(whole) as log:
        found = summarize(log)
    assert found["closed"]
    assert [row["rung"] for row in found["heldout"]] == ["x1", "x10"] and not found["left_out"]
    process = start("run", *given, "--out", run)
    ends = (  # and goes on with so many workers
        (lambda log: len(list(log.trainings())) > 300, signal.SIGKILL, 0),
        (_stage(ending.TOURNAMENT), signal.SIGTERM, 2),
    )
    for moment, how, workers in ends:
        code, err = stop(process, run, moment, how)
        assert code in (-how, 128 + how)
        assert how == signal.SIGKILL or f"go on with: evolve resume {run}" in err
        with RunLog.open(run) as log:
            assert not ending.is_closed(log), "the moment was missed"
        assert "evolve resume" in evolve("inspect", run)[1]
        process = start("resume", run, "--workers", workers, "--quiet")
    code, out, err = finish(process)
    assert (code, err) == (0, "")
    assert compared(run) == compared(whole)


def test_a_run_that_begins_with_lion_is_no_discovery(cli: Cli, tmp_path: Path) -> None:
    """And says so wherever it is shown, from its beginning."""
    (tmp_path / "run.toml").write_text(SETTINGS.replace("0.98", "0.0"))
    known: dict[str, bool | None] = {}
    for name in ("lion", "paper-program-1", "signum"):
        run = tmp_path / name
        options = ["--config", tmp_path / "run.toml", "--budget", "3evals", "--workers", 0]
        code, out, _ = cli("run", "--start", name, *options, "--out", run)
        assert code == 0
        known[name] = json.loads(cli("inspect", run, "--json")[1])["discovery"]
        shown = (out, cli("inspect", run)[1])
        assert [("not a discovery" in text) for text in shown] == [name != "signum"] * 2
    assert known == {"lion": False, "paper-program-1": False, "signum": None}


@pytest.mark.parametrize(
    ("name", "said"), [("nope", "there is no task 'nope'"), ("no.module:x", "no module 'no'")]
)
def test_a_task_that_cannot_judge_is_told_before_the_search(
    cli: Cli, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "run.toml").write_text(f'judge_tasks = ["quadratic", "{name}"]\n')
    options = ["--tasks", "quadratic", "--budget", "100000evals", "--workers", 0]
    run = tmp_path / "run"
    code, _, err = cli("run", *options, "--config", tmp_path / "run.toml", "--out", run)
    assert code == 2 and said in err and not run.exists()


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of made-up trainings that was closed; larger rungs are made up too."""
    of = config(closing_share=0.9)
    create(tmp_path / "run", of)
    go_on(tmp_path / "run", FakePool(of, answer=large_is_another_world), Budget(EVALUATIONS, 60))
    pool = FakePool(of, answer=large_is_another_world)
    monkeypatch.setattr(command, "open_pool", lambda *rest: nullcontext(pool))
    return tmp_path / "run"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("rung", ["x10", "x100"])
def test_the_funnel_command(cli: Cli, finished: Path, rung: str) -> None:
    code, out, err = cli("funnel", finished, "--rung", rung, "--json", "--workers", 0)
    assert (code, err) == (0, "")
    printed: dict[str, Any] = json.loads(out)
    jsonschema.validate(printed, json.loads((SCHEMAS / "funnel.json").read_text()))
    (row,) = printed["heldout"]
    assert row["rung"] == rung and row["comparison"]["pairs"] == heldout.PAIRS[int(rung[1:])]
    assert row in json.loads(cli("inspect", finished, "--json")[1])["heldout"]
    text = cli("funnel", finished, "--rung", rung, "--workers", 0)[1]
    assert f"{row['comparison']['mean']:+.4f}" in text
    assert text.strip() in cli("inspect", finished)[1]


def test_the_funnel_needs_an_end_and_something_to_compare(cli: Cli, tmp_path: Path) -> None:
    create(tmp_path / "run", config())
    code, _, err = cli("funnel", tmp_path / "run", "--workers", 0)
    assert code == 2 and "has not ended; 'evolve resume" in err and err.count("\n") == 1
    with RunLog.open(tmp_path / "run", write=True) as log:
        code, _, err = cli("funnel", tmp_path / "run", "--workers", 0)
        assert code == 3 and "another process works on" in err
        ending.note_end(log, 0)
    code, _, err = cli("funnel", tmp_path / "run", "--workers", 0)
    assert code == 2 and "was not judged to its end; 'evolve resume" in err


@pytest.mark.usefixtures("quick")
def test_a_champion_that_is_the_start_is_nothing_to_compare(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hopeless(request: dict[str, Any]) -> dict[str, Any]:
        loss = 1.0 if request["program"] == ADAMW else 1.5
        losses = {task: [[loss, loss] for _ in request["seeds"]] for task in request["tasks"]}
        return {"outcome": FINISHED, "losses": losses, "steps": 1}

    of = config(closing_share=0.3)
    create(tmp_path / "run", of)
    go_on(tmp_path / "run", FakePool(of, answer=hopeless), Budget(EVALUATIONS, 30))
    code, _, err = cli("funnel", tmp_path / "run", "--workers", 0)
    assert code == 2 and "is the tuned start itself" in err and err.count("\n") == 1
