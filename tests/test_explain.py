"""`evolve explain`: kinds, sizes, losses and where the lines came from."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from test_simplify import MadeUp, needs

from evolve.cli import main
from evolve.command.explain import _as_found, _origins
from evolve.judge.trials import Trials
from evolve.programs import load_program
from evolve.search.log import RunLog
from evolve.summary import champion_number
from evolve.understand.explain import _carried, explain, origins
from primitives.text import from_text, statement_text
from primitives.zoo import EXTENDED_NAMES, zoo

SCHEMA = Path(__file__).parent.parent / "evolve" / "schemas" / "explain.json"


def test_kinds_sizes_and_losses() -> None:
    of = zoo("paper-program-8")
    trials = Trials(MadeUp(needs(sign=0.0, memory=0.3, clip=0.1)))  # type: ignore[arg-type]
    lines = explain(of, trials, [None] * len(of.statements))
    by_text = {line.text: line for line in lines}
    clip, dead = by_text["g = clip(g, lr)"], by_text["v968 = sign(v)"]
    assert clip.live and clip.kind == "tree" and 0 < (clip.magnitude or 0) < 1
    assert clip.loss is not None and clip.loss.mean == pytest.approx(0.1, abs=0.02)
    assert not dead.live and dead.loss is None
    assert by_text["lr = lr * 0.00021717617"].kind == "scalar"
    assert by_text["v845 = sqrt(0.62706333)"].magnitude == pytest.approx(0.6270633**0.5)


@pytest.mark.parametrize("name", EXTENDED_NAMES)
def test_every_kind_of_slot_can_be_explained(name: str) -> None:
    of = zoo(name)
    lines = explain(of, None, [None] * len(of.statements))
    assert [line.text for line in lines] == [statement_text(s) for s in of.statements]
    assert all(line.magnitude is not None for line in lines)


def test_a_child_differs_in_one_stretch() -> None:
    parent, child = zoo("adamw"), zoo("lion")
    start = _carried([], parent, "#0: start")
    assert {origin for _, origin in start} == {"#0: start"}
    statements = list(parent.statements)
    inserted = [*statements[:5], child.statements[1], *statements[5:]]
    after = _carried(start, parent.with_statements(inserted), "#1: insert 6")
    assert [o for _, o in after] == ["#0: start"] * 5 + ["#1: insert 6"] + ["#0: start"] * 4
    gone = _carried(after, parent.with_statements(inserted[1:]), "#2: delete 1")
    assert [s for s, _ in gone] == inserted[1:]
    assert [o for _, o in gone].count("#1: insert 6") == 1


def test_the_lines_of_a_runs_program(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = tmp_path / "run"
    config = tmp_path / "small.toml"
    config.write_text("population = 20\ntune_start = false\nclosing_share = 0.0\n")
    options = ["--tasks", "quadratic", "--workers", "0", "--quiet", "--budget", "40evals"]
    assert main(["run", "--out", str(run), "--config", str(config), *options]) == 0
    with RunLog.open(run) as log:
        rows = list(log.records())
    # As it was inserted: its steps were as large as its parent's.
    last = [row for row in rows if row.mutation == "insert" and ";" not in row.detail][-1]
    found = origins(run, last.number)
    assert len(found) == last.statements
    words = [f"#{last.number}: {last.told}"]
    texts = [statement_text(s) for s in from_text(last.program).statements]
    added = last.detail.split(": ", 1)[1].split(", read by ")[0]
    assert texts[found.index(words[0])] == added
    capsys.readouterr()
    arguments = ["explain", f"{run}#{last.number}", "--tasks", "quadratic", "--workers", "0"]
    assert main([*arguments, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    jsonschema.validate(shown, json.loads(SCHEMA.read_text()))
    assert [line["text"] for line in shown["lines"]] == texts
    assert [line["origin"] for line in shown["lines"]] == found
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert "brought by" in table
    assert all(f"{origin.split(':')[0]}: " in table for origin in found if origin)
    with RunLog.open(run) as log:
        champion = champion_number(log)
    assert champion is not None
    assert _as_found(str(run)) == f"{run}#{champion}" and _as_found("sgd") == "sgd"
    as_found = load_program(f"{run}#{champion}")
    assert _origins(f"{run}#{champion}", as_found) == origins(run, champion)
    assert _origins("sgd", zoo("sgd")) == [None] * len(zoo("sgd").statements)
    assert main(["explain", "sgd", "--tasks", "quadratic", "--workers", "0"]) == 0
    out = capsys.readouterr().out
    assert "update = g * lr" in out and "1 is all that training gains" in out
