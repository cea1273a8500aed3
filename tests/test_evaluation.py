"""Evaluation of one program, in this process: what a worker answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from primitives.text import to_text
from primitives.zoo import zoo
from proxy_tasks.catalog import CATALOG
from proxy_tasks.evaluation import Evaluator, answer
from proxy_tasks.status import DIVERGED, FAILED, FINISHED, NOT_FINITE, OUT_OF_MEMORY, STOPPED

TROUBLE = "tasks_that_fail:trouble"
DESCENT = "def train(w, g, lr):\n    update = g * 0.1\n    return update\n"
PREPARE = {"action": "prepare", "program": DESCENT, "rung": 1, "seeds": [0, 1]}


def setting(value: float) -> str:
    """A program that sets every weight to a value at its first step."""
    return f"def train(w, g, lr):\n    update = w - {value}\n    return update\n"


def evaluate(program: str, **changes: Any) -> dict[str, Any]:
    """A request."""
    fields = {"tasks": [TROUBLE], "rung": 1, "seeds": [0, 1], "split": "validation"}
    return {"action": "evaluate", "program": program, **fields, **changes}


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator()


def test_prepare_describes_the_tasks(evaluator: Evaluator) -> None:
    given = answer(evaluator, {**PREPARE, "tasks": ["quadratic", TROUBLE]})
    assert list(given["tasks"]) == ["quadratic", TROUBLE]
    mine = given["tasks"][TROUBLE]
    assert (mine["weights"], mine["steps"], mine["flops"]) == (3, 8, None)
    assert len(mine["fingerprint"]) == 16
    assert mine["untrained"] == pytest.approx([1.0, 1.0], abs=0.1)
    assert json.loads(json.dumps(given)) == given


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises_in_init", "raised RuntimeError: no such table"),
        ("raises_in_loss", "raised KeyError: 'width'"),
        ("raises_in_splits", "raised FileNotFoundError: data.npz is missing"),
        ("leaves", "raised SystemExit: goodbye"),
        ("nan_at_once", "has the loss nan before training; its loss must be a finite number"),
        ("no_parameters", "a tree needs at least one array; this one has no parameters"),
        ("not_scalar", "raised TypeError: Gradient only defined for scalar-output functions"),
    ],
)
def test_a_task_that_is_bad_from_the_start(evaluator: Evaluator, name: str, message: str) -> None:
    full = f"tasks_that_fail:{name}"
    error = answer(evaluator, {**PREPARE, "tasks": [full]})["error"]
    assert error.startswith(f"the task '{full}' ")
    assert message in error
    assert "\n" not in error


def test_every_task_and_seed_is_trained(evaluator: Evaluator) -> None:
    request = evaluate(DESCENT, tasks=[TROUBLE, "tasks_that_fail:fine"], seeds=[0, 1, 2])
    given = answer(evaluator, request)
    assert (given["outcome"], given["steps"]) == (FINISHED, 2 * 3 * 8)
    assert list(given["losses"]) == request["tasks"]
    for seeds in given["losses"].values():
        assert [len(marks) for marks in seeds] == [2, 2, 2]
        assert all(first > last for first, last in seeds)
    assert given["losses"][TROUBLE] == given["losses"]["tasks_that_fail:fine"]
    assert json.loads(json.dumps(given)) == given


def test_a_share_of_memory_is_a_width(evaluator: Evaluator) -> None:
    shares = [2.0, 1.0, 0.5]
    name = "digits_mlp"
    request = {**PREPARE, "tasks": [name], "seeds": [0], "shares": shares}
    described = answer(evaluator, request)["tasks"][name]
    base = CATALOG[name]
    assert described["widths"] == [base.holding(x * base.weights()).width for x in shares]
    assert described["widths"][1] == base.width and described["weights"] == base.weights()
    trained = {
        share: answer(evaluator, evaluate(DESCENT, tasks=[name], share=share, seeds=[0]))
        for share in shares
    }
    losses = [given["losses"][name][0][-1] for given in trained.values()]
    assert len(set(losses)) == 3
    assert trained[1.0] == answer(evaluator, evaluate(DESCENT, tasks=[name], seeds=[0]))


@pytest.mark.parametrize(
    ("program", "changes", "outcome", "steps", "marks"),
    [
        (setting(10), {}, NOT_FINITE, 2, [[]]),
        (setting(3), {}, DIVERGED, 2, [[]]),
        (DESCENT, {"hurdles": {TROUBLE: [0.5, 9]}}, STOPPED, 2, [[0]]),
        (DESCENT, {"hurdles": {TROUBLE: [9, 0.1]}}, STOPPED, 8, [[0, 0]]),
        (DESCENT, {"hurdles": {TROUBLE: [9, 9]}}, FINISHED, 16, [[0, 0]] * 2),
        (DESCENT, {"hurdles": {}}, FINISHED, 16, [[0, 0]] * 2),
    ],
    ids=["nan", "diverged", "first hurdle", "last hurdle", "below", "no hurdles"],
)
def test_the_first_training_that_stops_ends_the_evaluation(
    evaluator: Evaluator, program: str, changes: dict, outcome: str, steps: int, marks: list
) -> None:
    given = answer(evaluator, evaluate(program, **changes))
    assert (given["outcome"], given["steps"]) == (outcome, steps)
    assert [len(seed) for seed in given["losses"][TROUBLE]] == [len(seed) for seed in marks]


def test_hurdles_are_for_the_first_seed_of_each_task(evaluator: Evaluator) -> None:
    losses = answer(evaluator, evaluate(DESCENT))["losses"][TROUBLE]
    order = [0, 1] if losses[0][0] < losses[1][0] else [1, 0]
    between = (losses[0][0] + losses[1][0]) / 2
    request = evaluate(DESCENT, hurdles={TROUBLE: [between, 9]}, seeds=order)
    assert answer(evaluator, request)["outcome"] == FINISHED
    assert answer(evaluator, {**request, "seeds": order[::-1]})["outcome"] == STOPPED


@pytest.mark.parametrize(
    ("value", "outcome", "detail"),
    [(40, OUT_OF_MEMORY, "MemoryError"), (50, FAILED, "ValueError: out of order")],
)
def test_exceptions_are_outcomes(
    evaluator: Evaluator, value: float, outcome: str, detail: str
) -> None:
    given = answer(evaluator, evaluate(setting(value)))
    assert (given["outcome"], given["losses"], given["steps"]) == (outcome, {}, 0)
    assert detail in given["detail"]
    assert "\n" not in given["detail"]
    assert answer(evaluator, evaluate(DESCENT))["outcome"] == FINISHED


def test_the_heldout_split_of_a_built_in_task(evaluator: Evaluator) -> None:
    program = to_text(zoo("adamw"))
    both = [
        answer(evaluator, evaluate(program, tasks=["quadratic"], split=split))
        for split in ("validation", "heldout")
    ]
    assert both[0]["outcome"] == both[1]["outcome"] == FINISHED
    assert both[0]["losses"] != both[1]["losses"]
