"""`evolve compare`: programs at their best, against the first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from test_simplify import MadeUp, needs, sized

from evolve.cli import main
from evolve.judge.constants import GENERATION
from evolve.judge.heldout import SCALES
from evolve.judge.ranking import Ranked, Result, rank
from evolve.judge.trials import COARSE, FIRST_DECIDING, HELDOUT, Trials
from evolve.library import comparing
from primitives.abstract import analyse
from primitives.text import from_text
from primitives.zoo import zoo

SCHEMA = Path(__file__).parent.parent / "evolve" / "schemas" / "compare.json"
PAIRS = 6


def ranked(pool: MadeUp, *names: str, rungs: Sequence[int] = (1,), **options: Any) -> list[Ranked]:
    def make(task: str, rung: int) -> Trials:
        return Trials(pool, tasks=[task], rung=rung, **options)  # type: ignore[arg-type]

    programs = [(name, zoo(name)) for name in names]
    return list(rank(make, programs, list(pool.tasks), rungs, 16, PAIRS))


def only(row: Ranked) -> Result:
    (result,) = row.results
    return result


def test_what_is_worth_something_is_better_by_that() -> None:
    rows = ranked(MadeUp(needs(sign=0.3, memory=0.1)), "adamw", "lion", "signsgd")
    assert [(row.name, row.slots) for row in rows] == [("adamw", 2), ("lion", 1), ("signsgd", 0)]
    assert rows[0].better is None  # the reference, with a loss of 1.3 of 2.0
    for row, gain in zip(rows[1:], (0.3, 0.2), strict=True):
        found = only(row)
        assert found.better is not None and found.loss is not None
        # Sixteen trials of constants leave a little of what tuning could bring.
        assert found.better.low - 0.02 < gain / 0.7 < found.better.high + 0.02
        assert found.better.mean == pytest.approx(gain / 0.7, abs=0.1)
        assert found.better.mean == row.better and found.better.pairs == PAIRS
        mean, error = found.loss
        assert mean == pytest.approx(1.3 - gain, abs=0.1) and 0 < error < 0.1


def test_every_program_is_tuned_as_much_and_judged_on_fresh_held_out_data() -> None:
    asked: list[dict[str, Any]] = []

    class Noting(MadeUp):
        def submit(self, key: int, request: dict[str, Any], limit: float) -> None:
            asked.append(request)
            super().submit(key, request, limit)

    rows = ranked(Noting(sized), "adamw", "lion", memory=2)
    judged = [r for r in asked if r["split"] == HELDOUT]
    assert {r["seeds"][0] for r in judged} == {FIRST_DECIDING + i for i in range(PAIRS)}
    assert len(judged) == 2 * PAIRS
    tuning = [r for r in asked if r["split"] != HELDOUT]
    assert not {r["seeds"][0] for r in tuning} & {r["seeds"][0] for r in judged}
    counts = {
        slots: len({r["program"] for r in tuning if slots_of(r) == slots}) for slots in (1, 2)
    }
    most = len(COARSE) + 7 + 16 + GENERATION  # evolution, and one generation of CMA-ES
    assert all(most - 8 <= count <= most for count in counts.values())
    for request in asked:  # AdamW's memory: weights, gradients, two slots
        assert request["share"] * (2 + slots_of(request)) == pytest.approx(4)
    assert only(rows[1]).tuned != zoo("lion")  # the scale that suits the made-up task was found


def test_every_task_and_rung_is_a_place_with_constants_of_its_own() -> None:
    asked: list[dict[str, Any]] = []

    class Noting(MadeUp):
        def submit(self, key: int, request: dict[str, Any], limit: float) -> None:
            if request["action"] == "evaluate":
                asked.append(request)
            super().submit(key, request, limit)

    pool = Noting({"a": sized, "b": lambda of: sized(of, 1e-2)})
    rows = ranked(pool, "adamw", "lion", rungs=(1, 10))
    places = [("a", 1), ("a", 10), ("b", 1), ("b", 10)]
    assert [[(r.task, r.rung) for r in row.results] for row in rows] == [places, places]
    assert all(len(request["tasks"]) == 1 for request in asked)
    tuned = {place: result.tuned for place, result in zip(places, rows[1].results, strict=True)}
    assert tuned["a", 1] != tuned["b", 1]
    judged = {(r["tasks"][0], r["rung"]) for r in asked if r["split"] == HELDOUT}
    assert judged == set(places)
    # At the larger rung scales of what was tuned at the first are tried, and no constants.
    scales = {r["program"] for r in asked if (r["tasks"], r["rung"]) == (["a"], 10)}
    assert len(scales) == 2 * (1 + len(SCALES))


def slots_of(request: dict[str, Any]) -> int:
    return len(analyse(from_text(request["program"])).slots)


def test_by_loss_alone_every_model_is_the_same() -> None:
    asked: list[float] = []

    class Noting(MadeUp):
        def submit(self, key: int, request: dict[str, Any], limit: float) -> None:
            asked.append(request["share"])
            super().submit(key, request, limit)

    ranked(Noting(needs()), "adamw", "lion")
    assert set(asked) == {1.0}


def test_the_command(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "TUNING", 8)
    monkeypatch.setattr(comparing, "PAIRS", 4)
    arguments = ["compare", "adamw", "lion", "--tasks", "quadratic", "--workers", "0"]
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, json.loads(SCHEMA.read_text()))
    entries = {entry["program"]: entry for entry in printed["programs"]}
    results = {name: entry["results"][0] for name, entry in entries.items()}
    lion = results["lion"]["better"]
    assert results["adamw"]["better"] is None and lion["pairs"] == 4
    losses = {name: result["heldout_loss"]["mean"] for name, result in results.items()}
    assert (losses["lion"] < losses["adamw"]) == (lion["mean"] > 0)
    first = "lion" if lion["mean"] > 0 else "adamw"  # the better comes first
    assert printed["programs"][0]["program"] == first
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "adamw: the reference" in text and f"lion: {lion['mean']:+.4f}" in text


def test_failures_are_told(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "trials_pool", lambda *rest: nullcontext(Failing(needs())))
    assert main(["compare", "adamw", "lion", "--tasks", "quadratic"]) == 0
    text = capsys.readouterr().out
    assert "adamw: a training failed" in text
    assert "lion: a training of the reference failed" in text
    assert main(["compare", "lion", "adamw", "signsgd", "--tasks", "quadratic", "--json"]) == 0
    order = [each["program"] for each in json.loads(capsys.readouterr().out)["programs"]]
    assert order[-1] == "adamw"


def test_only_the_first_is_the_reference_whatever_the_others_are_called(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = MadeUp({"quadratic": needs()})
    monkeypatch.setattr(comparing, "TUNING", 8)
    monkeypatch.setattr(comparing, "trials_pool", lambda *rest: nullcontext(pool))
    assert main(["compare", "lion", "lion", "--tasks", "quadratic"]) == 0
    assert capsys.readouterr().out.count("the reference") == 2  # one row, as told and in the table


class Failing(MadeUp):
    """What has two slots fails on held-out data."""

    def __init__(self, loss: Any) -> None:
        super().__init__({"quadratic": loss})

    def submit(self, key: int, request: dict[str, Any], limit: float) -> None:
        super().submit(key, request, limit)
        answer = self._done[-1].answer
        if request["split"] == HELDOUT and slots_of(request) == 2:
            answer["outcome"] = "diverged"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lion"], "there is nothing to compare; name two programs or more"),
        (["lion", "adamw", "--objective", "speed"], "must be one of equal-memory, loss"),
        (["lion", "lyon"], "lyon"),
        (["lion", "adamw", "--rung", "x7"], "--rung is 'x7'; it must be one of x1, x10, x100"),
        (["lion", "--sweep", "depth"], "--sweep is 'depth'; it must be one of"),
    ],
)
def test_bad_input(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
