"""The register machine against the reference interpreter, statement by statement."""

import numpy as np
import pytest
from hypothesis import assume, currently_in_test_context, event, example, given, settings
from hypothesis import strategies as st
from strategies import (
    LAYOUTS,
    LENGTH,
    ROWS,
    PerArray,
    compiled,
    examples,
    modes,
    paper_signatures,
    programs,
    replay_machine,
    replay_reference,
    seeds,
    tree,
    values,
    wide_program,
)

from primitives import machine, reference
from primitives.abstract import analyse
from primitives.functions import BY_NAME, FUNCTIONS, SCALAR
from primitives.layout import Layout
from primitives.program import GRADIENT, RATE, WEIGHTS, Program, Statement
from primitives.reference import Tree
from primitives.text import from_text
from primitives.zoo import NAMES, zoo

UNIT = 2.0**-23
TINY, HUGE = 2.0**-126, float(np.finfo(np.float32).max)
#: Reductions leave numbers whose squares come near the ends of float32 uncompared.
SAFE = 1e-30, 1e37


# The comparison ---------------------------------------------------------------------------


def flushed(value):
    """Subnormal numbers count as zero."""
    if isinstance(value, Tree):
        return type(value)([flushed(leaf) for leaf in value.leaves])
    value = np.asarray(value, np.float32)
    return np.where(np.abs(value) < TINY, np.copysign(np.float32(0), value), value)[()]


def classes(x):
    """0 for a number, 1 and -1 for infinities, 2 for NaN."""
    return np.where(np.isnan(x), 2, np.where(np.isinf(x), np.sign(x), 0))


def exact(value):
    return np.concatenate([np.ravel(x) for x in leaves(value)]).astype(np.float64)


def leaves(value):
    return value.leaves if isinstance(value, Tree) else [value]


def skip(what):
    """Count what is left uncompared (shown by --hypothesis-show-statistics)."""
    if currently_in_test_context():
        event(what)


def within(got, want, scale, floor, edge):
    """Equal classes and `|got - want| <= scale`; at the edge of overflow the class is free."""
    got, want = np.float64(got), np.float64(want)
    same = classes(got) == classes(want)
    near = np.abs(got - want) <= scale + floor
    numbers = (classes(got) == 0) & same
    return np.all(np.where(numbers, near, same) | edge)


def leafwise_agrees(function, operands, got):
    """Every element of a function without reductions."""
    want = reference.apply(function.name, *operands)
    for i, (result, expected) in enumerate(zip(leaves(got), leaves(want), strict=True)):
        x = [np.float64(leaves(o)[i] if isinstance(o, Tree) else o) for o in operands]
        size, overflow = np.abs(np.float64(expected)), False
        if function.name in ("add", "subtract"):
            size = np.abs(x[0]) + np.abs(x[1])
        if function.name == "interp":
            terms = [np.abs((1 - x[2]) * x[0]), np.abs(x[2] * x[1])]
            size = terms[0] + terms[1]
            # Such a term may not overflow in a fused multiply and add.
            overflow = sum(np.isfinite(t) & (t >= HUGE * (1 - 1e-6)) for t in terms) > 0
        scale = function.tolerance * UNIT * size
        # A number beside an infinity is right only if it is itself about to overflow.
        nearly = HUGE * (1 - 2 * (function.tolerance + 1) * UNIT)
        number = np.minimum(np.abs(np.float64(result)), np.abs(np.float64(expected)))
        if not within(result, expected, scale, 4 * TINY, (number >= nearly) | overflow):
            return False
    return True


def reduction_agrees(function, operands, got):
    """A function with reductions; sums are held to the sum of the magnitudes."""
    want = reference.apply(function.name, *operands)
    units = function.tolerance * UNIT
    if function.name == "norm":
        groups = [np.ravel(leaf) for leaf in leaves(operands[0])]
        return all(
            norm_agrees(result, expected, np.float64(group), units)
            for result, expected, group in zip(leaves(got), leaves(want), groups, strict=True)
        )
    x, y = exact(operands[0]), exact(operands[-1])
    if function.name == "global_norm":
        return norm_agrees(got, want, x, units)
    if function.name == "clip":
        square = (x * x).sum()
        if square and 0 < abs(float(operands[1])) / np.sqrt(square) < TINY:
            skip("clip by a subnormal factor")
            return True
        if np.isfinite(square) and (0 < square < SAFE[0] or square > SAFE[1]):
            skip("clip near the ends of float32")
            return True
        return within(exact(got), exact(want), units * np.abs(exact(want)), 4 * TINY, False)
    terms = np.abs(x * y)
    finite = np.where(np.isfinite(terms), terms, 0)
    if finite.sum() > HUGE * (1 - 1e-6):
        skip("dot that overflows")  # and then the order of the terms decides
        return True
    floor = 4 * len(x) * TINY
    if function.name == "cosine_similarity":
        squares = [(v[np.isfinite(v)] ** 2).sum() for v in (x, y)]
        if any(0 < s < SAFE[0] or s > SAFE[1] for s in (*squares, np.prod(squares))):
            skip("cosine near the ends of float32")
            return True
        norms = np.sqrt(np.prod(squares))
        finite, floor = finite / max(norms, SAFE[0]), floor / max(norms, SAFE[0])
    return within(got, want, units * finite.sum(), floor, False)


def norm_agrees(got, want, x, units):
    """A norm, compared in the square, where the machine sees subnormals as zero."""
    square = (x * x).sum()
    if not np.isfinite(square):
        return bool(classes(got) == classes(want))
    slack = units * square + 4 * len(x) * TINY
    if abs(square - HUGE) < 1e-5 * HUGE:
        return bool(got >= np.sqrt(HUGE) * (1 - 1e-5))
    if square > HUGE:
        return bool(got == want == np.inf)
    low, high = np.sqrt(max(square - slack, 0)), np.sqrt(square + slack)
    return bool(low <= got <= high) and bool(low <= want * (1 + UNIT) and want <= high)


def agrees(function, operands, got):
    operands = [flushed(o) for o in operands]
    compare = reduction_agrees if function.reduces else leafwise_agrees
    with np.errstate(all="ignore"):
        return compare(function, operands, got)


def uniform(row, kind, layout):
    """A per-array value's row holds one number per array."""
    if kind == SCALAR:
        return True
    repeated = np.repeat(row[layout.starts], layout.places)
    return kind == "tree" or np.array_equal(row, repeated, equal_nan=True)


def check_statements(layout, program, seed, mode, capacity=(ROWS, LENGTH)):
    """Run a step one instruction at a time: allocation and every result are checked."""
    analysis = analyse(program)
    code = machine.assemble(analysis, *capacity)
    of = compiled(layout)
    registers = of.start(code, tree(layout, mode, seed))
    registers[machine.GRADIENT_ROW] = of.flatten(tree(layout, mode, seed + 1))
    registers[machine.RATE_ROW] = values(mode, 1, seed + 9)
    for i in range(code.slots):
        state = tree(layout, mode, seed + 2 + i)
        registers[machine.FIRST_SLOT_ROW + i] = of.flatten(state)
    held = inputs(analysis, registers, layout)
    computed = [n for n in analysis.live_nodes() if analysis.nodes[n].function in BY_NAME]
    for instruction in code.instructions[: code.length]:
        branch = machine.BRANCHES[instruction[0]]
        result = of.instruct(registers, instruction)
        if branch[0] == "copy":
            assert same(result, registers[instruction[1]])
        else:
            index = computed.pop(0)
            node = analysis.nodes[index]
            function = BY_NAME[node.function]
            kinds = [analysis.nodes[a].kind for a in node.arguments]
            rows = [registers[r] for r in instruction[1 : 1 + function.arity]]
            for row, argument in zip(rows, node.arguments, strict=True):
                assert same(row, held[argument]), "an operand was overwritten before its last use"
            assert branch == machine.branch_of(function, tuple(kinds))
            assert uniform(result, node.kind, layout), (node.function, result)
            operands = [of.value(r, k) for r, k in zip(rows, kinds, strict=True)]
            got = of.value(result, node.kind)
            assert agrees(function, operands, got), (
                node.function,
                [leaves(o) for o in operands],
                leaves(got),
                leaves(reference.apply(node.function, *[flushed(o) for o in operands])),
            )
            held[index] = result
        registers[instruction[4]] = result
    assert not computed
    assert same(registers[int(code.update)], held[analysis.update])
    for i, (_, node) in enumerate(analysis.slots):
        assert same(registers[machine.FIRST_SLOT_ROW + i], held[node])
    for i, constant in enumerate(code.constants):
        if constant != 0:
            assert same(registers[i, 0], constant), "a constant is lost"
    return registers, code


def inputs(analysis, registers, layout):
    """What the nodes that are not computed hold."""
    rows = {WEIGHTS: machine.WEIGHTS_ROW, GRADIENT: machine.GRADIENT_ROW, RATE: machine.RATE_ROW}
    rank = {position: i for i, (position, _) in enumerate(analysis.slots)}
    held = {}
    for index in analysis.live_nodes():
        node = analysis.nodes[index]
        if node.function in rows:
            held[index] = registers[rows[node.function]].copy()
        elif node.function == "slot":
            held[index] = registers[machine.FIRST_SLOT_ROW + rank[node.arguments[0]]].copy()
        elif node.function == "zero":
            held[index] = np.zeros(layout.size, np.float32)
        elif node.function == "constant":
            value = np.uint32(node.arguments[0]).view(np.float32)
            held[index] = np.full(layout.size, value)
    return held


def same(x, y):
    return np.array_equal(x, y, equal_nan=True)


# The tests --------------------------------------------------------------------------------

layouts = st.sampled_from(LAYOUTS)


@settings(max_examples=examples(250, 10_000))
@given(programs(), layouts, seeds, modes)
def test_each_statement_agrees_with_the_reference(program, layout, seed, mode):
    check_statements(layout, program, seed, mode)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_each_function_agrees_on_every_kind_and_layout(function):
    of_kind = {"tree": ("g", "w"), "per_array": ("p", "q"), "scalar": ("lr", 0.75, 0.3)}
    for kinds in paper_signatures(function):
        names = [of_kind[kind][i % len(of_kind[kind])] for i, kind in enumerate(kinds)]
        if function.name == "clip":
            names[1] = "lr"
        program = Program(
            (
                Statement("p", "norm", ("w",)),
                Statement("q", "norm", ("g",)),
                Statement("r", function.name, tuple(names)),
                Statement("update", "multiply", ("g", "r")),
            ),
            (),
        )
        for layout in LAYOUTS:
            for i, mode in enumerate(("normal", "mixed", "scales", "special", "zero")):
                for seed in range(examples(2, 40)):
                    check_statements(layout, program, 100 * seed + i, mode)


@pytest.mark.parametrize("name", NAMES)
def test_the_zoo_agrees_statement_by_statement(name):
    for layout in LAYOUTS:
        for mode in ("normal", "mixed"):
            check_statements(layout, zoo(name), 7, mode)


@pytest.mark.parametrize("slots", [0, 2, 8])
def test_long_programs_with_many_temporaries_and_slots(slots):
    # Above 16 rows and 32 instructions; a few capacities, each compiled once.
    grown = 0
    for seed in range(examples(6, 200)):
        program = wide_program(seed, statements=150, slots=slots)
        code = machine.assemble(analyse(program))
        grown += code.constants.size > 16 and code.length > 32
        check_statements(LAYOUTS[1], program, seed, "normal", (64, 128))
    assert grown


#: What an allocator of rows may get wrong.
TRICKY = {
    "slots that change places": "t = m * 1.0\n m = v * 1.0\n v = t * 1.0\n update = m + g",
    "a slot that ends in a value computed before its last read": (
        "a = g * lr\n b = m + w\n m = g * lr\n v = m + v\n update = b + v"
    ),
    "two slots that end in one value": "update = m + v\n m = g * lr\n v = g * lr",
    "an update that is a slot": "m = m + g\n update = m * 1.0\n v = m * 1.0",
    "a slot that is never written": "update = g + v\n m = m + g\n update = update * m",
    "an update that is a constant tree": "update = v * 0.0\n m = m + g",
    "an argument used twice, for the last time": (
        "a = sin(g)\n b = a * a\n c = cos(g)\n c = c * b\n update = interp(c, c, 0.5)"
    ),
    "a value that two slots swap through the update": (
        "update = m - v\n m = v + update\n v = update + g\n update = m * v"
    ),
}


@pytest.mark.parametrize("body", TRICKY.values(), ids=TRICKY)
def test_rows_are_allocated_right(body):
    program = from_text(f"def train(w, g, m, v, lr):\n {body}\n return update, m, v\n")
    for layout in LAYOUTS:
        check_statements(layout, program, 3, "normal")
    weights = tree(LAYOUTS[0], "normal", 0)
    gradients = [tree(LAYOUTS[0], "normal", i) for i in range(1, 6)]
    code = machine.assemble(analyse(program), ROWS, LENGTH)
    got = replay_machine(compiled(LAYOUTS[0]), code, weights, gradients, 0.5)
    want = replay_reference(program, weights, gradients, 0.5)
    for x, y in zip(got, want, strict=True):
        for a, b in zip(x, y, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_capacities_double_until_the_program_fits():
    def capacity(name, **least):
        code = machine.assemble(analyse(zoo(name)), **least)
        return code.constants.size, len(code.instructions)

    assert capacity("adamw") == (16, 32)
    assert capacity("adamw", rows=4, length=2) == (16, 16)
    lines = [f"a{i} = sin(g)" if i == 0 else f"a{i} = sin(a{i - 1})" for i in range(40)]
    lines += ["update = a0 * a1", *[f"update = update * a{i}" for i in range(2, 40)]]
    body = "\n ".join(lines)
    code = machine.assemble(analyse(from_text(f"def train(w, g, lr):\n {body}\n return update")))
    assert (code.constants.size, len(code.instructions)) == (64, 128)
    assert code.length == 79


def test_one_compilation_serves_every_program_of_a_layout():
    import jax

    traces = []

    @jax.jit
    def run(code, registers):
        traces.append(1)
        return machine.execute(LAYOUTS[1], code, registers)

    of = compiled(LAYOUTS[1])
    for name in NAMES:
        code = machine.assemble(analyse(zoo(name)), 32, 32)
        run(code, of.start(code, tree(LAYOUTS[1], "normal", 0)))
    assert len(traces) == 1


@settings(max_examples=examples(80, 3000))
@given(programs(max_statements=14), layouts, seeds, modes)
def test_running_whole_steps_equals_running_instructions_one_by_one(program, layout, seed, mode):
    of = compiled(layout)
    analysis = analyse(program)
    code = machine.assemble(analysis, ROWS, LENGTH)
    registers = of.start(code, tree(layout, mode, seed))
    registers[machine.GRADIENT_ROW] = of.flatten(tree(layout, mode, seed + 1))
    registers[machine.RATE_ROW] = 0.5
    whole = of.execute(code, registers)
    for instruction in code.instructions[: code.length]:
        registers[instruction[4]] = of.instruct(registers, instruction)
    assert same(whole, registers)
    assert same(whole[machine.WEIGHTS_ROW], of.flatten(tree(layout, mode, seed)))


# Continuous, with slopes of order 1 on numbers of order 1, and no poles.
_WILD = {"divide", "reciprocal", "log", "log10", "log1p", "log2", "power", "cbrt", "sqrt"}
_WILD |= {"tan", "sign"}
_WILD |= {"arcsin", "arccos", "arccosh", "arctanh", "exp", "exp2", "exp10", "expm1"}
_WILD |= {"sinh", "cosh", "cosine_similarity"}
TAME = [f for f in FUNCTIONS if f.name not in _WILD]


@settings(max_examples=examples(60, 3000))
@given(programs(max_statements=12, functions=TAME, tame=True), layouts, seeds)
def test_twenty_steps_agree_as_far_as_the_program_is_stable(program, layout, seed):
    assert all(f.continuous for f in TAME)
    weights = tree(layout, "normal", seed)
    gradients = [[0.1 * x for x in tree(layout, "normal", seed + i)] for i in range(1, 21)]
    random = np.random.default_rng(seed)

    def nudged(leaves):
        # By roundings of numbers of order 1: a small weight may be as large as that a step later.
        unit = np.float32(4 * UNIT)
        return [
            x + unit * np.maximum(1, abs(x)) * np.float32(random.choice([-1, 1], x.shape))
            for x in leaves
        ]

    def apart(update, other):
        with np.errstate(all="ignore"):  # NaN where a program blows up
            return np.max([abs(x - y).max(initial=0) for x, y in zip(update, other, strict=True)])

    with np.errstate(all="ignore"):
        want = replay_reference(program, weights, gradients, 0.5)
        moved = [
            replay_reference(program, nudged(weights), [nudged(g) for g in gradients], 0.5, nudged)
            for _ in range(5)
        ]
    code = machine.assemble(analyse(program), ROWS, LENGTH)
    got = replay_machine(compiled(layout), code, weights, gradients, 0.5)
    compared = 0
    for step, update in enumerate(want):
        size = np.max([1.0, *(np.abs(x).max(initial=0) for x in update)])
        spread = np.max([apart(update, other[step]) for other in moved])
        if not (size < 1e3 and spread < 1e-3 * size):
            break  # it blows up, or roundings decide from here on
        assert apart(update, got[step]) <= 100 * spread + 1e-4 * size, step
        compared += 1
    assume(compared)
    event(f"{'20' if compared == 20 else 'fewer'} steps compared")


@settings(max_examples=examples(100, 3000))
@example(
    from_text("def train(w, g, m, lr):\n update = g * 1e-40\n return update, m"), LAYOUTS[2], 1
)
@given(programs(), layouts, seeds)
def test_a_program_judged_valid_never_raises(program, layout, seed):
    weights = tree(layout, "mixed", seed)
    gradients = [tree(layout, "mixed", seed + i) for i in range(3)]
    updates = replay_reference(program, weights, gradients, 0.5)
    code = machine.assemble(analyse(program), ROWS, LENGTH)
    of_machine = replay_machine(compiled(layout), code, weights, gradients, 0.5)
    for update in [*updates, *of_machine]:
        assert [np.shape(x) for x in update] == list(layout.shapes)
        assert all(x.dtype == np.float32 for x in update)


# The policies that machine.py states -------------------------------------------------------


def run_once(text, g, layout=LAYOUTS[1]):
    program = from_text(f"def train(w, g, lr):\n {text}\n return update")
    code = machine.assemble(analyse(program), ROWS, LENGTH)
    leaves = [[np.full(shape, g, np.float32) for shape in layout.shapes]]
    return replay_machine(compiled(layout), code, leaves[0], leaves, 1.0)[0][0]


def test_subnormal_numbers_count_as_zero():
    assert run_once("update = g * 1e-20", 1e-20) == 0
    assert run_once("a = g * 1e-20\n update = a * 1e30", 1e-20) == 0
    assert run_once("a = g * 1e-40\n update = a * 1e30", 1.0) == 0
    assert run_once("update = sign(g)", 1e-40) == 0
    assert run_once("update = reciprocal(g)", -1e-40) == -np.inf
    assert run_once("update = reciprocal(g)", 3e38) == 0


@pytest.mark.parametrize("layout", [*LAYOUTS[:2], Layout(((1,),) * 16)], ids=lambda x: str(x.size))
@pytest.mark.parametrize("name", ["norm", "global_norm"])
def test_a_norm_squares_even_one_number(name, layout):
    """XLA would make sqrt(x * x) an abs(x), which neither overflows nor underflows."""
    for value, want in ((3e38, np.inf), (1e-30, 0)):
        x = np.float32(value)
        arrays = [np.full(shape, x) for shape in layout.shapes]
        for operand in (x, PerArray([np.asarray(x) for _ in arrays]), Tree(arrays)):
            row = compiled(layout).apply(name, operand)
            assert set(row[layout.starts]) <= {want, 0}  # 0 for arrays without elements
            assert want in row


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_trigonometric_functions_reduce_huge_arguments(name):
    random = np.random.default_rng(0)
    layout = Layout(((4000,),))
    x = (10 ** random.uniform(3, 38, 4000)).astype(np.float32)
    got = compiled(layout).apply(name, Tree([x]))
    want = getattr(np, name)(x.astype(np.float64))
    units = BY_NAME[name].tolerance * UNIT
    np.testing.assert_allclose(got, want, rtol=units, atol=0)


@pytest.mark.parametrize("size", [1000, 100_000])
@pytest.mark.parametrize("mode", ["normal", "equal"])
def test_reductions_over_many_elements(size, mode):
    """With equal terms the roundings of a sum all go one way."""
    layout = Layout(((size,),))
    x, y = Tree(tree(layout, mode, 1)), Tree(tree(layout, mode, 2))
    for name in ("norm", "global_norm", "dot", "cosine_similarity"):
        operands = [x, y] if BY_NAME[name].arity == 2 else [x]
        result = compiled(layout).apply(name, *operands)
        got = PerArray([result[0]]) if name == "norm" else result[0]
        assert agrees(BY_NAME[name], operands, got)


# Layouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [*LAYOUTS, Layout(((0,),))], ids=lambda x: str(x.shapes))
def test_layouts_give_back_what_they_flatten(layout):
    leaves = tree(layout, "mixed", 5)
    vector = np.asarray(layout.flatten(leaves))
    assert vector.shape == (layout.size,)
    for x, y in zip(layout.unflatten(vector), leaves, strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.shape == y.shape
    elements = layout.elements
    assert elements is None or elements.sum() == sum(layout.counts)


def test_only_elements_must_be_finite():
    layout = Layout(((3,), (0,), (2,)))
    vector = np.full(layout.size, np.nan, np.float32)
    vector[layout.elements] = 1
    assert layout.all_finite(vector)
    for place in np.flatnonzero(layout.elements):
        for bad in (np.nan, np.inf, -np.inf):
            spoiled = vector.copy()
            spoiled[place] = bad
            assert not layout.all_finite(spoiled)


def test_a_tree_without_arrays_is_refused():
    with pytest.raises(ValueError, match="at least one array"):
        Layout(())


def test_the_unused_place_of_an_empty_array_is_counted_nowhere():
    """Its place fills with 1/0, and no reduction of a tree may see that."""
    layout = Layout(((3,), (0,), (2,)))
    program = from_text("""
def train(w, g, lr):
    a = reciprocal(g)
    b = norm(a)
    c = dot(a, a)
    d = dot(b, b)
    e = global_norm(a)
    f = dot(lr, lr)
    update = a * c
    update = update + d
    update = update + e
    update = update + f
    return update
""")
    code = machine.assemble(analyse(program), ROWS, LENGTH)
    ones = [np.ones(shape, np.float32) for shape in layout.shapes]
    (update,) = replay_machine(compiled(layout), code, ones, [ones], 1.0)
    for x in update:
        np.testing.assert_allclose(x, 5 + 5 + np.sqrt(5) + 1, rtol=1e-6)


def test_rows_of_the_machine_do_not_leak_between_steps():
    """What the temporaries hold before a step is never read."""
    program = zoo("paper-program-8")
    code = machine.assemble(analyse(program), ROWS, LENGTH)
    of = compiled(LAYOUTS[0])
    weights = tree(LAYOUTS[0], "normal", 0)
    gradients = [tree(LAYOUTS[0], "normal", i) for i in range(5)]
    clean = replay_machine(of, code, weights, gradients, 0.5)
    spoiled = code._replace(constants=code.constants.copy())
    written = {int(i[4]) for i in code.instructions[: code.length]}
    temporaries = written - {*range(machine.FIRST_SLOT_ROW + int(code.slots))}
    spoiled.constants[sorted(temporaries)] = np.nan
    for x, y in zip(clean, replay_machine(of, spoiled, weights, gradients, 0.5), strict=True):
        for a, b in zip(x, y, strict=True):
            np.testing.assert_array_equal(a, b)
