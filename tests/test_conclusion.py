"""The last words of a run: right, and in plain words, whatever it came to."""

from typing import Any

import pytest

from evolve.library.conclusion import conclusion
from primitives.text import to_text
from primitives.zoo import zoo


def compared(mean: float, error: float = 0.004, wins: int = 28) -> dict[str, Any]:
    return {"mean": mean, "error": error, "p": 0.00012, "pairs": 32, "wins": wins}


def summary(**changes: Any) -> dict[str, Any]:
    """A run that ended with Signum."""
    identity = {"family": "signum", "extra": [], "nearest": "signum", "parameters": {}}
    champion = {"id": 7, "live_program": to_text(zoo("signum")), "simplified": None, "chain": None}
    champion["is_start"] = False
    return {
        "run": "runs/1",
        "provenance": {"config": {"tasks": ["digits"]}},
        "seconds": 300.0,
        "generated": 1234,
        "evaluated": 567,
        "baseline": {"id": 3, "live_program": to_text(zoo("adamw"))},
        "champion": {**champion, "identity": identity},
        "heldout": [
            {"task": "digits", "rung": "x1", "comparison": compared(0.031)},
            {"task": "digits", "rung": "x10", "comparison": compared(0.01)},
        ],
        "discovery": True,
        "left_out": ["the larger rung; outside the budget: evolve funnel runs/1"],
        **changes,
    }


def words(**changes: Any) -> str:
    return "\n".join(conclusion(summary(**changes), "adamw"))


def test_what_was_found_how_good_it_is_and_what_to_type() -> None:
    text = words()
    assert "In 5m 00s 1,234 programs were generated and 567 of them trained." in text
    assert "The best of them, #7, is signum: " in text
    assert (
        "From step to step it remembers 1 array for each array of weights; adamw 2 arrays." in text
    )
    assert (
        "On held-out data of digits it gains 3.1% ± 0.4% more from training than tuned adamw\n"
        "(32 fresh seeds, better on 28, p = 0.0001)." in text
    )
    assert (
        "On held-out data of digits, with 10 times the compute, it gains 1.0% ± 0.4% more" in text
    )
    assert "Left for later: the larger rung; outside the budget: evolve funnel runs/1" in text
    assert "    update = sign(" in text
    commands = [line for line in text.splitlines() if line.startswith("  evolve ")]
    assert [line.split()[1] for line in commands] == ["inspect", "resume", "export"]


@pytest.mark.parametrize(
    ("mean", "said"),
    [
        (-0.02, "it gains 2.0% ± 0.4% less from training than tuned adamw"),
        (0.003, "it is level with adamw, all of whose constants are tuned: +0.3% ± 0.4%"),
    ],
)
def test_a_champion_that_is_not_better_is_said_to_be_none(mean: float, said: str) -> None:
    text = words(heldout=[{"task": "digits", "rung": "x1", "comparison": compared(mean)}])
    assert said in text and "more from training" not in text


def test_no_name_no_result_and_no_discovery() -> None:
    nameless = summary()["champion"] | {
        "identity": {"family": None, "extra": [], "nearest": "lion", "parameters": {}}
    }
    assert "#7, is no known optimizer (the most similar one is lion)" in words(champion=nameless)
    assert "not a discovery" in words(discovery=False)
    assert "was not measured yet" in words(heldout=None)
    failed = {"task": "digits", "rung": "x1", "comparison": None}
    one = words(heldout=[failed | {"baseline": [], "champion": [0.25, 0.75]}])
    assert "a training of the tuned start failed; the mean loss of the champion is 0.5" in one
    both = words(heldout=[failed | {"baseline": [], "champion": []}])
    assert "a training of the tuned start and of the champion failed." in both
    same = summary()["baseline"] | {"identity": None, "is_start": True}
    assert "No program was found that trains better than adamw" in words(champion=same)
    assert "there is no result" in words(champion=None, baseline=None)


def test_what_to_type_next_can_be_typed() -> None:
    """Nothing to export where nothing was found, and a task without a name is given in Python."""
    text = words(champion=None, baseline=None)
    assert "it needs more time" in text and "evolve export" not in text
    own = {"provenance": {"config": {"tasks": ["given:train"]}}}
    assert "evolve.open('runs/1').resume('30m')" in words(**own)
