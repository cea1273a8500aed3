"""What exporters start from: lines, names, hyperparameters and the decoupled decay."""

import keyword

import pytest
from export_checks import all_programs, random_programs
from strategies import wide_program

from evolve.export.lowering import DECAY, LR, SCHEDULE, W, lower
from evolve.export.printing import Printer
from primitives.text import from_text
from primitives.zoo import zoo


def lines(lowered):
    plain = Printer()
    return [f"{line.target.name} = {plain.text(line.formula)}" for line in lowered.lines]


def program(signature, *statements):
    slots = ", ".join(["w", "g", *signature.split(), "lr"])
    outputs = ", ".join(["update", *signature.split()])
    return from_text("\n    ".join([f"def train({slots}):", *statements, f"return {outputs}"]))


def test_lion():
    lowered = lower(zoo("lion"))
    assert lines(lowered) == [
        "update = (1.0 - b1) * g + b1 * m",
        "update = sign(update)",
        "m = (1.0 - b2) * g + b2 * m",
        "wd = w * weight_decay",
        "update = update + wd",
        "update = update * lr",
    ]
    given = {h.name: h.text for h in [*lowered.hyperparameters, lowered.peak]}
    assert given == {"b1": "0.9", "b2": "0.99", "weight_decay": "0.1", "peak_lr": "1e-04"}
    assert lowered.slot_names == ("m",) and not lowered.whole_tree
    assert SCHEDULE not in lowered.reads


def test_dead_slots_and_statements_are_left_out():
    lowered = lower(zoo("paper-program-8"))
    assert lowered.slot_names == ("v",)
    assert len(lowered.lines) == 11  # the twelfth is the peak
    assert lowered.whole_tree


def test_the_schedule_is_the_learning_rate_over_the_peak():
    lowered = lower(zoo("paper-program-8"))
    assert SCHEDULE in lowered.reads and LR in lowered.reads
    assert "scale" not in lines(lowered)[0] and "schedule / sqrt" in lines(lowered)[0]


def test_only_the_first_constant_times_the_schedule_is_the_peak():
    lowered = lower(
        program("", "a = lr * 0.5", "b = lr * 0.25", "update = g * a", "update = update * b")
    )
    assert lowered.peak.default == 0.5
    assert lines(lowered) == ["b = schedule * c1", "update = g * lr", "update = update * b"]


@pytest.mark.parametrize("constant", ["0.0", "-0.5", "1e-40"])
def test_a_constant_that_cannot_be_divided_by_is_no_peak(constant):
    lowered = lower(program("", f"lr = lr * {constant}", "update = g * lr"))
    assert lowered.peak.default == 1.0
    assert lines(lowered) == ["lr_2 = schedule * c1", "update = g * lr_2"]


def test_constants_of_constants_are_one():
    lowered = lower(program("", "a = get_pi()", "a = square(a)", "update = g * a"))
    assert [h.text for h in lowered.hyperparameters] == ["9.869605"]
    assert lines(lowered) == ["update = g * c1"]


def test_a_slot_that_is_never_written_is_zero():
    lowered = lower(program("m", "update = g + m"))
    assert lowered.slots == ()
    assert lines(lowered) == ["m = zeros_like(g)", "update = g + m"]


DECOUPLED = {
    "inside": ["wd = w * 0.1", "u = g + wd", "lr = lr * 0.5", "update = u * lr"],
    "inside, other order": ["wd = 0.1 * w", "u = wd + g", "lr = lr * 0.5", "update = lr * u"],
    "outside": ["lr = lr * 0.5", "wd = lr * 0.1", "wd = wd * w", "update = g + wd"],
    "outside, other order": ["lr = lr * 0.5", "wd = w * 0.1", "wd = lr * wd", "update = wd + g"],
}
COUPLED = {
    "no learning rate": ["wd = w * 0.1", "update = g + wd"],
    "weights read elsewhere": [
        "wd = w * 0.1", "u = g + wd", "u = u + w", "lr = lr * 0.5", "update = u * lr"
    ],
    "into the momentum": [
        "wd = w * 0.1", "m = m + wd", "m = m + g", "lr = lr * 0.5", "update = m * lr"
    ],
    "subtracted": ["wd = w * 0.1", "u = g - wd", "lr = lr * 0.5", "update = u * lr"],
    "inside a function": [
        "wd = w * 0.1", "u = g + wd", "u = sin(u)", "lr = lr * 0.5", "update = u * lr"
    ],
    "the sum is kept": [
        "wd = w * 0.1", "m = m + wd", "lr = lr * 0.5", "update = m * lr"
    ],
    "of a variable": [
        "k = norm(g)", "wd = w * k", "u = g + wd", "lr = lr * 2.0", "update = u * lr"
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", DECOUPLED)
def test_decoupled_decay(name):
    text = program("", *DECOUPLED[name])
    assert lower(text).decay and "weight_decay" in lower(text).names
    apart = lower(text, apart=True)
    assert W not in apart.reads and "weight_decay" in apart.names and apart.decay
    assert "w" not in " ".join(lines(apart)).replace("=", " ").split()


@pytest.mark.parametrize("name", COUPLED)
def test_no_decoupled_decay(name):
    slots = "m" if any("m =" in s for s in COUPLED[name]) else ""
    lowered = lower(program(slots, *COUPLED[name]))
    assert not lowered.decay and "weight_decay" not in lowered.names
    assert lower(program(slots, *COUPLED[name]), apart=True) == lowered


def test_names_of_programs_never_meet_those_of_the_source():
    names = ["np", "jnp", "x", "schedule", "list", "self", "b1", "weight_decay", "t", "_private"]
    names += ["a_name_that_is_rather_long", "another_name_that_is_long", "l"]
    statements = [f"{name} = g * lr" for name in names] + ["a = interp(g, w, 0.5)"]
    statements += ["update = a * 0.0"] + [f"update = update + {name}" for name in names]
    lowered = lower(program("", *statements))
    targets = [line.target.name for line in lowered.lines[: len(names)]]
    assert len(set(targets)) == len(targets)
    assert not set(targets) & {"np", "jnp", "x", "schedule", "list", "self", "b1", "weight_decay"}
    assert all(len(name) <= 12 and not keyword.iskeyword(name) for name in targets)


def test_a_name_is_reused_only_when_nothing_reads_the_first_value():
    # `a` is the learning rate; the program then gives `lr` to something else.
    lowered = lower(
        program("", "a = lr * 0.5", "lr = cos(lr)", "update = g * lr", "update = update * a")
    )
    assert lines(lowered) == ["lr_2 = cos(schedule)", "update = g * lr_2", "update = update * lr"]


def test_roles_and_bounds():
    """A program whose own constant is out of the usual bounds is free of them."""
    lion = {h.name: (h.role, h.bounds) for h in lower(zoo("lion")).hyperparameters}
    unit, positive, free = (0.0, 1.0), (0.0, float("inf")), (-float("inf"), float("inf"))
    assert lion == {"b1": ("beta", unit), "b2": ("beta", unit), "weight_decay": (DECAY, positive)}
    eighth = {h.name: h.bounds for h in lower(zoo("paper-program-8")).hyperparameters}
    assert eighth["b1"] == unit and eighth["b2"] == free
    growing = lower(program("", "wd = w * -0.1", "u = g + wd", "lr = lr * 2.0", "update = u * lr"))
    (decay,) = growing.hyperparameters
    assert (decay.name, decay.bounds) == (DECAY, free)
    endless = lower(program("", "a = exp(1000.0)", "update = g * a"))
    assert [h.bounds for h in endless.hyperparameters] == [None]


@pytest.mark.parametrize("whole", [False, True])
def test_sums_over_all_arrays_are_found(whole):
    found = [lower(p).whole_tree for p in all_programs(10).values()]
    assert whole in found
    statement = "k = global_norm(g)" if whole else "k = norm(g)"
    assert lower(program("", statement, "update = g * k")).whole_tree == whole


def test_every_name_is_assigned_before_it_is_read():
    programs = [*random_programs(20), *(wide_program(seed, 50, 5) for seed in range(5))]
    for one in programs:
        lowered = lower(one)
        known = {"w", "g", "lr", "schedule", *lowered.slot_names, *lowered.names}
        for line in lowered.lines:
            assert {a.name for a in line.arguments} <= known
            known.add(line.target.name)
        assert {lowered.update.name, *(end.name for _, end in lowered.slots)} <= known
