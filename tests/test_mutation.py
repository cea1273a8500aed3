"""The three mutations: what they may do, what they must do in the end, and how often."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable
from itertools import combinations
from random import Random

import pytest

from evolve.search import mutation
from evolve.search.mutation import child_rng, mutate, mutate_constants
from primitives.abstract import analyse
from primitives.functions import BY_NAME, FUNCTIONS, PER_ARRAY, SCALAR, TREE
from primitives.kinds import kinds_before
from primitives.program import UPDATE, Program, ProgramError, Statement
from primitives.text import from_text, to_text
from primitives.zoo import zoo

ADAMW = zoo("adamw")
SIGN = from_text("def train(w, g, lr):\n    update = sign(g)\n    return update\n")
SCALED = from_text("def train(w, g, lr):\n    update = g * 0.5\n    return update\n")


def is_eventually(
    draw: Callable[[Random], Hashable], allowed: set, required: set, draws: int = 3000
) -> None:
    """Draws are always among `allowed`, and each of `required` comes up (as in AutoML-Zero)."""
    missing = set(required)
    for seed in range(draws):
        outcome = draw(Random(seed))
        assert outcome in allowed, outcome
        missing.discard(outcome)
    assert not missing


def assert_uniform(counts: Counter, outcomes: int) -> None:
    """A chi-square test with a fixed seed: 5 standard deviations."""
    draws = sum(counts.values())
    expected = draws / outcomes
    assert len(counts) <= outcomes
    statistic = sum((n - expected) ** 2 / expected for n in counts.values())
    statistic += (outcomes - len(counts)) * expected
    freedom = outcomes - 1
    assert abs(statistic - freedom) < 5 * math.sqrt(2 * freedom), counts


def grown(statements: int) -> Program:
    """A descendant of AdamW with so many statements."""
    program, rng = ADAMW, Random(1)
    while len(program.statements) < statements:
        child = mutate(program, rng).program
        program = max(program, child, key=lambda p: len(p.statements))
    return program


LONG = grown(40)


def test_delete_removes_each_statement() -> None:
    program = ADAMW.statements
    results = {program[:i] + program[i + 1 :] for i in range(len(program))}

    def draw(rng: Random) -> tuple[Statement, ...]:
        edit = mutation.delete(ADAMW, rng)
        assert edit is not None
        return edit[0].statements

    is_eventually(draw, results, results, 300)


def test_there_is_nothing_to_delete_or_change_in_an_empty_program() -> None:
    empty = Program((), ("m",))
    assert mutation.delete(empty, Random(0)) is None
    assert mutation.change(empty, Random(0)) is None


def test_insert_keeps_the_rest_and_comes_to_every_place() -> None:
    def draw(rng: Random) -> int:
        child, _, words, _ = mutation.insert(ADAMW, rng)
        place = int(words.split(":")[0]) - 1
        left = child.statements[:place] + child.statements[place + 1 :]
        assert left == ADAMW.statements
        assert len(child.statements) == len(ADAMW.statements) + 1
        return place

    places = set(range(len(ADAMW.statements) + 1))
    is_eventually(draw, places, places)
    assert_uniform(Counter(draw(Random(seed)) for seed in range(3000)), len(places))


def test_insert_targets_are_fresh_or_of_the_kind_that_results() -> None:
    def draw(rng: Random) -> tuple[str, str]:
        child, _, words, _ = mutation.insert(LONG, rng)
        place = int(words.split(":")[0]) - 1
        kinds = kinds_before(LONG, place)
        after = kinds_before(child, place + 1)
        target = child.statements[place].target
        taken = {s.target for s in LONG.statements} | set(LONG.inputs())
        if target in kinds:
            assert after[target] == kinds[target]
            return "old", after[target]
        assert target not in taken
        return "fresh", after[target]

    outcomes = {(age, kind) for age in ("old", "fresh") for kind in (SCALAR, PER_ARRAY, TREE)}
    is_eventually(draw, outcomes, outcomes - {("old", PER_ARRAY)}, 2000)


def test_insert_targets_are_drawn_uniformly() -> None:
    counts = Counter()
    for seed in range(20_000):
        child, _, words, _ = mutation.insert(SIGN, Random(seed))
        added = child.statements[1]
        if words.startswith("2: ") and added.function == "exp" and added.arguments == ("w",):
            counts[added.target] += 1
    assert set(counts) == {"w", "g", "update", "x0"}
    assert_uniform(counts, 4)


def test_an_insertion_on_an_edge_is_read_there_and_nowhere_else() -> None:
    reads = [
        (i, j)
        for i, statement in enumerate(ADAMW.statements)
        for j, argument in enumerate(statement.arguments)
        if isinstance(argument, str)
    ]

    def draw(rng: Random) -> tuple[int, int] | None:
        edit = mutation.insert_on_edge(ADAMW, rng)
        if edit is None:  # a function without arguments
            return None
        child, _, words, _ = edit
        place = int(words.split(":")[0]) - 1
        added, reader = child.statements[place : place + 2]
        old = ADAMW.statements[place]
        assert child.statements[:place] == ADAMW.statements[:place]
        assert child.statements[place + 2 :] == ADAMW.statements[place + 1 :]
        assert (reader.target, reader.function) == (old.target, old.function)
        assert added.target not in ADAMW.inputs() | {s.target: "" for s in ADAMW.statements}
        pairs = zip(old.arguments, reader.arguments, strict=True)
        (position,) = [j for j, (before, after) in enumerate(pairs) if before != after]
        assert reader.arguments[position] == added.target
        assert old.arguments[position] in added.arguments
        return place, position

    is_eventually(draw, {*reads, None}, {*reads, None})


PARTLY_DEAD = from_text(
    """def train(w, g, m, v, lr):
        x0 = exp(g)
        m = interp(g, m, 0.9)
        v = cos(x0)
        update = m * lr
        x1 = tanh(update)
        return update, m, v
    """
)


def test_insertions_on_edges_count() -> None:
    """They are read by live statements, and read what live statements assigned."""
    assert analyse(PARTLY_DEAD).live == (False, True, False, True, False)

    def draw(rng: Random) -> str | None:
        edit = mutation.insert_on_edge(PARTLY_DEAD, rng)
        if edit is None:
            return None
        place = int(edit.detail.split(":")[0]) - 1
        added, reader = edit[0].statements[place : place + 2]
        assert {"x0", "v"}.isdisjoint(added.arguments) or place == 1
        assert "x0" not in added.arguments
        return reader.target

    is_eventually(draw, {"m", "update", None}, {"m", "update", None}, 400)


def test_insertions_on_edges_draw_statements_as_well_as_functions() -> None:
    """Of the 44 functions one has three arguments, but most statements are its."""
    drawn = [mutation.insert_on_edge(ADAMW, Random(seed)) for seed in range(4000)]
    texts = [edit.detail for edit in drawn if edit is not None]
    share = sum("interp(" in text for text in texts) / len(texts)
    names = len(kinds_before(ADAMW, len(ADAMW.statements)))
    of_statements = names**2 / (names**2 + 10 * names + 30)
    assert 0.25 * of_statements < share < 0.75 * of_statements


def test_a_deletion_on_an_edge_undoes_an_insertion_on_it() -> None:
    undone = 0
    for seed in range(40):
        edit = mutation.insert_on_edge(ADAMW, Random(seed))
        if edit is None:
            continue
        again = [mutation.delete_on_edge(edit[0], Random(s)) for s in range(400)]
        children = {e[0].statements for e in again if e is not None}
        assert ADAMW.statements in children
        undone += 1
    assert undone > 20


def test_a_deletion_on_an_edge_deletes_what_nothing_else_reads() -> None:
    """`m` is kept: the next step reads it."""
    parent = from_text(
        """def train(w, g, m, lr):
            m = interp(g, m, 0.9)
            x0 = sign(m)
            update = x0 * lr
            return update, m
        """
    )
    found = {
        (str(len(edit.program.statements)), edit.detail.partition(": ")[2])
        for edit in (mutation.delete_on_edge(parent, Random(seed)) for seed in range(200))
        if edit is not None
    }
    assert found == {
        ("3", "m = interp(g, m, 0.9), read by x0"),
        ("2", "x0 = sign(m), read by update"),
    }
    assert mutation.delete_on_edge(SIGN, Random(0)) is None


def test_a_share_of_the_deletions_is_made_on_edges() -> None:
    for share in (0.0, 0.5, 1.0):
        mutants = [mutate(LONG, Random(seed), on_edges=share) for seed in range(300)]
        deleted = [m.detail for m in mutants if m.mutation == "delete"]
        on_edges = sum(", read by " in w for w in deleted) / len(deleted)
        assert (on_edges == share) if share != 0.5 else 0.1 < on_edges < 0.9


def test_a_share_of_the_insertions_is_made_on_edges() -> None:
    for share in (0.0, 0.5, 1.0):
        mutants = [mutate(ADAMW, Random(seed), on_edges=share) for seed in range(900)]
        inserted = [m.detail for m in mutants if m.mutation == "insert"]
        on_edges = sum(", read by " in w for w in inserted) / len(inserted)
        assert abs(on_edges - share) < 0.15 and (on_edges == share or share == 0.5)


@pytest.mark.parametrize("program", [ADAMW, LONG], ids=["adamw", "long"])
def test_insert_draws_functions_uniformly(program: Program) -> None:
    counts = Counter()
    for seed in range(10_000):
        child, _, words, _ = mutation.insert(program, Random(seed))
        counts[child.statements[int(words.split(":")[0]) - 1].function] += 1
    assert_uniform(counts, len(FUNCTIONS))


@pytest.mark.parametrize("name", ["interp", "dot", "clip", "add", "norm", "get_pi"])
def test_arguments_are_drawn_uniformly_from_the_valid_tuples(name: str) -> None:
    function = BY_NAME[name]
    kinds = {"w": TREE, "g": TREE, "n": PER_ARRAY, "lr": SCALAR}
    counts = Counter()
    for seed in range(6000):
        arguments, kind = mutation.draw_arguments(function, kinds, Random(seed))
        names = tuple(a if isinstance(a, str) else "constant" for a in arguments)
        assert kind == function.signatures[tuple(kinds.get(n, SCALAR) for n in names)]
        counts[names] += 1
    of_kind = Counter([*kinds.values(), SCALAR])  # a constant is one more scalar
    tuples = sum(math.prod(of_kind[k] for k in s) for s in function.signatures)
    assert tuples == 1 or len(counts) == tuples
    if tuples > 1:
        assert_uniform(counts, tuples)


def test_change_replaces_one_argument_by_another_variable_or_a_constant() -> None:
    def draw(rng: Random) -> tuple:
        edit = mutation.change(SCALED, rng)
        if edit is None:
            return ("nothing",)
        (statement,) = edit[0].statements
        assert (statement.target, statement.function) == ("update", "multiply")
        first, second = statement.arguments
        if second == 0.5:
            return "variable", first if isinstance(first, str) else "constant"
        assert first == "g" and isinstance(second, float)
        return ("scaled",)

    allowed = {("variable", name) for name in ("w", "lr", "constant")} | {("scaled",)}
    is_eventually(draw, allowed, allowed)


def test_change_never_replaces_a_variable_by_itself() -> None:
    for seed in range(500):
        edit = mutation.change(ADAMW, Random(seed))
        assert edit is None or edit[0] != ADAMW


def test_new_constants_are_standard_normal() -> None:
    drawn = [mutation._draw_argument([], Random(seed)) for seed in range(4000)]
    values = [value for value in drawn if isinstance(value, float)]
    assert len(values) == len(drawn)
    mean = sum(values) / len(values)
    variance = sum(v * v for v in values) / len(values)
    assert abs(mean) < 5 / math.sqrt(len(values))
    assert abs(variance - 1) < 5 * math.sqrt(2 / len(values))


def test_constants_are_multiplied_by_two_to_a_standard_normal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mutation, "FINELY", 0.0)
    exponents = []
    for seed in range(4000):
        (statement,) = mutate_constants(SCALED, Random(seed)).program.statements
        factor = float(statement.arguments[1]) / 0.5
        assert factor > 0  # the sign never changes
        exponents.append(math.log2(factor))
    mean = sum(exponents) / len(exponents)
    variance = sum(e * e for e in exponents) / len(exponents)
    assert abs(mean) < 5 / math.sqrt(len(exponents))
    assert abs(variance - 1) < 5 * math.sqrt(2 / len(exponents))


def test_fine_changes_of_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of their size, or of their distance from 1, by a smaller factor."""
    monkeypatch.setattr(mutation, "FINELY", 1.0)
    changes = []
    for seed in range(3000):
        (statement,) = mutate_constants(SCALED, Random(seed)).program.statements
        value = float(statement.arguments[1])
        changes.append(math.log2(value / 0.5) if value > 0 else -math.inf)
    # 0.5 lies as far from 1 as from 0: the two are mirror images of each other.
    up, down = (sum(sign * c > 0.1 for c in changes) for sign in (1, -1))
    assert abs(up - down) < 5 * math.sqrt(up + down)
    inside = sum(abs(c) < mutation.FINE for c in changes) / len(changes)
    assert 0.6 < inside < 0.75


def test_mutate_constants_touches_constants_and_nothing_else() -> None:
    def shape(program: Program) -> list[tuple]:
        return [
            (s.target, s.function, *(a if isinstance(a, str) else "#" for a in s.arguments))
            for s in program.statements
        ]

    def draw(rng: Random) -> tuple[int, ...]:
        child = mutate_constants(ADAMW, rng).program
        assert shape(child) == shape(ADAMW)
        pairs = zip(ADAMW.statements, child.statements, strict=True)
        return tuple(i for i, (one, other) in enumerate(pairs) if one != other)

    with_constants = [
        i
        for i, s in enumerate(ADAMW.statements)
        if any(not isinstance(a, str) for a in s.arguments)
    ]
    subsets = {
        subset
        for count in range(1, len(with_constants) + 1)
        for subset in combinations(with_constants, count)
    }
    is_eventually(draw, subsets, subsets, 600)


def test_how_many_constants_change_is_geometric() -> None:
    draws = [mutate_constants(ADAMW, Random(seed)).detail for seed in range(2000)]
    counts = Counter(len(detail.split("; ")) for detail in draws)
    assert 0.45 < counts[1] / len(draws) < 0.55
    assert 0.2 < counts[2] / len(draws) < 0.3


def test_a_constant_that_would_overflow_is_drawn_again() -> None:
    text = "def train(w, g, lr):\n    update = g * 3e38\n    return update\n"
    mutants = [mutate_constants(from_text(text), Random(seed)) for seed in range(50)]
    assert all(math.isfinite(float(m.program.statements[0].arguments[1])) for m in mutants)
    assert sum(m.rejected for m in mutants) > 10


def test_mutate_constants_needs_a_constant() -> None:
    with pytest.raises(ProgramError, match="the program has no constant to tune"):
        mutate_constants(SIGN, Random(0))


def test_the_three_mutations_are_drawn_a_third_each(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()
    for name in ("insert", "delete", "change"):
        edit = getattr(mutation, name)

        def counted(*given, edit=edit, name=name):  # type: ignore[no-untyped-def]
            counts[name] += 1
            return edit(*given)

        monkeypatch.setattr(mutation, name, counted)
    for seed in range(2000):
        mutate(ADAMW, child_rng(seed, 0))
    assert_uniform(counts, 3)


@pytest.mark.parametrize(
    ("program", "kinds"),
    [
        (ADAMW, {"insert", "delete", "change"}),
        (LONG, {"insert", "delete", "change"}),
        (SCALED, {"insert", "change"}),
        (SIGN, {"insert"}),
    ],
    ids=["adamw", "long", "scaled", "sign"],
)
def test_children_are_valid_and_their_words_tell_what_was_done(
    program: Program, kinds: set[str]
) -> None:
    def draw(rng: Random) -> str:
        mutant = mutate(program, rng)
        assert mutant.analysis.learns
        again = analyse(mutant.program)
        assert again.functional_hash == mutant.analysis.functional_hash
        assert from_text(to_text(mutant.program)) == mutant.program
        kind, (place, _, statement) = mutant.mutation, mutant.detail.partition(": ")
        changed = program if kind == "delete" else mutant.program
        assert statement in to_text(changed).splitlines()[int(place)]
        grown_by = len(mutant.program.statements) - len(program.statements)
        assert grown_by == {"insert": 1, "delete": -1, "change": 0}[kind]
        return kind

    is_eventually(draw, kinds, kinds, 400)


def test_a_child_is_a_function_of_seed_and_number() -> None:
    def child(seed: int, number: int) -> str:
        return to_text(mutate(ADAMW, child_rng(seed, number)).program)

    children = {(s, n): child(s, n) for s in range(10) for n in range(10)}
    Random(0).random()  # other sources of randomness do not matter
    assert all(child(*place) == text for place, text in reversed(children.items()))
    assert len(set(children.values())) > 60
    # Seed and number are not added: no run repeats a part of another.
    assert [children[0, n + 1] for n in range(9)] != [children[1, n] for n in range(9)]


# -- random programs ------------------------------------------------------------------


@pytest.mark.parametrize("slots", [(), ("m",), ("m", "v")])
def test_random_programs_are_valid_and_learn(slots: tuple[str, ...]) -> None:
    lengths, functions = Counter[int](), Counter[str]()
    for seed in range(400):
        mutant = mutation.random_program(slots, Random(seed))
        program = mutant.program
        assert from_text(to_text(program)) == program
        assert program.slots == slots and program.statements[-1].target == UPDATE
        assert mutant.analysis == analyse(program) and mutant.analysis.learns
        assert mutant.rejected >= 0 and mutant.mutation == "random"
        lengths[len(program.statements)] += 1
        functions.update(statement.function for statement in program.statements)
    assert set(lengths) == set(range(1, mutation.LONGEST + 1))
    assert set(functions) == {function.name for function in FUNCTIONS}


def test_a_random_program_keeps_to_the_functions_given() -> None:
    few = [f for f in FUNCTIONS if f.name in ("add", "multiply", "sign")]
    drawn = [mutation.random_program(("m",), Random(seed), few).program for seed in range(50)]
    assert {s.function for p in drawn for s in p.statements} == {f.name for f in few}
