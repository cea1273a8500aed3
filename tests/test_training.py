"""The training loop: against loops written by hand, and where it stops early."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evolve.search.mutation import child_rng, mutate
from primitives import machine
from primitives.abstract import analyse
from primitives.machine import Code
from primitives.text import from_text
from primitives.zoo import zoo
from proxy_tasks.catalog import CATALOG
from proxy_tasks.status import DIVERGED, FINISHED, NOT_FINITE, STOPPED
from proxy_tasks.task import Splits, Task, batches
from proxy_tasks.training import Trained, Trainer


def code(*statements: str, slots: str = "m v") -> Code:
    names = slots.split()
    head = f"def train({', '.join(['w', 'g', *names, 'lr'])}):"
    last = f"return {', '.join(['update', *names])}"
    text = "\n    ".join([head, *statements, last]) + "\n"
    return machine.assemble(analyse(from_text(text)))


@cache
def trainer(name: str) -> Trainer:
    return Trainer(CATALOG[name])


# Against loops written by hand ----------------------------------------------------------


def adamw(w: Any, g: Any, state: Any, lr: Any) -> Any:
    m, v = state
    m = 0.9 * m + (1 - 0.9) * g
    v = 0.99 * v + (1 - 0.99) * g * g
    update = m / (jnp.sqrt(v) + 1e-8) + 0.01 * w
    return w - 0.02 * lr * update, (m, v)


def lion(w: Any, g: Any, state: Any, lr: Any) -> Any:
    m, _ = state
    update = jnp.sign(0.9 * m + (1 - 0.9) * g) + 0.1 * w
    return w - 0.005 * lr * update, (0.99 * m + (1 - 0.99) * g, _)


ADAMW = code(
    "m = interp(g, m, 0.9)",
    "g2 = square(g)",
    "v = interp(g2, v, 0.99)",
    "root = sqrt(v)",
    "update = m / root",
    "decay = w * 0.01",
    "update = update + decay",
    "rate = lr * 0.02",
    "update = update * rate",
)
LION = code(
    "update = interp(g, m, 0.9)",
    "update = sign(update)",
    "m = interp(g, m, 0.99)",
    "decay = w * 0.1",
    "update = update + decay",
    "rate = lr * 0.005",
    "update = update * rate",
)


def by_hand(
    task: Task, rule: Any, seed: int, marks: tuple[int, ...], split: str = "validation"
) -> list[float]:
    """The loss on a split at each mark, leaf by leaf, without layout or machine."""
    data = task.splits()
    train = tuple(map(jnp.asarray, data.train))
    order = jnp.asarray(batches(task, len(train[0]), seed))
    rates = jnp.asarray(task.learning_rate())
    params = task.init(jax.random.key(seed))
    leaves, structure = jax.tree.flatten(params)
    state = [(jnp.zeros_like(leaf), jnp.zeros_like(leaf)) for leaf in leaves]

    def step(i: Any, carry: Any) -> Any:
        leaves, state = carry
        batch = tuple(array[order[i]] for array in train)
        gradient = jax.tree.leaves(jax.grad(task.loss)(structure.unflatten(leaves), batch))
        stepped = [rule(*row, rates[i]) for row in zip(leaves, gradient, state, strict=True)]
        return [leaf for leaf, _ in stepped], [slots for _, slots in stepped]

    @jax.jit
    def loss(steps: Any) -> Any:
        trained, _ = jax.lax.fori_loop(0, steps, step, (leaves, state))
        return task.loss(structure.unflatten(trained), getattr(data, split))

    return [float(loss(steps)) for steps in marks]


@pytest.mark.parametrize("name", ["quadratic", "digits_mlp"])
@pytest.mark.parametrize(("program", "rule"), [(ADAMW, adamw), (LION, lion)], ids=["adamw", "lion"])
def test_the_machine_trains_as_a_loop_written_by_hand(name: str, program: Code, rule: Any) -> None:
    marks = (50, 200)  # Lion on digits is chaotic later, when gradients are almost nothing
    result = trainer(name).train(program, seed=3, marks=marks)
    assert (result.status, result.steps) == (FINISHED, 200)
    assert result.losses == pytest.approx(by_hand(CATALOG[name], rule, 3, marks), rel=1e-5)


def test_the_heldout_split_is_another() -> None:
    task = CATALOG["quadratic"]
    results = {s: trainer("quadratic").train(LION, 0, split=s) for s in ("validation", "heldout")}
    assert results["validation"].losses != results["heldout"].losses
    marks = (task.steps // 4, task.steps)
    assert (results["heldout"].status, results["heldout"].steps) == (FINISHED, task.steps)
    expected = by_hand(task, lion, 0, marks, "heldout")
    assert results["heldout"].losses == pytest.approx(expected, rel=1e-5)


def test_untrained_is_the_loss_of_the_initial_weights() -> None:
    task = CATALOG["quadratic"]
    for split in ("validation", "heldout"):
        expected = float(task.loss(task.init(jax.random.key(5)), getattr(task.splits(), split)))
        assert trainer("quadratic").untrained(LION, 5, split) == pytest.approx(expected, rel=1e-6)


def test_seeds_choose_weights_and_batches() -> None:
    results = [trainer("quadratic").train(ADAMW, seed) for seed in (0, 1, 2)]
    assert len({result.losses for result in results}) == 3


def test_the_same_training_gives_the_same_bits() -> None:
    once = [trainer("quadratic").train(program, 1) for program in (ADAMW, LION)]
    trainer("quadratic").train(LION, 2)
    again = [trainer("quadratic").train(program, 1) for program in (ADAMW, LION)]
    another = Trainer(CATALOG["quadratic"]).train(LION, 1)
    assert once == again
    assert another == once[1]


def test_no_program_recompiles_the_loop() -> None:
    fresh = Trainer(CATALOG["quadratic"])
    program = zoo("adamw")
    for number in range(25):
        child = mutate(program, child_rng(0, number))
        program = child.program
        fresh.train(
            machine.assemble(child.analysis),
            seed=number % 3,
            hurdles=(float(number), 2.0),
            marks=(number, 40 + number),
            divergence=5.0 + number,
        )
    assert fresh._run._cache_size() == 1
    fresh.train(LION, 0, split="heldout")  # other data, of another length
    assert fresh._run._cache_size() == 2


# Where training stops -------------------------------------------------------------------

STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Probe(Task):
    """A loss of the mean weight alone; what makes it fail is up to the program."""

    blind: bool = False

    def splits(self) -> Splits:
        part = (np.zeros((8, 1), np.float32),)
        return Splits(part, part, part)

    def init(self, key: Any) -> Any:
        return {"a": jnp.ones(3), "b": jnp.ones((2, 2))}

    def loss(self, params: Any, batch: Any) -> Any:
        mean = jnp.mean(params["a"]) + 0.0 * jnp.mean(batch[0])
        if self.blind:  # finite whatever the weights are
            return 1.0 + jnp.tanh(mean)
        return jnp.where(mean > 50.0, jnp.nan, mean**2)


PROBE = Trainer(Probe(name="probe", width=2, batch=4, steps=STEPS))
BLIND = Trainer(replace(PROBE.task, blind=True))

#: `on` is 0 for 20 steps, and 1 from the 21st.
SWITCH = ("m = m + 1.0", "on = m - 20.5", "on = sign(on)", "on = maximum(on, 0.0)")
NOTHING = "update = g * 0.0"
INFINITE = ("big = on * 3e38", "big = big * 10.0")


def stop(trainer: Trainer, *statements: str, **options: Any) -> Trained:
    return trainer.train(code(*statements), 0, **options)


def test_stops_at_the_first_loss_that_is_nan() -> None:
    result = stop(PROBE, *SWITCH, NOTHING, "jump = on * 100.0", "update = update - jump")
    assert result == Trained(NOT_FINITE, 22, ())


@pytest.mark.parametrize(
    ("statements", "status"),
    [
        ((NOTHING, *INFINITE, "update = update - big"), NOT_FINITE),
        ((NOTHING, *INFINITE, "v = v + big", "x = sign(v)", "update = update * x"), NOT_FINITE),
        # The same slot, but nothing reads it.
        ((NOTHING, *INFINITE, "v = v + big"), FINISHED),
        # A temporary that is infinite does not matter.
        ((*INFINITE, "x = arctan(big)", "update = g * x", "update = update * 0.0"), FINISHED),
    ],
    ids=["weights", "live slot", "dead slot", "temporary"],
)
def test_weights_and_live_slots_are_looked_at_every_16_steps(
    statements: tuple[str, ...], status: str
) -> None:
    result = stop(BLIND, *SWITCH, *statements, marks=(19, STEPS))
    assert (result.status, result.steps) == (status, 32 if status == NOT_FINITE else STEPS)
    assert len(result.losses) == (1 if status == NOT_FINITE else 2)


def test_weights_and_live_slots_are_looked_at_at_marks() -> None:
    jump = (NOTHING, *INFINITE, "update = update - big")
    assert stop(BLIND, *SWITCH, *jump, marks=(25, STEPS)) == Trained(NOT_FINITE, 25, ())
    late = [s.replace("20.5", "97.5") for s in SWITCH]
    result = stop(BLIND, *late, *jump, marks=(25, STEPS))
    assert (result.status, result.steps, len(result.losses)) == (NOT_FINITE, STEPS, 1)


def test_stops_when_the_training_loss_exceeds_the_divergence() -> None:
    jump = (*SWITCH, NOTHING, "jump = on * 3.0", "update = update - jump")
    # 1 + 3 = 4 after the 21st step, so that the 22nd sees a loss of 16.
    options = {"marks": (10, STEPS)}
    assert stop(PROBE, *jump, divergence=15.9, **options) == Trained(DIVERGED, 22, (1.0,))
    at_limit = stop(PROBE, *jump, divergence=16.0, **options)
    assert (at_limit.status, at_limit.steps) == (DIVERGED, 23)


@pytest.mark.parametrize(
    ("hurdles", "status", "steps", "losses"),
    [
        ((0.99, 9.0), STOPPED, 10, (1.0,)),
        ((1.0, 0.99), STOPPED, 60, (1.0, 1.0)),
        ((1.0, 1.0), FINISHED, 60, (1.0, 1.0)),
        ((np.inf, np.inf), FINISHED, 60, (1.0, 1.0)),
    ],
    ids=["first", "last", "at the hurdles", "none"],
)
def test_stops_at_a_mark_above_its_hurdle(
    hurdles: tuple, status: str, steps: int, losses: tuple
) -> None:
    result = stop(PROBE, NOTHING, marks=(10, 60), hurdles=hurdles)
    assert result == Trained(status, steps, losses)


def test_marks_are_a_quarter_and_the_end() -> None:
    grow = (NOTHING, "update = update - 1.0")
    result = stop(PROBE, *grow)
    # The loss is NaN above 50: at the quarter the mean weight is 26.
    assert result == Trained(NOT_FINITE, 51, (26.0**2,))


def test_a_task_of_one_step_has_two_marks_there() -> None:
    one = Trainer(replace(PROBE.task, steps=1))
    assert one.train(code(NOTHING), 0) == Trained(FINISHED, 1, (1.0, 1.0))


def test_an_untrained_loss_that_is_not_finite_is_nan() -> None:
    class Bad(Probe):
        def init(self, key: Any) -> Any:
            return {"a": jnp.full(3, 60.0)}

    assert np.isnan(Trainer(Bad(name="bad", width=2, batch=4, steps=5)).untrained(LION, 0))
