"""Simplification: the proven part on real programs, the ablations on made-up trainings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from strategies import examples, programs
from test_algebra import program, replay

from evolve.cli import main
from evolve.search.pool import Finished
from evolve.understand import evidence
from evolve.understand.ablation import Ablation, removals, round_constants
from evolve.understand.algebraic import found_by_child
from evolve.understand.chain import exact_steps, proven_steps
from evolve.understand.simplify import prove, simplify
from evolve.understand.trials import Interval, Trials
from primitives.abstract import analyse, live_program
from primitives.program import Program
from primitives.text import from_text
from primitives.zoo import zoo

SCHEMAS = Path(__file__).parent.parent / "evolve" / "schemas"


class MadeUp:
    """A pool whose losses follow from what a program has: no training."""

    def __init__(self, loss: Callable[[Program], float], noise: float = 0.002) -> None:
        self.tasks: dict[str, Any] = {"a": {"untrained": [2.0]}}
        self._loss, self._noise = loss, noise
        self._done: list[Finished] = []

    def submit(self, key: int, request: dict[str, Any], limit: float) -> None:
        (seed,) = request["seeds"]
        of = from_text(request["program"])
        luck = Random(f"{seed}").gauss(0, 0.05) + Random(f"{seed}{of}").gauss(0, self._noise)
        value = self._loss(of) + luck
        answer = {"outcome": "finished", "losses": {"a": [[value, value]]}, "steps": 1}
        self._done.append(Finished(key, answer, 0.0))

    def next(self, seconds: float) -> Finished | None:
        return self._done.pop() if self._done else None


def needs(**worth: float) -> Callable[[Program], float]:
    """A loss that is higher by so much when a function, or every slot, is missing."""

    def loss(of: Program) -> float:
        analysis = analyse(of)
        present = {s.function for s in of.statements} | ({"memory"} if analysis.slots else set())
        return 1.0 + sum(value for name, value in worth.items() if name not in present)

    return loss


def ablated(of: Program, loss: Callable[[Program], float]) -> Any:
    return simplify(of, Ablation(Trials(MadeUp(loss))))  # type: ignore[arg-type]


def test_what_is_worth_nothing_goes_and_what_is_worth_something_stays() -> None:
    chain = ablated(zoo("paper-program-8"), needs(sign=0.3, memory=0.3, clip=0.1))
    functions = [s.function for s in chain.simplified.statements]
    assert "arcsin" not in functions
    assert {"sign", "clip"} <= set(functions)
    assert len(analyse(chain.simplified).slots) == 1
    assert chain.control["control"] == "the memory removed"
    assert chain.control["loss_of_quality"]["low"] > 0
    kept = {entry["statement"].split()[0] for entry in chain.kept}
    assert "clip" in kept
    for before, after in zip(chain.steps, chain.steps[1:], strict=False):
        assert before.after == after.before
    for step in chain.steps:
        if step.kind == "ablation" and "removed" in step.how:
            assert step.evidence["loss_of_quality"]["high"] <= step.evidence["margin"]


def test_without_a_control_nothing_is_ablated() -> None:
    """If not even the mutilated program is found worse, the test shows nothing."""
    chain = ablated(zoo("paper-program-8"), needs())
    assert chain.control is None
    assert all("removed" not in s.how or s.kind == "exact" for s in chain.steps)


def test_noise_that_hides_a_loss_keeps_the_statement() -> None:
    trials = Trials(MadeUp(needs(sign=0.3, clip=0.004), noise=0.05))  # type: ignore[arg-type]
    step, kept = Ablation(trials).removal(live_program(zoo("paper-program-8")))
    assert kept and (step is None or "clip" not in step.how)


def test_removals_are_shorter_valid_and_learn() -> None:
    of = live_program(zoo("paper-program-8"))
    found = list(removals(of))
    assert len({analyse(p).functional_hash for _, p in found}) == len(found) > 5
    assert all(analyse(p).learns for _, p in found)
    assert any("clip removed" in how for how, _ in found)


def test_constants_near_one_are_rounded_by_their_distance_from_it() -> None:
    rounded = round_constants(zoo("paper-program-8"), 1)
    constants = [a for s in rounded.statements for a in s.arguments if isinstance(a, float)]
    assert constants == pytest.approx([0.6, 0.9, 1.0, 2e-4, 0.5, 1.0], rel=1e-6)


def test_a_difference_lies_in_its_interval() -> None:
    trials = Trials(MadeUp(needs(sign=0.25)))  # type: ignore[arg-type]
    shown = trials.compare(zoo("adamw"), zoo("lion"), 24)
    assert isinstance(shown, Interval) and shown.low < shown.mean < shown.high
    assert shown.mean == pytest.approx(0.25, abs=0.03)  # of a gain near 1


# -- the proven part -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["paper-program-8", "paper-program-4"])
def test_the_papers_winner_comes_to_the_sign_of_an_average(name: str) -> None:
    chain = prove(zoo(name))
    functions = [s.function for s in chain.simplified.statements]
    assert sorted(functions) == sorted(
        ["clip", "arcsin", "interp", "interp", "sign", "multiply", "add", "multiply", "multiply"]
    )
    assert chain.simplified.slots == ("m",)
    assert [step.kind for step in chain.steps][-2:] == ["algebraic", "limit"]
    limit = chain.steps[-1].evidence
    assert 0 < limit["excluded"] <= limit["largest_excluded"]
    assert all(step.evidence["holds"] for step in chain.steps)


@settings(deadline=None, max_examples=examples(15, 500))
@given(programs())
def test_exact_steps_change_no_bit(of: Program) -> None:
    for step in exact_steps(of):
        assert step.evidence["holds"]
        assert len(step.after.statements) <= len(step.before.statements)


def test_evidence_sees_a_difference() -> None:
    lion = zoo("lion")
    other = program(
        "m",
        "update = interp(g, m, 0.9)",
        "update = sign(update)",
        "m = interp(g, m, 0.98)",
        "lr = lr * 0.0001",
        "update = update * lr",
    )
    assert not evidence.exact(lion, other)["holds"]
    assert not evidence.algebraic(lion, other)["holds"]
    assert evidence.algebraic(lion, lion) == {
        "holds": True,
        "difference": 0.0,
        "beside_jumps": 0.0,
        "elements": 231360,
    }
    tiny = program("", "g = g * 1e-6", "a = abs(g)", "update = g / a")
    sign = program("", "update = sign(g)")
    assert not evidence.limit(tiny, sign, [program("", "update = g * 1e-6")])["holds"]


def test_nothing_proven_of_adamw() -> None:
    assert list(proven_steps(zoo("adamw"))) == []


# -- the command ---------------------------------------------------------------------


def test_the_chain_as_json(capsys: pytest.CaptureFixture) -> None:
    assert main(["simplify", "paper-program-8", "--proven", "--json"]) == 0
    chain = json.loads(capsys.readouterr().out)
    jsonschema.validate(chain, json.loads((SCHEMAS / "simplify.json").read_text()))
    assert chain["steps"][0]["kind"] == "exact"


def test_the_chain_as_text(capsys: pytest.CaptureFixture) -> None:
    assert main(["simplify", "paper-program-4", "--proven"]) == 0
    out = capsys.readouterr().out
    assert "limit: x / (|x| + eps) becomes sign(x)" in out
    assert "assuming all values are real numbers" in out
    assert np.char.count(out, "def train") >= 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["adamw", "--continue", "30m"], "--continue is '30m'; it must be a number of evaluations"),
        (["adamw", "--tasks", "text"], "text"),
        (["lionn"], "did you mean 'lion'?"),
    ],
)
def test_bad_input(arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["simplify", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_evolution_goes_on_where_single_removals_end() -> None:
    """Insertions are off; what it finds is shown to be shorter or better."""
    loss = needs(sign=0.3, memory=0.3, clip=0.1)
    chain = simplify(zoo("paper-program-4"), Ablation(Trials(MadeUp(loss))), evaluations=24)  # type: ignore[arg-type]
    plain = ablated(zoo("paper-program-4"), loss)
    assert len(chain.simplified.statements) <= len(plain.simplified.statements)
    assert {"sign", "clip"} <= {s.function for s in chain.simplified.statements}


@settings(deadline=None, max_examples=examples(6, 200))
@given(programs())
def test_proven_steps_of_random_programs_do_the_same_on_other_data(of: Program) -> None:
    """The evidence is from one stream; here are other weights and gradients."""
    for step in proven_steps(of):
        one, other = replay(step.before), replay(step.after)
        with np.errstate(all="ignore"):
            both = np.isfinite(one) & np.isfinite(other)
            size = np.abs(one[both]).max(initial=1e-30)
            apart = np.abs(one[both] - other[both]) > 1e-2 * size
        assert not both.any() or apart.mean() < 0.05


def test_what_was_found_before_the_algebra_ended_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    code = "import sys; print('not a step', end=''); sys.exit('sympy broke')"
    command = [sys.executable, "-c", code]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _, **options: run(command, **options))
    assert found_by_child(zoo("adamw"), 5.0) == []
    assert "the algebra ended early (sympy broke)" in capsys.readouterr().err
    command[2] = "import time; time.sleep(60)"
    assert found_by_child(zoo("adamw"), 0.2) == []
    assert "the algebra was ended after 0.2 s" in capsys.readouterr().err
