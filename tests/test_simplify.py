"""Simplification: the proven part on real programs, the ablations on made-up trainings."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from fakes import stretch, stretches
from hypothesis import given, settings
from made_up import Loss, MadeUp, entrant, lions, needs, tournament
from strategies import examples, programs
from test_algebra import program, replay

from evolve.cli import main
from evolve.command import simplify as command
from evolve.judge.tournament import SEEDS
from evolve.judge.trials import Interval, Trials
from evolve.library.trials import config_of, judges
from evolve.search.config import Config
from evolve.search.log import RunLog
from evolve.search.probe import resemblance
from evolve.understand import chain as chain_module
from evolve.understand import evidence, stream
from evolve.understand.ablation import ALIKE, Ablation, core, removals, round_constants
from evolve.understand.algebraic import Found, as_json, found_by_child, from_json, steps
from evolve.understand.chain import exact_steps, proven_steps
from evolve.understand.identify import identified
from evolve.understand.simplify import Chain, prove, simplify
from primitives.abstract import analyse, live_program
from primitives.program import Program
from primitives.text import from_text, to_text
from primitives.values import values_of
from primitives.zoo import zoo

#: Generations in each round.
ROUNDS = (1, 2)
SCHEMAS = Path(__file__).parent.parent / "evolve" / "schemas"


def size_of(program: Program) -> float:
    """The root mean square of its updates."""
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.mean(replay(program) ** 2)))


def sized(of: Program, best: float = 1e-3) -> float:
    """A loss for which the size of the update matters, besides signs and memory."""
    size = size_of(of)
    away = abs(np.log10(size / best)) if 0 < size < np.inf else 9.0
    return needs(sign=0.3, memory=0.3)(of) + 0.3 * min(away, 4.0) ** 2


@cache
def found_here(text: str) -> list[Found]:
    return [from_json(as_json(found)) for found in steps(from_text(text))]


@pytest.fixture
def algebra_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The algebra in this process, once for each program, where it is known to come to an end."""
    monkeypatch.setattr(chain_module, "found_by_child", lambda of, _: found_here(to_text(of)))


def ablated(of: Program, loss: Loss, noise: float = 0.002) -> Chain:
    return simplify(of, tournament(MadeUp(loss, noise)), ROUNDS)


@pytest.mark.usefixtures("algebra_here")
def test_what_is_worth_nothing_goes_and_what_is_worth_something_stays() -> None:
    chain = ablated(zoo("paper-program-8"), needs(sign=0.3, memory=0.3, clip=0.1))
    functions = [s.function for s in chain.simplified.statements]
    assert "arcsin" not in functions
    assert {"sign", "clip"} <= set(functions)
    assert len(analyse(chain.simplified).slots) == 1
    kept = {entry["statement"].split()[0] for entry in chain.kept}
    assert "clip" in kept
    assert chain.steps[0].before == zoo("paper-program-8")
    for before, after in zip(chain.steps, chain.steps[1:], strict=False):
        assert before.after == after.before
    for step in chain.steps:
        if step.kind == "ablation" and "removed" in step.how:
            # Within an error of the best, so no more than a few behind what it comes from.
            loss = step.evidence["loss_of_quality"]
            assert loss["mean"] <= 3 * loss["error"] and loss["pairs"] >= 16


@pytest.mark.usefixtures("algebra_here")
@pytest.mark.parametrize(
    ("name", "decay"),
    [("paper-program-8", 0.0), ("paper-program-8", 0.1), ("paper-program-4", 0.0)],
)
def test_the_papers_winners_arrive_at_lion(name: str, decay: float) -> None:
    """Clip and arcsin go, as they are worth nothing; the decay stays or goes as measured."""
    simplified = ablated(zoo(name), lions(decay)).simplified
    functions = [s.function for s in simplified.statements]
    assert (functions.count("interp"), functions.count("sign")) == (2, 1)
    assert {"interp", "sign"} <= set(functions) <= {"interp", "sign", "multiply", "add"}
    assert len(analyse(simplified).slots) == len(simplified.slots) == 1
    found = identified(simplified)
    assert (found.family, found.exact) == ("lion", True)
    assert ("weight_decay" in found.parameters) == bool(decay)


@pytest.mark.usefixtures("algebra_here")
@pytest.mark.parametrize("worth", [0.0, 0.1])
@pytest.mark.parametrize(("name", "function"), [("5", "sin"), ("6", "minimum")])
def test_only_ablation_removes_what_is_live_across_steps(
    name: str, function: str, worth: float
) -> None:
    proven = prove(zoo(f"paper-program-{name}")).simplified

    def caps(of: Program) -> bool:
        """Whether a slot ends with the function."""
        analysis = analyse(of)
        return any(analysis.nodes[end].function == function for _, end in analysis.slots)

    assert caps(proven)

    def loss(of: Program) -> float:
        averages = [s for s in of.statements if s.function == "interp"]
        needed = needs(memory=0.3, divide=0.3)(of) + 0.3 * (len(averages) < 2)
        return needed + worth * (not caps(of))

    chain = ablated(proven, loss)
    assert caps(chain.simplified) == bool(worth)
    gone = [step for step in chain.steps if caps(step.before) and not caps(step.after)]
    assert [step.kind for step in gone] == ["ablation"] * (not worth)


@pytest.mark.parametrize(("worth", "stays"), [(0.0002, False), (0.03, True)])
def test_a_loss_within_the_error_may_be_lost(worth: float, stays: bool) -> None:
    of = program("m", "g = clip(g, 1.0)", "m = interp(g, m, 0.9)", "update = sign(m)")
    chain = ablated(of, needs(sign=0.3, memory=0.3, clip=worth), noise=0.01)
    functions = {s.function for s in chain.simplified.statements}
    assert ("clip" in functions) == stays
    assert any("clip" in entry["statement"] for entry in chain.kept) == stays


@pytest.mark.usefixtures("algebra_here")
@pytest.mark.parametrize("better", [0.0, 0.05])
def test_what_is_left_of_the_best_may_win_over_the_simplest(better: float) -> None:
    """The best has an ornament; a rule that is simpler with it is level, and hides what is left."""
    average = ("x = interp(g, m, 0.9)", "m = interp(g, m, 0.99)")
    best = entrant(program("m", *average, "x = tanh(x)", "x = sin(x)", "update = sign(x)"))
    rival = entrant(program("m", "m = interp(g, m, 0.9)", "x = cbrt(m)", "update = exp(x)"))

    def loss(of: Program) -> float:
        functions = [s.function for s in of.statements]
        if not analyse(of).trees:
            return 1.3
        if {"cbrt", "exp"} <= set(functions):
            return 1.0008
        known = functions.count("interp") == 2 and {"sign", "tanh"} <= set(functions)
        return 1.0 - better * ("sin" not in functions) if known else 1.3

    ablation = Ablation(tournament(MadeUp(loss)), ROUNDS, "a")
    found = ablation.tournament.play([best, rival], ROUNDS)
    ablation.tournament.score(found)
    winner = ablation.reduce(found)
    assert ("sign" in to_text(winner.program)) == bool(better)
    if better:
        assert "sin" not in to_text(winner.program) and winner.origin["how"].startswith("sin")
    assert all(entry["statement"] for entry in ablation.kept)


@pytest.mark.usefixtures("algebra_here")
def test_each_variant_is_judged_with_steps_as_large_as_before() -> None:
    """Without exp the update is too small: only at another scale is nothing lost."""
    of = program(
        "m",
        "update = interp(g, m, 0.9)",
        "m = interp(g, m, 0.99)",
        "update = sign(update)",
        "s = exp(lr)",
        "update = update * s",
        "update = update * 0.000607",
    )
    pool = MadeUp(sized)
    pool.tasks["a"] = {**pool.tasks["a"], "stretch": stretch()}
    chain = simplify(of, tournament(pool, of), ROUNDS)
    assert "exp" not in [s.function for s in chain.simplified.statements]


@pytest.mark.usefixtures("algebra_here")
@pytest.mark.parametrize("worth", [0.0, 0.1])
def test_a_term_goes_though_a_factor_must_take_its_place(worth: float) -> None:
    """`interp(sign, average, 0.999)` adds a term and sets the scale: one statement for both."""
    of = program(
        "m",
        "x = interp(g, m, 0.9)",
        "m = interp(g, m, 0.99)",
        "update = sign(x)",
        "update = interp(update, x, 0.999)",
    )

    def bare(changed: Program) -> bool:
        """Whether no term is added to a sign."""
        values, _ = values_of(analyse(changed), changed.slots)
        signs = {i for i, v in enumerate(values) if v.function == "sign"}
        return not any(v.function == "interp" and signs & {*v.arguments} for v in values)

    def loss(changed: Program) -> float:
        size = sized(changed, size_of(of)) - 1
        return size + lions(0.0)(changed) + (worth - 0.02) * bare(changed)

    pool = MadeUp(loss)
    pool.tasks["a"] = {**pool.tasks["a"], "stretch": stretch()}
    chain = simplify(of, tournament(pool, of), ROUNDS)
    assert bare(chain.simplified) == (not worth)
    if not worth:
        assert len(chain.simplified.statements) == len(of.statements)
        found = identified(chain.simplified)
        assert (found.family, found.exact) == ("lion", True)


def test_the_best_scale_is_found() -> None:
    trials = Trials(MadeUp(sized, noise=0.0))  # type: ignore[arg-type]
    much = program("m", "m = interp(g, m, 0.9)", "update = sign(m)", "update = update * 0.3")
    ((best, level),) = trials.at_best_scale([much])
    assert np.sqrt(np.mean(replay(best) ** 2)) == pytest.approx(1e-3, rel=0.2)
    assert level < trials.choose([much])[0]


@pytest.mark.parametrize("steepness", [0.0, 0.2, 1.0, 10.0])
def test_constants_are_rounded_as_far_as_nothing_is_lost(steepness: float) -> None:
    """Three errors of the seeds at most: where nothing is tuned there is no luck of tunings."""
    of = program("m", "m = interp(g, m, 0.987654)", "update = sign(m)", "update = update * lr")

    def loss(changed: Program) -> float:
        return 1.0 + steepness * abs(changed.constants[0] - 0.987654)

    best = entrant(of)
    best.tuned["a"] = of
    step = Ablation(tournament(MadeUp(loss, noise=0.0005), of), ROUNDS, "a").round(best)
    assert best.tuned["a"] == (of if step is None else step.after)
    assert loss(best.tuned["a"]) - 1 < 3 * 0.0005 * math.sqrt(2 / SEEDS)
    if not steepness:
        assert step is not None and step.before == of
        assert step.after.constants[0] == pytest.approx(0.99, rel=1e-6)


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
    shown = trials.excess(zoo("adamw"), zoo("lion"), 24)
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


@settings(max_examples=examples(15, 500))
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


@pytest.mark.parametrize(
    ("slots", "statements", "expected"),
    [
        ("", ["a = sin(w)", "update = g * lr"], ["multiply"]),
        # A slot that only itself reads, over the step, and one that is read by nothing.
        ("m v", ["m = m + g", "v = sin(v)", "update = interp(g, m, 0.9)"], ["add", "interp"]),
        ("m", ["update = g * lr", "m = m + g"], ["multiply"]),
        ("", ["a = sin(g)", "b = sin(g)", "update = a * b"], ["sin", "multiply"]),
        ("", ["a = 0.1 + 0.2", "a = a * 3.0", "update = g * a"], ["multiply"]),
    ],
)
def test_what_the_exact_stage_leaves(
    slots: str, statements: list[str], expected: list[str]
) -> None:
    of = program(slots, *statements)
    chain = list(exact_steps(of))
    assert chain and {step.kind for step in chain} == {"exact"}
    assert all(step.evidence["holds"] for step in chain)
    lean = chain[-1].after
    assert sorted(s.function for s in lean.statements) == sorted(expected)
    assert len(lean.slots) == len(analyse(lean).slots)
    if "0.1" in statements[0]:
        folded = np.float32(np.float32(0.1) + np.float32(0.2)) * np.float32(3.0)
        assert np.float32(lean.statements[0].arguments[1]) == folded


def test_a_step_that_the_stream_refutes_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    of = program("m", "m = interp(g, m, 0.9)", "update = m * lr")
    shorter = program("", "update = g * lr")
    for kind in ("algebraic", "limit"):
        found = Found(kind, "a mistake", (), shorter, (program("", "update = g * 1.0"),))
        monkeypatch.setattr(chain_module, "found_by_child", lambda *_, found=found: [found])
        assert list(proven_steps(of)) == []


@pytest.mark.parametrize(
    ("statement", "side"),
    [
        ("update = abs(g)", "update = g * 1.0"),
        ("update = maximum(g, 0.0)", "update = g * 1.0"),
        ("update = minimum(g, 0.0)", "update = g * 1.0"),
        ("update = clip(g, 1.0)", "update = g * 1.0"),
    ],
)
def test_the_stream_meets_both_sides_of_a_jump(statement: str, side: str) -> None:
    """Programs that differ on one side only are told from each other."""
    assert not evidence.exact(program("", statement), program("", side))["holds"]
    assert not evidence.algebraic(program("", statement), program("", side))["holds"]


def test_every_sign_of_the_stream_is_met_in_both_directions() -> None:
    for statement in ("update = sign(g)", "update = sign(m)"):
        of = program("m", "m = interp(g, m, 0.9)", statement)
        signs = stream.updates(of, stream.recorded())
        moving = np.any(signs != 0, axis=0)
        assert np.all(np.any(signs == 1, axis=0) == moving)
        assert np.all(np.any(signs == -1, axis=0) == moving)
    norms = [np.sqrt(sum(float((x**2).sum()) for x in g)) for g in stream.recorded().gradients]
    assert min(norms) < 1 / 24 and max(norms) > 1  # clip to the schedule


def test_a_limit_that_excludes_too_much_is_no_limit() -> None:
    """Where the magnitudes are near eps on most elements, what is left shows nothing."""
    small = program("", "g = g * 1e-4", "a = abs(g)", "update = g / a")
    divisor = program("", "update = g * 1e-4")
    shown = evidence.limit(small, program("", "update = sign(g)"), [divisor])
    assert shown["beside_jumps"] == 0 and shown["difference"] <= 0.01 and shown["elements"] > 0
    assert shown["excluded"] > shown["largest_excluded"] and not shown["holds"]
    large = program("", "g = g * 1e6", "a = abs(g)", "update = g / a")
    divisor = program("", "update = g * 1e6")
    shown = evidence.limit(large, program("", "update = sign(g)"), [divisor])
    assert shown["holds"] and shown["excluded"] == 0 and 0 < shown["bound"] < 1e-3


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
    assert re.search(r"error at most \S+e-\d+ where .*; \d+\.\d% excluded \(at most 5%\)", out)
    assert "evidence: updates equal bit for bit" in out and "evidence: updates differ by at" in out
    assert "assuming all values are real numbers" in out
    assert np.char.count(out, "def train") >= 4


@pytest.mark.usefixtures("algebra_here")
def test_a_chain_with_ablations_is_printed_with_its_evidence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made_up = MadeUp(lions(0.0))
    monkeypatch.setattr(command, "trials_pool", lambda *_: nullcontext(made_up))
    given = ["simplify", "lion", "--tasks", "quadratic"]
    made_up.tasks = {"quadratic": made_up.tasks["a"]}
    made_up._losses = {"quadratic": lions(0.0)}
    assert main([*given, "--json"]) == 0
    chain = json.loads(capsys.readouterr().out)
    jsonschema.validate(chain, json.loads((SCHEMAS / "simplify.json").read_text()))
    assert chain["kept"] and chain["tasks"] == ["quadratic"]
    assert {step["kind"] for step in chain["steps"]} <= {"ablation", "tuning"}
    assert main(given) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"ablation: \w+ removed .*\n  evidence: loss of quality .* over \d+ pairs", out
    )
    assert re.search(r"kept, since what is left without is worse(.|\n)*sign removed", out)


def test_trainings_decide(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """On a small task; with few trainings, so that only what is plain is found."""
    monkeypatch.setattr(command, "ROUNDS", (1, 1))
    options = ["--tasks", "quadratic", "--workers", "0", "--continue", "8evals", "--json"]
    assert main(["simplify", "signum", *options]) == 0
    chain = json.loads(capsys.readouterr().out)
    jsonschema.validate(chain, json.loads((SCHEMAS / "simplify.json").read_text()))
    assert chain["tasks"] == ["quadratic"]
    assert any(step["kind"] == "ablation" for step in chain["steps"]) or chain["kept"]


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


@pytest.mark.usefixtures("algebra_here")
def test_evolution_finds_what_no_single_removal_does_and_inserts_nothing() -> None:
    """Either of sin and sinh alone is worse than both, or than neither."""
    of = program(
        "m",
        "a = sin(g)",
        "b = sinh(a)",
        "update = interp(b, m, 0.9)",
        "m = interp(g, m, 0.99)",
        "update = sign(update)",
    )

    def loss(changed: Program) -> float:
        analysis = analyse(changed)
        functions = {analysis.nodes[n].function for n in analysis.live_nodes()}
        return lions(0.0)(changed) + 0.1 * (("sin" in functions) != ("sinh" in functions))

    assert "sin" in to_text(ablated(of, loss).simplified)
    pool = MadeUp(loss)
    chain = simplify(of, tournament(pool), ROUNDS, evaluations=200)
    assert not {"sin", "sinh"} & {s.function for s in chain.simplified.statements}
    (step,) = [step for step in chain.steps if "evolution without insertions" in step.how]
    assert step.kind == "ablation" and step.evidence["loss_of_quality"]["mean"] < 0.01
    baseline = zoo("adamw")
    assert all(len(p.statements) <= len(of.statements) for p in pool.trained if p != baseline)


@settings(max_examples=examples(6, 200))
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


@pytest.mark.parametrize(("objective", "share"), [("equal-memory", 3 / 4), ("loss", 1.0)])
def test_a_runs_program_is_judged_under_the_runs_objective(
    tmp_path: Path, objective: str, share: float
) -> None:
    of = Config(start=to_text(zoo("lion")), objective=objective)
    RunLog.create(tmp_path / "run", {"config": of.to_json(), "provenance": {}}).close()
    pool = MadeUp(needs())
    config = config_of(f"{tmp_path / 'run'}#0")
    judged = judges(pool, ("a",), zoo("adamw"), config)["a"]  # type: ignore[arg-type]
    judged.trials.losses([zoo("adamw")], [0])
    assert [request["share"] for request in pool.asked] == [pytest.approx(share)]
    assert config_of("adamw") == Config()


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


# -- what a program comes down to ----------------------------------------------------


@settings(max_examples=examples(15, 500), deadline=None)
@given(programs())
def test_a_core_is_shorter_and_steps_alike(of: Program) -> None:
    recorded = stretches(0)
    found = core(of, recorded)
    if found != of:
        assert analyse(found).statements < analyse(of).statements
        assert resemblance(found, of, recorded) > ALIKE
    assert not any(resemblance(p, of, recorded) > ALIKE for _, p in removals(found))


@pytest.mark.parametrize(
    "ornament", ["update = arctan(update)", "lr = clip(lr, 0.5)", "v = exp(m)"]
)
@pytest.mark.parametrize("name", ["signum", "lion"])
def test_ornaments_do_not_change_the_core(name: str, ornament: str) -> None:
    lines = to_text(zoo(name)).splitlines()
    place = next(i for i, line in enumerate(lines) if "sign(" in line) + 1
    adorned = from_text("\n".join([*lines[:place], f"    {ornament}", *lines[place:]]) + "\n")
    recorded = stretches(0, 1)
    assert (
        analyse(core(adorned, recorded)).structure == analyse(core(zoo(name), recorded)).structure
    )


def test_rules_that_step_differently_have_cores_of_their_own() -> None:
    names = ("lion", "signum", "adamw", "sgd", "signsgd")
    recorded = stretches(0, 1)
    assert len({analyse(core(zoo(name), recorded)).structure for name in names}) == len(names)


def test_gradients_are_recorded_with_adamw() -> None:
    assert from_text(stream.ADAMW) == zoo("adamw")


@pytest.mark.parametrize("slot", ["x0", "x1", "wd", "m"])
def test_exact_steps_hold_whatever_slots_are_called(slot: str) -> None:
    of = program(
        slot,
        "b = sqrt(g)",
        f"{slot} = interp(b, {slot}, 0.9)",
        "z = sqrt(g)",
        f"c = exp({slot})",
        "d = z * c",
        "e = w * 0.1",
        "d = d + e",
        "update = d * lr",
    )
    (step,) = chain_module.exact_steps(of)
    assert step.evidence["holds"] and len(step.after.statements) == len(of.statements) - 1
