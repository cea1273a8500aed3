"""What programs are: the paper's facts, both sides of every border, the labeller's truth."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from identify_study import count, verdict
from neighbours import neighbours
from strategies import examples
from test_algebra import program

from evolve.cli import main
from evolve.understand import identify as module
from evolve.understand import naming
from evolve.understand.identify import identified, identify
from evolve.understand.likeness import FAMILIES
from evolve.understand.naming import name
from evolve.understand.signs import SignRule, best_one_beta
from evolve.understand.simplify import prove
from primitives.algebra.reading import G
from primitives.text import from_text, to_text
from primitives.zoo import zoo

SCHEMA = Path(__file__).parent.parent / "evolve" / "schemas" / "identify.json"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_optimizer_of_the_zoo_is_itself(name: str) -> None:
    found = identified(zoo(name))
    family = "signum" if name == "tiger" else name  # Tiger is Signum with decay
    assert (found.family, found.exact, found.nearest, found.distance) == (family, True, family, 0)


@pytest.mark.parametrize("name", ["paper-program-8", "paper-program-4"])
def test_the_raw_winner_is_lion_with_extras(name: str) -> None:
    for of in (zoo(name), prove(zoo(name)).simplified):
        found = identified(of)
        assert (found.family, found.exact) == ("lion", False)
        assert {word.split()[0] for word in found.extra} == {"arcsin", "clip"}
        assert found.agreement is not None and 0.9 < found.agreement < 1
    assert found.parameters["b2"] == pytest.approx(0.998, abs=2e-3)


def test_the_papers_other_programs() -> None:
    one = identified(zoo("paper-program-1"))
    assert (one.family, one.exact, one.extra) == ("lion", True, [])
    assert one.parameters == pytest.approx(
        {"b1": 0.9, "b2": 0.99, "learning_rate": 1e-4, "weight_decay": 0.1}
    )
    six, seven = identified(zoo("paper-program-6")), identified(zoo("paper-program-7"))
    assert (six.family, six.nearest) == (None, "adagrad")
    assert (seven.family, seven.exact, seven.nearest) == ("adabelief", False, "adabelief")
    assert seven.extra == ["decoupled weight decay"]


def lion(first: str, second: str, *more: str) -> list[str]:
    return [f"update = {first}", *more, f"m = {second}", "update = update * lr"]


@pytest.mark.parametrize(
    ("statements", "family"),
    [
        (lion("interp(g, m, 0.9)", "interp(g, m, 0.99)", "update = sign(update)"), "lion"),
        (lion("interp(m, g, 0.2)", "interp(m, g, 0.01)", "update = sign(update)"), "lion"),
        (lion("interp(g, m, 0.9)", "interp(g, m, 0.9)", "update = sign(update)"), "signum"),
        # Two betas whose signs are those of one beta, but for fewer than the stated share.
        (lion("interp(g, m, 0.9)", "interp(g, m, 0.90001)", "update = sign(update)"), "signum"),
        (lion("interp(g, m, 1.1)", "interp(g, m, 0.99)", "update = sign(update)"), None),
        (lion("interp(g, m, 0.9)", "interp(g, m, 1.01)", "update = sign(update)"), None),
        (lion("interp(g, m, 0.9)", "interp(g, m, -0.9)", "update = sign(update)"), None),
        (lion("interp(g, m, 0.9)", "interp(g, m, 0.99)", "update = tanh(update)"), None),
        (
            lion("interp(g, m, 0.9)", "interp(g, m, 0.99)", "x = sign(update)", "update = -2 * x"),
            None,
        ),
        (
            lion(
                "interp(g, m, 0.9)",
                "interp(g, m, 0.99)",
                "x = abs(update)",
                "update = update / x",
            ),
            "lion",
        ),
        (
            lion(
                "interp(g, m, 0.9)",
                "interp(g, m, 0.99)",
                "x = sinh(update)",
                "update = sign(x)",
            ),
            "lion",
        ),
        # Nesterov's step g + 0.9 m, with m = 0.9 m + g: beta1 is beta2 squared.
        (
            ["m = m * 0.9", "m = m + g", "x = m * 0.9", "x = x + g", "update = sign(x)"],
            "lion",
        ),
        # The slot kept at another scale.
        (
            ["x = m * 3.0", "x = g + x", "update = sign(x)", "m = m * 0.98", "m = m + g"],
            "lion",
        ),
        # The average divided by a number, as the search found it.
        (
            ["m = interp(g, m, 0.9)", "x = m / 0.3", "x = x + g", "update = sign(x)"],
            "lion",
        ),
        # Two minus signs.
        (
            [
                "m = interp(g, m, 0.9)",
                "x = m + g",
                "x = negative(x)",
                "x = sign(x)",
                "update = -2.0 * x",
            ],
            "lion",
        ),
        (
            ["m = interp(g, m, 0.9)", "x = m + g", "x = negative(x)", "update = sign(x)"],
            None,
        ),
    ],
)  # fmt: skip
def test_both_sides_of_each_border(statements: list[str], family: str | None) -> None:
    found = identified(program("m", *statements))
    assert found.family == family, found


@pytest.mark.parametrize(
    ("drift", "family"), [("0.08", "lion"), ("-0.08", "lion"), ("1.5", None), ("x", None)]
)
def test_a_constant_drift_is_an_extra(drift: str, family: str | None) -> None:
    statements = ["update = interp(g, m, 0.9)", "m = interp(g, m, 0.99)", "update = sign(update)"]
    found = identified(program("m", *statements, "x = cos(g)", f"update = update + {drift}"))
    assert (found.family, found.exact) == (family, False), found
    if family:
        assert found.extra == [f"a constant drift ({float(drift):+g} of the step)"]


def test_nesterov_sign_has_beta1_equal_to_beta2_squared() -> None:
    found = identified(
        program("m", "m = m * 0.9", "m = m + g", "x = m * 0.9", "x = x + g", "update = sign(x)")
    )
    assert found.parameters["b1"] == pytest.approx(found.parameters["b2"] ** 2, rel=1e-5)


def test_the_share_of_differing_signs_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lion's signs differ from the best one-beta rule's on more than the stated share."""
    share = best_one_beta(SignRule(G, 0.9, 0.99))[1]
    assert module.DIFFERING < share < 0.5
    assert identified(zoo("lion")).family == "lion"
    monkeypatch.setattr(module, "DIFFERING", 1.01 * share)
    assert identified(zoo("lion")).family == "signum"


def test_two_slots_where_one_is_enough() -> None:
    found = identified(
        program(
            "m v",
            "x = v * 0.9",
            "y = g * 0.2",
            "x = x + y",
            "update = sign(x)",
            "v = v * 0.99",
            "y = g * 0.02",
            "v = v + y",
            "m = interp(g, m, 0.99)",
            "z = m * 0.0",
            "update = update + z",
        )
    )
    assert found.family == "lion"


def test_neighbours_against_the_labeller() -> None:
    """A sample; `python tests/identify_study.py` takes 10,000."""
    rates = count(map(verdict, neighbours(examples(120, 5000), 1)))
    assert rates["lion"] >= 3 and rates["other"] >= 20
    assert rates["false_positive_rate"] == 0
    assert rates["false_negative_rate"] <= (0.01 if rates["lion"] > 100 else 0)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The algebra without a child process for each formula, which takes seconds to start."""
    monkeypatch.setattr(naming, "identify", identified)


BLEND = """def train(w, g, m, lr):
    x = interp(g, m, 0.7)
    m = interp(g, m, 0.9)
    update = sign(x)
    update = interp(update, x, 0.99)
    update = lr * update
    return update, m
"""
TERM, SIGN = "update = interp(update, x, 0.99)", "update = sign(x)"


def kept(statement: str, loss: float | None, by: str = "update = update * 0.01") -> dict[str, Any]:
    """A removal that was tried, of a statement of BLEND."""
    shown = None if loss is None else {"mean": loss, "error": 0.001, "pairs": 96}
    bare = BLEND.replace(statement, by)
    return {"statement": statement, "program": bare, "loss_of_quality": shown}


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("tried", "family"),
    [
        ([kept(TERM, 0.006), kept(SIGN, 0.06, "update = x * 1.0")], "lion"),
        # What matters least is not what is left over.
        ([kept(TERM, 0.06), kept("x = interp(g, m, 0.7)", 0.006, "x = cbrt(m)")], None),
        ([kept(TERM, None)], None),
        ([], None),
    ],
)
def test_lion_and_a_statement_that_matters_is_lion_not_exactly(
    tried: list[dict[str, Any]], family: str | None
) -> None:
    found = name(from_text(BLEND), tried)
    assert (found.family, found.exact) == (family, False)
    assert identified(from_text(BLEND)).family is None
    if family is not None:
        assert found.parameters == pytest.approx(
            {"b1": 0.7, "b2": 0.9, "learning_rate": 0.01}, rel=1e-5
        )
        (extra,) = found.extra
        assert "0.0060 ± 0.0010" in extra
        jsonschema.validate(asdict(found), json.loads(SCHEMA.read_text()))


CAPPED = """def train(w, g, m, lr):
    x = interp(g, m, 0.7)
    m = interp(g, m, 0.9)
    update = sign(x)
    lr = clip(0.6, lr)
    lr = lr * 0.01
    update = lr * update
    return update, m
"""


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("tried", "exact"),
    [
        ([("    lr = clip(0.6, lr)\n", "", 0.006)], False),
        # Without its cap it would be Lion, but without its second average it loses less.
        ([("    lr = clip(0.6, lr)\n", "", 0.02), ("(g, m, 0.7)", "(g, m, 0.9)", 0.01)], True),
        # That it follows the schedule is no extra.
        ([("update = lr * update", "update = update * 0.01", 0.006)], True),
        ([], True),
    ],
)
def test_lion_with_a_schedule_that_matters_is_not_exactly_lion(
    tried: list[tuple[str, str, float]], exact: bool
) -> None:
    losses = [{**kept("", loss), "program": CAPPED.replace(old, new)} for old, new, loss in tried]
    found = name(from_text(CAPPED), losses)
    assert (found.family, found.exact) == ("lion", exact)
    assert bool(found.extra) != exact


@pytest.mark.usefixtures("in_this_process")
def test_lion_with_a_decay_that_matters_is_lion() -> None:
    """Decoupled weight decay is a parameter of Lion, not something more."""
    decayed = CAPPED.replace("    lr = clip(0.6, lr)", "    y = w * 0.1\n    update = update + y")
    tried = {**kept("", 0.006), "program": CAPPED.replace("    lr = clip(0.6, lr)\n", "")}
    found = name(from_text(decayed), [tried])
    assert (found.family, found.exact, found.extra) == ("lion", True, [])
    assert found.parameters["weight_decay"] == pytest.approx(0.1)


def test_algebra_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.01)
    found = identify(zoo("lion"))
    assert found.family is None and "took more than" in found.reason


def test_the_command(capsys: pytest.CaptureFixture) -> None:
    assert main(["identify", "lion", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert found["family"] == "lion" and found["exact"]
    assert main(["identify", "paper-program-6"]) == 0
    out = capsys.readouterr().out
    assert "family     none: no formula of the zoo" in out
    assert "nearest    adagrad" in out


#: What is a known optimizer but for a sign, or for what a moving average keeps.
OPPOSITES = {
    "gradient ascent": ("", "lr = lr * -0.1", "update = g * lr"),
    "a momentum that pushes back": ("m", "m = m * 0.9", "m = m - g", "update = m * lr"),
    "a momentum that grows": ("m", "m = m * 1.5", "m = m + g", "update = m * lr"),
    "Adam uphill": (
        "m v",
        "g2 = square(g)",
        "m = interp(g, m, 0.9)",
        "v = interp(g2, v, 0.999)",
        "s = sqrt(v)",
        "update = m / s",
        "lr = lr * -0.001",
        "update = update * lr",
    ),
    "an average that overshoots": (
        "m v",
        "g2 = square(g)",
        "m = interp(g, m, 1.5)",
        "v = interp(g2, v, 0.999)",
        "s = sqrt(v)",
        "update = m / s",
        "update = update * lr",
    ),
    "AdaGrad that forgets what it saw": (
        "v",
        "g2 = square(g)",
        "v = v - g2",
        "s = sqrt(v)",
        "update = g / s",
        "update = update * lr",
    ),
}


@pytest.mark.parametrize("what", OPPOSITES)
def test_an_opposite_has_no_name(what: str) -> None:
    slots, *statements = OPPOSITES[what]
    found = identified(program(slots, *statements))
    assert found.family is None, found


def test_an_average_may_be_written_either_way_round() -> None:
    either = identified(
        program(
            "m v",
            "g2 = square(g)",
            "m = interp(m, g, 0.1)",
            "v = interp(v, g2, 0.001)",
            "s = sqrt(v)",
            "update = m / s",
            "wd = w * 0.01",
            "update = update + wd",
            "lr = lr * 0.001",
            "update = update * lr",
        )
    )
    assert (either.family, either.exact) == ("adamw", True)
    assert either.parameters == pytest.approx(
        {"b1": 0.9, "b2": 0.999, "learning_rate": 0.001, "weight_decay": 0.01}, rel=1e-5
    )
    spelled = identified(
        program(
            "m v",
            "m = m * 0.9",
            "x = g * 0.1",
            "m = m + x",
            "g2 = square(g)",
            "g2 = g2 * 0.001",
            "v = v * 0.999",
            "v = v + g2",
            "s = sqrt(v)",
            "update = m / s",
            "lr = lr * 0.001",
            "update = update * lr",
        )
    )
    assert (spelled.family, spelled.exact, spelled.extra) == ("adam", True, [])


@pytest.mark.parametrize(
    ("decay", "extra"),
    [
        (["wd = w * 0.1", "wd = wd * lr"], []),
        (["wd = w * 0.001"], ["a weight decay that does not follow the learning rate"]),
        (["wd = w * -0.1", "wd = wd * lr"], ["weights that grow"]),
    ],
)
def test_a_decay_of_lion_is_one_only_if_it_follows_the_rate(
    decay: list[str], extra: list[str]
) -> None:
    lines = ["update = interp(g, m, 0.9)", "m = interp(g, m, 0.99)", "update = sign(update)"]
    steps = ["lr = lr * 0.01", "update = update * lr", *decay, "update = update + wd"]
    found = identified(program("m", *lines, *steps))
    assert (found.family, found.exact, found.extra) == ("lion", not extra, extra)


def test_what_cancels_to_another_kind_cannot_be_read() -> None:
    of = program("m", "a = g - g", "a = a + lr", "d = dot(g, a)", "u = g * d", "u = u + m",
                 "m = interp(g, m, 0.9)", "update = sign(u)")  # fmt: skip
    assert identified(of).family is None


def test_lion_with_slots_that_nothing_reads_is_what_is_sought() -> None:
    lion = zoo("lion")
    more = from_text(str(to_text(lion)).replace("(w, g, m, lr)", "(w, g, m, v, lr)").replace(
        "return update, m", "return update, m, v"))  # fmt: skip
    assert naming.is_sought(lion) and naming.is_sought(more) and not naming.is_sought(zoo("signum"))
