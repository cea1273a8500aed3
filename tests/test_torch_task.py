"""Tasks of training functions in PyTorch: the same semantics as the machine, and every ending."""

from __future__ import annotations

import linecache
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from hypothesis import given, settings
from strategies import paper_signatures, programs

import evolve
from evolve.library.tasks import named
from primitives.functions import FUNCTIONS, PER_ARRAY, SCALAR
from primitives.program import Program
from primitives.reference import Tree, run_step, zero_slots
from primitives.reference import apply as by_reference
from primitives.text import from_text, to_text
from primitives.zoo import NAMES, zoo
from proxy_tasks.catalog import TaskError, resolve, resources
from proxy_tasks.evaluation import Evaluator, answer
from proxy_tasks.examples import diabetes_torch, digits_torch
from proxy_tasks.given import give
from proxy_tasks.status import DIVERGED, FAILED, FINISHED, NOT_FINITE, OUT_OF_MEMORY, STOPPED
from proxy_tasks.stretch import KEPT
from proxy_tasks.task import Resources
from proxy_tasks.torch_optimizer import Interpreted, Plan
from proxy_tasks.torch_task import torch_task
from proxy_tasks.torch_trainer import TorchTrainer
from proxy_tasks.torch_values import Value, apply

SHAPES = ((3, 4), (5,), (2, 2, 2))
STEPS = 40


def trees(seed: int, size: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.float32(size * rng.normal(size=shape)) for shape in SHAPES]


# -- functions -------------------------------------------------------------------------


def both(kind: str, seed: int) -> tuple[Any, Any]:
    """A value of a kind, as the reference and as PyTorch has it."""
    if kind == SCALAR:
        number = np.float32(np.random.default_rng(seed).normal())
        return number, number
    leaves = trees(seed)
    if kind == PER_ARRAY:
        leaves = [np.asarray(leaf.ravel()[0]) for leaf in leaves]
    return Tree(leaves), Value([torch.from_numpy(leaf.copy()) for leaf in leaves])


def close(found: Any, expected: Any, tolerance: float) -> None:
    pairs = (
        zip(found.parts, expected.leaves, strict=True)
        if isinstance(expected, Tree)
        else [(found, expected)]
    )
    for x, y in pairs:
        got = np.asarray(x)
        assert got.dtype == np.float32 and got.shape == np.shape(y)
        np.testing.assert_allclose(got, y, rtol=(tolerance + 8) * 2**-22, atol=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
@pytest.mark.parametrize("kernel", [True, False], ids=["in place", "kept"])
def test_every_function_is_that_of_the_table(function: Any, kernel: bool) -> None:
    for kinds, result in paper_signatures(function).items():
        pairs = [both(kind, place) for place, kind in enumerate(kinds)]
        expected, given_ = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        wanted = by_reference(function.name, *expected)
        before = [[p.clone() for p in v.parts] if isinstance(v, Value) else v for v in given_]
        free = tuple(kernel and k == result != SCALAR for k in kinds)
        with np.errstate(all="ignore"):
            found = apply(function.name, list(given_), free)
        close(found, wanted, function.tolerance)
        for value, old, may in zip(given_, before, free, strict=True):
            if isinstance(value, Value) and not may:
                assert all(torch.equal(p, q) for p, q in zip(value.parts, old, strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, 1e-42, -1e-42, 3e38])
def test_signs_of_all_numbers(value: float) -> None:
    found = apply("sign", [Value([torch.tensor([value])])]).parts[0].item()
    expected = float(np.sign(np.float32(value)))
    assert found == expected or (math.isnan(found) and math.isnan(expected))


# -- programs --------------------------------------------------------------------------


def follow(program: Program, steps: int = 200, groups: bool = False) -> None:
    """Interpreted and by the reference, in an open loop: the reference's weights for both."""
    weights, slots = trees(0), zero_slots(program, trees(0))
    params = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
    given_ = [{"params": [p]} for p in params] if groups else params
    rates = np.linspace(1.0, 0.25, steps, dtype=np.float32)
    optimizer = Interpreted(given_, Plan(program), rates)
    for step in range(steps):
        gradient = trees(step + 1, 0.1)
        with np.errstate(all="ignore"):
            update, slots = run_step(program, weights, gradient, slots, float(rates[step]))
            after = [w - u for w, u in zip(weights, update, strict=True)]
        for p, w, g in zip(params, weights, gradient, strict=True):
            p.data = torch.from_numpy(w.copy())
            p.grad = torch.from_numpy(g.copy())
        optimizer.step()
        everything = [*after, *(leaf for leaves in slots.values() for leaf in leaves)]
        if not all(np.isfinite(leaf).all() for leaf in everything):
            return
        for p, w, a in zip(params, weights, after, strict=True):
            size = 1 + np.abs(w) + np.abs(a)
            assert (np.abs(p.detach().numpy() - a) <= 1e-3 * size).all(), (step, to_text(program))
        weights = [np.clip(a, -10, 10) for a in after]


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_of_the_zoo_steps_as_the_reference_does(name: str) -> None:
    follow(zoo(name))
    follow(zoo(name), 20, groups=True)


@settings(max_examples=200)
@given(programs(tame=True))
def test_random_programs_step_as_the_reference_does(program: Program) -> None:
    follow(program, 10)


def test_parameter_groups_and_schedulers_change_the_rate() -> None:
    one, other = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    groups = [{"params": [one]}, {"params": [other], "lr": 0.5}]
    plan = Plan(from_text("def train(w, g, lr):\n    update = g * lr\n    return update\n"))
    optimizer = Interpreted(groups, plan, np.ones(3, np.float32))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)
    for _ in range(2):
        one.grad = other.grad = torch.ones(2)
        optimizer.step()
        scheduler.step()
    assert one.tolist() == pytest.approx([1 - 1 - 0.1] * 2)
    assert other.tolist() == pytest.approx([1 - 0.5 - 0.05] * 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_and_parameters_without_a_gradient(dtype: torch.dtype) -> None:
    moved, still = (torch.nn.Parameter(torch.full((3,), 0.01, dtype=dtype)) for _ in range(2))
    optimizer = Interpreted([moved, still], Plan(zoo("lion")), np.ones(9, np.float32))
    for _ in range(3):
        moved.grad = torch.full((3,), 0.5, dtype=dtype)
        optimizer.step()
    assert moved.dtype == dtype and not torch.equal(moved, still)
    assert torch.equal(still, torch.full((3,), 0.01, dtype=dtype))
    again = Interpreted([moved, still], Plan(zoo("lion")), np.ones(9, np.float32))
    again.load_state_dict(optimizer.state_dict())
    slots = [each.state[moved]["m"].double() for each in (again, optimizer)]
    assert torch.allclose(*slots, rtol=0.01)
    again.step()


def test_a_gradient_scaler_may_skip_a_step() -> None:
    """Which counts all the same, or a training would take another number of steps."""
    weight = torch.nn.Parameter(torch.ones(2))
    by_hand, taken = torch.ones(2), 0
    plan = Plan(from_text("def train(w, g, lr):\n    update = g * lr\n    return update\n"))
    optimizer = Interpreted([weight], plan, np.ones(9, np.float32))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    for step in range(6):
        optimizer.zero_grad()
        loss = (weight * (1e36 if step == 1 else 0.25)).sum()
        scaler.scale(loss).backward()
        if step % 2:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        if step != 1:
            by_hand, taken = by_hand - 0.25, taken + 1
    assert optimizer.steps == 6 and taken == 5
    assert torch.equal(weight.detach(), by_hand)


def test_slots_that_trade_places_keep_what_they_hold() -> None:
    """What is computed in place may lie where another slot was."""
    of = from_text(
        "def train(w, g, m, v, lr):\n    x = abs(m)\n    m = negative(v)\n    v = abs(x)\n"
        "    v = v + g\n    update = m * lr\n    return update, m, v\n"
    )
    follow(of, 8)


# -- training functions ------------------------------------------------------------------


def line(make_optimizer: Any, seed: int, width: int = 1, scale: int = 1) -> Iterator[Any]:
    """Least squares; the loss is yielded before the first step, at a quarter and at the end."""
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=(32, 4)), dtype=torch.float32)
    y = x @ torch.tensor([1.0, -2.0, 0.5, 0.0])[:, None].repeat(1, width * scale)
    weights = torch.nn.Parameter(torch.zeros(4, width * scale))
    optimizer = make_optimizer([weights])
    yield float((x @ weights.detach() - y).square().mean()), 7.0
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = (x @ weights - y).square().mean()
        loss.backward()
        optimizer.step()
        if step in (STEPS // 4, STEPS - 1):
            yield float((x @ weights.detach() - y).square().mean()), 7.0


LINE = torch_task(line, steps=STEPS, schedule="cosine", width=2)
SGD = from_text("def train(w, g, lr):\n    x = lr * 0.1\n    update = g * x\n    return update\n")
NO_HURDLES = (math.inf, math.inf)


def trained(task: Any, program: Program = SGD, **options: Any) -> Any:
    given_ = {"hurdles": NO_HURDLES, "divergence": math.inf, "split": "validation", **options}
    return TorchTrainer(task).train(program, 0, **given_)


def test_a_training_is_that_of_the_same_loop_by_hand() -> None:
    found = trained(LINE)
    marks = []
    for value, _ in line(lambda params: torch.optim.SGD(params, lr=0.1), 0, 2):
        marks.append(value)
    # By hand without the schedule: only the first value is the same.
    assert TorchTrainer(LINE).untrained(0, "validation") == marks[0]
    assert TorchTrainer(LINE).untrained(0, "heldout") == 7.0
    assert (found.status, found.steps, len(found.losses)) == (FINISHED, STEPS, 2)
    rates = LINE.learning_rate()

    class Scheduled(torch.optim.SGD):
        steps = 0

        def step(self, closure: Any = None) -> Any:
            self.param_groups[0]["lr"] = 0.1 * float(rates[self.steps])
            self.steps += 1
            return super().step(closure)

    by_hand = [value for value, _ in line(lambda params: Scheduled(params, lr=0.1), 0, 2)]
    assert found.losses == pytest.approx(tuple(by_hand[1:]), rel=1e-4)
    assert trained(LINE) == found


@pytest.mark.parametrize(
    ("options", "status", "marks"),
    [
        ({"hurdles": (0.0, math.inf)}, STOPPED, 1),
        ({"hurdles": (math.inf, 0.0)}, STOPPED, 2),
        ({"divergence": 0.0}, DIVERGED, 0),
    ],
)
def test_how_a_training_is_stopped(options: dict[str, Any], status: str, marks: int) -> None:
    found = trained(LINE, **options)
    assert (found.status, len(found.losses)) == (status, marks)
    assert (found.steps < STEPS) == (marks < 2)


@pytest.mark.parametrize("factor", ["1e30", "30.0"])
def test_what_is_not_finite_ends_soon(factor: str) -> None:
    text = f"def train(w, g, lr):\n    update = g * {factor}\n    return update\n"
    found = trained(LINE, from_text(text))
    assert found.status == NOT_FINITE and found.steps <= STEPS


def raising(error: type[BaseException]) -> Any:
    def train(make_optimizer: Any, seed: int) -> Iterator[float]:
        weights = torch.nn.Parameter(torch.ones(2))
        optimizer = make_optimizer([weights])
        for step in range(STEPS):
            weights.sum().backward()
            optimizer.step()
            if step == 20 and isinstance(optimizer, Interpreted):
                raise error("as told")
            yield 1.0

    return train


@pytest.mark.parametrize(
    ("error", "outcome"), [(ValueError, FAILED), (torch.OutOfMemoryError, OUT_OF_MEMORY)]
)
def test_what_a_training_function_raises_is_an_outcome_with_its_place(
    error: Any, outcome: str
) -> None:
    name = give(torch_task(raising(error), steps=STEPS), f"given:{error.__name__}")
    request = {"action": "evaluate", "program": to_text(SGD), "tasks": [name], "rung": 1}
    found = answer(Evaluator(), {**request, "seeds": [0], "split": "validation"})
    assert found["outcome"] == outcome
    assert "as told" in found["detail"] and Path(__file__).name in found["detail"]


def short(make_optimizer: Any, seed: int) -> Iterator[float]:
    weights = torch.nn.Parameter(torch.ones(2))
    optimizer = make_optimizer([weights])
    for _ in range(7):
        weights.square().sum().backward()
        optimizer.step()
        yield float(weights.detach().sum())


def silent(make_optimizer: Any, seed: int) -> Iterator[float]:
    optimizer = make_optimizer([torch.nn.Parameter(torch.ones(2))])
    for _ in range(STEPS):
        optimizer.step()
    yield from ()


def no_generator(make_optimizer: Any, seed: int) -> float:
    make_optimizer([torch.nn.Parameter(torch.ones(2))])
    return 1.0


def no_optimizer(make_optimizer: Any, seed: int) -> Iterator[float]:
    yield 1.0


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (short, "took 7 steps, but the task says steps=40"),
        (silent, "yielded no loss"),
        (no_generator, "returned float; it must yield validation losses"),
        (no_optimizer, "took 0 steps"),
    ],
)
def test_a_training_function_that_is_none_is_told_in_one_sentence(train: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        trained(torch_task(train, steps=STEPS))


def test_a_training_function_is_not_taken_for_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with pytest.raises(TaskError, match=r"make it a task with task = evolve\.torch_task"):
        resolve("torch_tasks:train")
    with pytest.raises(evolve.BadInput, match=r"'short' is a training function; make it a task"):
        named([short])


@pytest.mark.parametrize("name", ["torch_tasks", "torch_tasks.py"])
def test_a_module_is_not_taken_for_a_task(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with pytest.raises(TaskError, match="did you mean 'torch_tasks:OBJECT', an object in that"):
        resolve(name)


def nowhere(make_optimizer: Any, seed: int) -> Iterator[float]:
    make_optimizer([torch.nn.Parameter(torch.ones(2))])
    yield math.nan


def its_own_rate(make_optimizer: Any, seed: int) -> Iterator[float]:
    make_optimizer([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    yield 1.0


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (short, "the start program cannot be trained .*took 7 steps, but the task says steps=40"),
        pytest.param(
            nowhere,
            "'nowhere' first yields nan, though its optimizer changed nothing yet",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            its_own_rate,
            r"more than parameters \(lr=\); learning rate, decay and all else are the",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_fault_of_a_training_function_is_told_before_the_search(
    train: Any, message: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(evolve.BadInput, match=message):
        evolve.run("60s", tasks=torch_task(train, steps=STEPS), out=out, workers=0, progress=False)
    assert not out.exists()


def with_frozen(make_optimizer: Any, seed: int, width: int = 16) -> Iterator[Any]:
    """Only the second layer is trained."""
    first, second = torch.nn.Linear(100, 100), torch.nn.Linear(100, width)
    first.requires_grad_(False)
    make_optimizer([*first.parameters(), *second.parameters()])
    yield 1.0


def test_weights_that_are_frozen_are_no_memory() -> None:
    task = torch_task(with_frozen, steps=1, width=16)
    assert task.weights() == 101 * 16
    assert task.holding(2 * task.weights()).width == 32


def test_a_function_is_known_by_its_source_where_it_was_made() -> None:
    halves = [torch_task(partial(with_frozen, width=w), steps=1, name="t") for w in (3, 4, 3)]
    one, other, again = (task.fingerprint() for task in halves)
    assert one == again != other
    cells = []
    for body in ("yield 1.0", "yield 2.0"):
        source = f"def train(make_optimizer, seed):\n    {body}\n"
        linecache.cache["<cell>"] = (len(source), None, source.splitlines(True), "<cell>")
        names: dict[str, Any] = {}
        exec(compile(source, "<cell>", "exec"), names)
        cells.append(torch_task(names["train"], steps=1))
        del linecache.cache["<cell>"]  # as in a worker, which has no such cell
    assert cells[0].fingerprint() != cells[1].fingerprint()


def test_higher_is_better_where_it_is_said() -> None:
    task = torch_task(short, steps=7, maximize=True)
    assert TorchTrainer(task).untrained(0, "validation") == -2.0


def test_a_worker_prepares_a_training_function() -> None:
    name = give(LINE, "given:line")
    evaluator = Evaluator()
    request = {"program": to_text(zoo("adamw")), "tasks": [name], "rung": 1, "seeds": [0, 1]}
    found = evaluator.prepare({**request, "shares": [1.0, 2.0], "stretch": True})["tasks"][name]
    assert (found["weights"], found["steps"], found["limit"]) == (8, STEPS, 600.0)
    assert found["widths"] == [2, 4] and len(set(found["untrained"])) == 2
    stretch = found["stretch"]
    assert len(stretch["gradients"]) == KEPT and len(stretch["rates"]) == KEPT
    assert stretch["counts"] == [8] and stretch["kept"] == [8]
    assert all(len(row) == 8 for row in stretch["weights"])
    larger = evaluator.prepare({**request, "rung": 10})["tasks"][name]
    assert larger["weights"] == 80


def test_rungs_widths_and_batches_of_a_training_function() -> None:
    other = torch_task(short, steps=7, rungs={"x10": silent})
    assert other.at(10).begin and other.at(10).fingerprint() != other.fingerprint()
    assert other.holding(99) is other
    with pytest.raises(TaskError, match="no rung x100"):
        other.at(100)
    with pytest.raises(TaskError, match="cannot be swept"):
        LINE.with_batch(2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "square"}, "schedule is 'square'"),
        ({"width": 3}, "no parameter width"),
        ({"rungs": {"x7": short}}, "the rungs are x10 and x100"),
        ({"memory": "much"}, "memory is 'much'"),
        ({"steps": 0}, "steps 0"),
    ],
)
def test_arguments_of_no_use_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        torch_task(short, **{"steps": 7, **options})


def test_what_a_worker_needs_is_the_most_that_a_task_needs() -> None:
    one = give(torch_task(short, steps=7, cpus=2, memory="8GB"), "given:one")
    other = give(torch_task(short, steps=7, gpus=0.25), "given:other")
    assert resources([one, other, "quadratic"]) == Resources(2, 0.25, 8 * 10**9)
    assert resources(["quadratic", "given:unknown"]) == Resources()


def test_a_task_of_a_module_is_found_by_its_name_again() -> None:
    assert named([digits_torch.task]) == ["proxy_tasks.examples.digits_torch:task"]
    assert named([torch_task(lambda make, seed: iter(()), steps=1, name="x")])[0].startswith(
        "given"
    )


@pytest.mark.parametrize("module", [digits_torch, diabetes_torch], ids=lambda m: m.__name__)
def test_the_examples_learn(module: Any) -> None:
    found = trained(module.task, zoo("adamw"))
    assert found.status == FINISHED and found.losses[-1] < TorchTrainer(module.task).untrained(
        0, "validation"
    )
    assert len(Path(module.__file__).read_text().splitlines()) <= 60


def test_a_search_runs_on_a_training_function(tmp_path: Path, cli: Cli) -> None:
    name = "proxy_tasks.examples.diabetes_torch:task"
    config = tmp_path / "c.toml"
    config.write_text(
        "population = 6\nreplicates = [1, 2]\nclosing_share = 0.0\ntune_start = false\n"
    )
    arguments = ["--tasks", name, "--workers", "0", "--out", tmp_path / "run", "--quiet"]
    code, _, err = cli("run", *arguments, "--budget", "12evals", "--config", config)
    assert code == 0, err
    run = evolve.open(tmp_path / "run")
    assert run.summary["evaluated"] >= 12
    assert run.summary["outcomes"]["finished"] > 0
