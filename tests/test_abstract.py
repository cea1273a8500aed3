"""Abstract execution: kinds, the functional hash, and what is live."""

import itertools
import math
import os
import subprocess
import sys
from collections import defaultdict
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    LAYOUTS,
    LENGTH,
    REWRITES,
    ROWS,
    bits,
    compiled,
    examples,
    modes,
    programs,
    replay_machine,
    replay_reference,
    seeds,
    tree,
)

from evolve.search.mutation import mutate_constants
from primitives import machine, reference
from primitives.abstract import analyse, live_program
from primitives.functions import BY_NAME, FUNCTIONS, SCALAR, TREE
from primitives.program import Program, ProgramError, Statement
from primitives.text import from_text, to_text
from primitives.zoo import NAMES, zoo


def program(body, slots="m, v"):
    names = f", {slots}" if slots else ""
    lines = "\n ".join(line.strip() for line in body.split(";") if line.strip())
    return from_text(f"def train(w, g{names}, lr):\n {lines}\n return update{names}\n")


def hashed(body, slots="m, v"):
    return analyse(program(body, slots)).functional_hash


def outputs(of, layout, mode, seed, steps=3):
    """The bits of every update of some steps, by the reference and by the machine."""
    weights = tree(layout, mode, seed)
    gradients = [tree(layout, mode, seed + i) for i in range(1, steps + 1)]
    code = machine.assemble(analyse(of), ROWS, LENGTH)
    by_reference = replay_reference(of, weights, gradients, 0.5)
    by_machine = replay_machine(compiled(layout), code, weights, gradients, 0.5)
    return [*map(bits, by_reference), "machine", *map(bits, by_machine)]


layouts = st.sampled_from(LAYOUTS)


# Equal hashes ------------------------------------------------------------------------------


@settings(max_examples=examples(150, 5000))
@given(programs(max_statements=14), st.randoms(use_true_random=False), layouts, seeds, modes)
def test_rewrites_keep_the_hash_and_every_bit(original, random, layout, seed, mode):
    rewritten = original
    for rewrite in REWRITES:
        if random.random() < 0.7:
            rewritten = rewrite(rewritten, random)
    assert analyse(rewritten).functional_hash == analyse(original).functional_hash
    assert outputs(original, layout, mode, seed) == outputs(rewritten, layout, mode, seed)


def every_short_program():
    """All programs of two statements over few functions, then a fixed end."""
    names, numbers = ["w", "g", "m", "a", "lr"], [1.0, 0.0, -0.0]
    functions = ["add", "multiply", "divide", "maximum", "dot", "square", "sign", "norm"]
    calls = []
    for name in functions:
        for arguments in itertools.product([*names, *numbers], repeat=BY_NAME[name].arity):
            calls.append((name, arguments))
    end = [Statement("update", "add", ("a", "b")), Statement("m", "add", ("m", "b"))]
    random = Random(0)
    for first, second in itertools.product(calls, calls):
        if "a" in first[1] or random.random() > 0.03:
            continue
        body = [Statement("a", *first), Statement("b", *second), *end]
        yield Program(tuple(body), ("m",))


def test_programs_with_one_hash_behave_alike():
    """A census: no two short programs share a hash and differ on any tree tried."""
    groups = defaultdict(list)
    for candidate in every_short_program():
        try:
            groups[analyse(candidate).functional_hash].append(candidate)
        except ProgramError:
            continue
    shared = [group for group in groups.values() if len(group) > 1]
    assert len(shared) > 100
    layout = LAYOUTS[0]
    random = Random(1)
    for group in random.sample(shared, examples(60, len(shared))):
        for mode in ("mixed", "special"):
            first, *others = [outputs(p, layout, mode, 11) for p in group[:4]]
            assert all(other == first for other in others), [to_text(p) for p in group]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("update = g + lr", "update = lr + g"),
        ("a = dot(g, w); update = a * g", "b = dot(w, g); update = g * b"),
        ("update = g * 6.0", "a = 2.0 * 3.0; update = g * a"),
        ("update = g * 1e-08", "a = get_eps(); update = g * a"),
        ("m = interp(g, m, 0.9); update = m * lr", "v = interp(g, v, 0.9); update = v * lr"),
        ("update = g + m", "update = g + v"),  # both are zero for ever
        ("m = m + g; v = v * g; update = m + v", "v = v + g; m = m * g; update = m + v"),
        ("a = sin(g); update = a * a", "a = sin(g); b = sin(g); update = a * b"),
        ("update = g * lr", "v = interp(v, g, 0.9); m = exp(v); update = g * lr"),
        ("a = sin(g); b = cos(g); update = a + b", "b = cos(g); a = sin(g); update = a + b"),
        ("a = log(-1.0); update = g * a", "a = 0.0 - 1.0; b = log(a); update = b * g"),
        ("a = arcsin(2.0); update = g * a", "a = arccos(3.0); update = g * a"),  # both NaN
    ],
)
def test_one_behaviour_one_hash(one, other):
    assert hashed(one) == hashed(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("update = g - w", "update = w - g"),
        ("update = g / w", "update = w / g"),
        ("update = maximum(g, w)", "update = maximum(w, g)"),  # 0.0 and -0.0
        ("update = power(g, w)", "update = power(w, g)"),
        ("update = g * 0.0", "update = g * -0.0"),
        ("update = g - g", "update = g * 0.0"),
        ("update = g * 1.0", "update = g / 1.0"),
        ("update = square(g)", "update = g * g"),
        ("a = g + w; update = a + lr", "a = w + lr; update = a + g"),  # not associative
        ("update = interp(g, w, 0.9)", "update = interp(w, g, 0.9)"),
        ("update = g * lr", "update = g * 1.0"),
        ("m = m + g; update = m * g", "m = m + g; update = m * w"),
        ("m = m + g; v = v + w; update = m * v", "m = m + g; v = v + w; update = m * g"),
        ("m = m + g; v = v + w; update = m - v", "m = m + g; v = v + w; update = v - m"),
        ("m = m + g; v = v + w; update = m / v", "m = m + w; v = v + g; update = m / v"),
        ("m = interp(m, g, .9); update = m * lr", "m = interp(w, g, .9); update = m * lr"),
        ("a = norm(g); update = g / a", "a = global_norm(g); update = g / a"),
        # Which slot is read, where both are used alike.
        (
            "a = sin(m); b = cos(v); update = a + b; m = m + g; v = v * g",
            "a = sin(m); b = cos(v); update = a + b; m = v + g; v = v * g",
        ),
        # The state differs, though one step from zero is the same.
        ("update = m + g; m = m + g", "update = m + g; m = g * 1.0"),
    ],
)
def test_two_behaviours_two_hashes(one, other):
    assert hashed(one) != hashed(other)


@pytest.mark.parametrize("name", NAMES)
def test_the_hash_sees_every_live_function_argument_and_constant(name):
    original = zoo(name)
    analysis = analyse(original)
    for i, (statement, live) in enumerate(zip(original.statements, analysis.live, strict=True)):
        for changed in neighbours(statement, original.slots):
            statements = [*original.statements]
            statements[i] = changed
            try:
                found = analyse(original.with_statements(statements))
            except ProgramError:
                continue
            same = found.functional_hash == analysis.functional_hash
            assert same == (not live), (statement, changed)


def neighbours(statement, slots):
    """The same statement with another function or input, or with a constant one bit off."""
    function = BY_NAME[statement.function]
    for other in FUNCTIONS:
        if other.arity == function.arity and other.name != function.name:
            # sign and square of a constant may well give what another function gives.
            if all(isinstance(a, float) for a in statement.arguments):
                continue
            yield Statement(statement.target, other.name, statement.arguments)
    for i, argument in enumerate(statement.arguments):
        if isinstance(argument, float):
            others = [float(np.nextafter(np.float32(argument), np.float32(np.inf)))]
        else:
            others = [other for other in ("w", "g", *slots) if other != argument]
        for other in others:
            arguments = (*statement.arguments[:i], other, *statement.arguments[i + 1 :])
            yield Statement(statement.target, statement.function, arguments)


def test_no_two_programs_of_the_zoo_share_a_hash():
    hashes = {name: analyse(zoo(name)).functional_hash for name in NAMES}
    assert len(set(hashes.values())) == len(NAMES)
    for name, found in hashes.items():
        assert len(found) == 32
        assert analyse(live_program(zoo(name))).functional_hash == found


def test_the_hash_is_the_same_in_every_process():
    script = "from primitives import abstract, zoo;"
    script += "print(abstract.analyse(zoo.zoo('paper-program-8')).functional_hash)"
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {analyse(zoo("paper-program-8")).functional_hash}


def test_many_slots_and_long_chains_are_hashed_in_no_time():
    slots = [f"s{i}" for i in range(12)]
    body = "; ".join(f"{s} = interp({s}, g, 0.5)" for s in slots)
    sums = "; ".join(["update = s0 + g", *[f"update = update + {s}" for s in slots[1:]]])
    analysis = analyse(program(f"{body}; {sums}", ", ".join(slots)))
    assert len(analysis.slots) == 12
    chain = "; ".join(["update = sin(g)", *["update = sin(update)"] * 5000])
    assert analyse(program(chain)).statements == 5001


# Liveness ----------------------------------------------------------------------------------


@settings(max_examples=examples(80, 3000))
@given(programs(), layouts, seeds, modes)
def test_removing_dead_statements_changes_no_update_over_20_steps(original, layout, seed, mode):
    lean = live_program(original)
    assert analyse(lean).live == (True,) * len(lean.statements)
    assert analyse(lean).functional_hash == analyse(original).functional_hash
    assert outputs(original, layout, mode, seed, 20) == outputs(lean, layout, mode, seed, 20)


@settings(max_examples=examples(60, 2000))
@given(programs(), seeds)
def test_slots_judged_dead_may_hold_anything(original, seed):
    """Overwriting a dead slot before each step changes no update."""
    alive = {original.slots[position] for position, _ in analyse(original).slots}
    written = {s.target for s in original.statements}
    layout = LAYOUTS[0]
    weights = tree(layout, "normal", seed)
    clean = spoiled = reference.zero_slots(original, weights)
    for step in range(3):
        gradient = tree(layout, "normal", seed + step)
        for slot in original.slots:
            if slot in written and slot not in alive:
                spoiled = spoiled | {slot: tree(layout, "mixed", seed + step)}
        update, clean = reference.run_step(original, weights, gradient, clean, 0.5)
        other, spoiled = reference.run_step(original, weights, gradient, spoiled, 0.5)
        assert bits(update) == bits(other)


def live_lines(of):
    live = analyse(of).live
    return [s.target + " = " + s.function for s, a in zip(of.statements, live, strict=True) if a]


def live_slots(of):
    return [of.slots[position] for position, _ in analyse(of).slots]


def test_program_8_of_the_paper():
    raw = zoo("paper-program-8")
    analysis = analyse(raw)
    assert len(raw.statements) == 21
    assert analysis.statements == 12
    assert live_slots(raw) == ["v"]
    dead = [s for s, a in zip(raw.statements, analysis.live, strict=True) if not a]
    assert [s.function for s in dead] == [
        *("clip", "sqrt", "sign", "subtract", "tanh", "square", "cosh", "tan", "cos")
    ]
    assert dead[0].target == "m", "m = clip(m, lr) is overwritten before it is read"


def test_program_4_of_the_paper():
    cleaned = zoo("paper-program-4")
    assert live_slots(cleaned) == ["v"]
    assert analyse(cleaned).statements == 11
    assert "m = cosh" not in live_lines(cleaned)


def test_programs_5_to_7_of_the_paper():
    assert "v = sin" in live_lines(zoo("paper-program-5"))
    assert "v = minimum" in live_lines(zoo("paper-program-6"))
    assert "v70 = get_pi" in live_lines(zoo("paper-program-6"))
    for number, count in ((5, 12), (6, 11), (7, 10)):
        assert analyse(zoo(f"paper-program-{number}")).statements == count
        assert live_slots(zoo(f"paper-program-{number}")) == ["m", "v"]


def test_the_start_program_and_lion_are_live_throughout():
    for name, slots in (("adamw", ["m", "v"]), ("lion", ["m"]), ("amsgrad", ["m", "v", "u"])):
        assert all(analyse(zoo(name)).live)
        assert live_slots(zoo(name)) == slots


@pytest.mark.parametrize(
    ("body", "slots", "statements"),
    [
        ("update = g * lr", [], 1),
        ("m = interp(m, g, 0.9); update = g * lr", [], 1),  # only its own next value reads m
        ("update = m * lr; m = v * 1.0; v = g * 1.0", ["m", "v"], 3),  # v is read through m
        ("m = g * 1.0; update = m * lr", [], 2),  # overwritten before it is read
        ("update = m * lr", [], 1),  # never written: zero for ever
        ("a = m * 0.0; update = g * lr; m = m + g", [], 1),  # read by a dead statement only
        ("update = g * 1.0; update = w * 1.0", [], 1),
        ("m = m + v; v = v + m; update = g * lr", [], 1),  # two that feed only each other
    ],
)
def test_liveness_across_steps(body, slots, statements):
    of = program(body)
    assert live_slots(of) == slots
    assert analyse(of).statements == statements


def test_a_dead_slot_used_as_a_scalar_gets_another_name_without_its_last_write():
    of = program("m = dot(g, g); m_2 = m * lr; update = g * m_2; m = m * w; v = norm(w); v = v * w")
    assert to_text(live_program(of)) == to_text(
        program("m_3 = dot(g, g); m_2 = m_3 * lr; update = g * m_2")
    )
    assert analyse(live_program(of)).functional_hash == analyse(of).functional_hash
    assert "m = interp(g, v, 0.9)" in to_text(live_program(zoo("paper-program-8")))


def test_learns_tells_whether_the_gradient_matters():
    assert analyse(program("update = g * lr")).learns
    assert analyse(program("update = m * lr; m = g * 1.0")).learns
    assert not analyse(program("update = w * lr")).learns
    assert not analyse(program("a = g * lr; update = w * lr; m = m + g")).learns


# Kinds and bad programs ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("update = g * x", "statement 1 ('update = ...'): 'x' is used before it is assigned"),
        ("x = g * lr; update = g * nan", "statement 2 ('update = ...'): 'nan' is used before"),
        ("update = interp(g, m, v)", "'interp' does not take (tree, tree, tree)"),
        ("a = norm(g); update = interp(g, m, a)", "'interp' does not take (tree, tree, per_array)"),
        ("update = clip(g, w)", "'clip' does not take (tree, tree)"),
        ("a = dot(g, lr); update = g * a", "'dot' does not take (tree, scalar)"),
        ("a = norm(g); b = dot(a, g); update = g * b", "'dot' does not take (per_array, tree)"),
        ("m = m * lr", "'update' is never assigned; a program must compute it"),
        ("", "'update' is never assigned"),
        ("update = lr * 2.0", "'update' is a scalar at return; it must be a tree like the weights"),
        ("update = norm(g)", "'update' is a per_array at return"),
        ("m = dot(g, g); update = g * m", "'m' is a scalar at return"),
        ("v = norm(v); update = g * v", "'v' is a per_array at return"),
    ],
)
def test_bad_programs(body, message):
    with pytest.raises(ProgramError) as error:
        analyse(program(body))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_variable_may_change_its_kind():
    assert analyse(program("g = norm(g); lr = w * lr; w = g + lr; update = w * 1.0")).learns
    of = program("m = dot(g, g); m = g * m; update = m * lr")
    assert analyse(of).nodes[analyse(of).update].kind == TREE


@pytest.mark.parametrize("name", [f.name for f in FUNCTIONS])
def test_kinds_follow_the_table(name):
    variables = {"scalar": "lr", "per_array": "p", "tree": "g"}
    function = BY_NAME[name]
    for kinds in itertools.product(variables, repeat=function.arity):
        names = tuple(variables[kind] for kind in kinds)
        statements = (
            Statement("p", "norm", ("g",)),
            Statement("r", name, names),
            Statement("update", "multiply", ("g", "r")),
        )
        of = Program(statements, ())
        if kinds in function.signatures:
            found = {n.kind for n in analyse(of).nodes if n.function == name}
            assert not function.arity or function.signatures[kinds] in found
        else:
            with pytest.raises(ProgramError, match=f"'{name}' does not take"):
                analyse(of)


def test_constants_fold_in_float32():
    def folded(expression):
        analysis = analyse(program(f"a = {expression}; update = g * a"))
        (node,) = [n for n in analysis.nodes if n.function == "constant" and n.kind == SCALAR][-1:]
        return np.uint32(node.arguments[0]).view(np.float32)

    assert folded("0.1 + 0.2") == np.float32(0.1) + np.float32(0.2)
    assert folded("3e38 * 10.0") == np.inf
    assert np.isnan(folded("arcsin(2.0)"))
    assert folded("get_pi()") == np.float32(math.pi)
    assert folded("clip(3.0, 1.0)") == 1
    assert folded("norm(-3.0)") == 3
    assert np.signbit(folded("negative(0.0)"))


# Structure ----------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_structure_of_a_program_has_no_constants(name):
    of, rng = zoo(name), Random(name)
    constants = [a for s in of.statements for a in s.arguments if not isinstance(a, str)]
    if constants and len(set(constants)) == len(constants):  # equal ones are one node
        tuned = mutate_constants(of, rng).analysis
        assert tuned.structure == analyse(of).structure
        assert tuned.functional_hash != analyse(of).functional_hash
    dead = Statement("unheard_of", "cosh", ("g",))
    for place in range(len(of.statements)):
        statements = [*of.statements[:place], dead, *of.statements[place:]]
        assert analyse(of.with_statements(statements)).structure == analyse(of).structure


def test_other_programs_have_other_structures():
    structures = [analyse(zoo(name)).structure for name in ("adamw", "lion", "signum", "sgd")]
    assert len(set(structures)) == 4
