"""What a worker proposes: children that step otherwise than their parent, but not quite."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from fakes import config, stretches
from hypothesis import given
from hypothesis import strategies as st

from evolve.search.config import RANDOM, Config
from evolve.search.mutation import CONSTANTS, mutate
from evolve.search.proposal import ALIKE, NO_DIFFERENCE, UNLIKE, Proposer
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text, to_text
from primitives.zoo import NAMES, zoo

BOTH = stretches(0, 1)
DEFAULT = Config(start=to_text(zoo("adamw")))


def propose(
    parent: Program, seed: int, constants: bool = False, of: Config = DEFAULT
) -> list[dict[str, Any]]:
    return Proposer(of, BOTH).propose(to_text(parent), constants, seed)


def angle(child: str, parent: Program) -> float:
    """The smallest cosine between their updates, by another road."""
    pairs = [(s.updates(from_text(child)), s.updates(parent)) for s in BOTH]
    with np.errstate(all="ignore"):
        return float(np.min([np.corrcoef(np.r_[u, -u], np.r_[v, -v])[0, 1] for u, v in pairs]))


@pytest.mark.parametrize("name", NAMES)
def test_promising_children_step_otherwise_but_not_quite(name: str) -> None:
    parent, promising = zoo(name), 0
    for seed in range(25):
        for place, child in enumerate(propose(parent, seed)):
            inside = UNLIKE < angle(child["program"], parent) < ALIKE
            keeps_less = child["slots"] < len(analyse(parent).slots)
            assert child["promising"] or not place  # only the first is taken as it comes
            if child["promising"]:
                assert inside or child["alike"] or keeps_less
            promising += child["promising"]
    assert promising > 5


@given(name=st.sampled_from(NAMES), seed=st.integers(0, 10**6), constants=st.booleans())
def test_children_are_told_as_analysis_finds_them(name: str, seed: int, constants: bool) -> None:
    children = propose(zoo(name), seed, constants)
    assert children
    for child in children:
        program = from_text(child["program"])
        analysis = analyse(program)
        assert child["functional_hash"] == analysis.functional_hash
        assert child["structure"] == analysis.structure
        assert child["statements"] == len(program.statements)
        assert child["live"] == analysis.statements
        assert child["slots"] == len(analysis.slots)
        assert analysis.learns and child["rejected"] >= 0 and child["passed"] >= 0
    assert len({child["functional_hash"] for child in children}) == len(children)
    assert children == propose(zoo(name), seed, constants)  # nothing but these decides


def test_a_first_child_that_computes_what_its_parent_does_is_proposed_alone() -> None:
    """Its result is known, so nothing is gained by looking for others."""
    parent, alone = zoo("adamw"), 0
    for seed in range(60):
        first, *others = propose(parent, seed)
        if first["functional_hash"] == analyse(parent).functional_hash:
            assert not others
            alone += 1
    assert 2 < alone < 55


def test_without_a_probe_children_are_taken_as_they_come() -> None:
    plain = Config(start=DEFAULT.start, probe=False)
    for seed in range(20):
        first = propose(zoo("adamw"), seed, of=plain)[0]
        drawn = mutate(zoo("adamw"), Random(seed), on_edges=plain.on_edges)
        assert first["program"] == to_text(drawn.program)


def test_other_constants_change_the_steps() -> None:
    parent = zoo("adamw")
    for seed in range(40):
        (child,) = propose(parent, seed, constants=True)
        assert child["structure"] == analyse(parent).structure and child["promising"]
        assert child["mutation"] == CONSTANTS
        program = from_text(child["program"])
        moved = [
            np.linalg.norm(s.updates(program) - s.updates(parent))
            / np.linalg.norm(s.updates(parent))
            for s in BOTH
        ]
        assert max(moved) > NO_DIFFERENCE


@pytest.mark.parametrize(
    "body",
    ["update = sign(g)", "x = exp(0.5)\n    update = sign(g)"],
    ids=["no constant", "a dead one"],
)
def test_a_parent_without_constants_that_count_gets_another_structure(body: str) -> None:
    parent = from_text(f"def train(w, g, lr):\n    {body}\n    return update\n")
    for seed in range(10):
        assert all(c["mutation"] != CONSTANTS for c in propose(parent, seed, constants=True))


@pytest.mark.parametrize("method", ["evolution", RANDOM])
def test_functions_can_be_left_out(method: str) -> None:
    without = ("sign", "abs", "interp")
    of = config(without=without, method=method, on_edges=0.5)
    for seed in range(60):
        for child in propose(zoo("momentum"), seed, of=of):
            text = child["program"] if method == RANDOM else child["detail"]
            if child["mutation"] in ("insert", RANDOM):
                assert not any(f"{name}(" in text for name in without)


def test_random_search_takes_nothing_from_the_parent_but_its_slots() -> None:
    found = {
        name: [
            c["program"]
            for seed in range(5)
            for c in propose(zoo(name), seed, of=config(method=RANDOM))
        ]
        for name in ("lion", "signum")
    }
    assert found["lion"] == found["signum"]


# -- as it is trained --------------------------------------------------------------------


def test_children_get_steps_as_large_as_their_parents_and_no_idle_statements() -> None:
    parent = zoo("adamw")
    size = [np.linalg.norm(s.updates(parent)) for s in BOTH]
    of = Proposer(config(probe=True), BOTH)
    changed = 0
    for seed in range(120):
        for child in of.propose(to_text(parent), False, seed):
            if not child["promising"] or child["alike"]:
                continue
            program = from_text(child["program"])
            apart = [
                np.log2(np.linalg.norm(s.updates(program)) / one)
                for s, one in zip(BOTH, size, strict=True)
            ]
            assert abs(np.mean(apart)) < 0.6
            assert analyse(program).functional_hash == child["functional_hash"]
            changed += "steps times" in child["detail"] or "without" in child["detail"]
    assert changed > 5


def test_statements_that_a_sign_makes_idle_go() -> None:
    text = """def train(w, g, m, lr):
        m = interp(g, m, 0.9)
        root = cbrt(m)
        update = root * lr
        return update, m
    """
    of = Proposer(config(probe=True, on_edges=1.0), BOTH)
    found = [
        child
        for seed in range(3000)
        for child in of.propose(text, False, seed)
        if child["promising"] and "sign(root)" in child["detail"]
    ]
    assert found and all("without root = cbrt(m)" in child["detail"] for child in found)
