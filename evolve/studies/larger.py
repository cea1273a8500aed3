"""`python -m evolve.studies.larger FILE PROGRAM...`: a character model of a million weights.

What a memory is worth changes with the length of a training, and small tasks favour rules without
one. So AdamW, Lion, Muon and every PROGRAM (a name, a run, a file) train a model that is two
hundred times as large as that of the search. Their constants are the best of as many trials on a
model as small as the search's, over as many steps as here. The peak of the learning rate is chosen
here, on one seed and validation data; then three fresh seeds and held-out data tell. They train as
people would, as Optax optimizers, after a warm-up and under a cosine, all the same model.

One JSON line in FILE for each training, with its held-out losses on the way; what is there already
is not done again. `--table` prints what they came to, and `--plot FILE` draws it.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from evolve.export.lowering import lower
from evolve.judge.ranking import at_best
from evolve.judge.trials import Trials
from evolve.library.optimizer import load
from evolve.library.trials import trials_pool
from evolve.programs import load_program
from evolve.studies.calibration import read
from evolve.studies.unseen import TEXT, Blocks
from primitives.program import Program
from primitives.text import from_text, to_text
from proxy_tasks.task import Task, batches

RULES = ("adamw-corrected", "lion", "muon")
STEPS, BATCH = 2000, 16
SMALL = replace(TEXT, name="small", steps=STEPS, batch=BATCH, schedule="cosine")
LARGE = Blocks(
    name="large", blocks=5, width=128, heads=4, steps=STEPS, batch=BATCH, schedule="cosine"
)
globals()["small"] = SMALL  # where workers find it
#: Trials of the constants on the small model, and the seeds of each.
TUNING, CHOOSING = 96, 2
#: Peaks of the learning rate that are tried on the large model, as multiples of the small one's;
#: then those around the best.
PEAKS, AROUND = tuple(4.0**k for k in (-3, -2, -1, 0)), (0.5, 2.0)
CHOSEN, FRESH = 100, (101, 102, 103)
#: As many windows of text tell a loss.
WINDOWS = 512
#: Steps until the rate is at its peak, and between two looks at the held-out loss.
WARM_UP, EVERY = 100, 100


def constants(program: str) -> Program:
    """A program with its constants tuned on the small model, over as many steps."""
    task = f"{__spec__.name}:small"
    with trials_pool((task,), "auto", TUNING * CHOOSING) as pool:
        return at_best(Trials(pool, CHOOSING, tasks=[task]), load_program(program), TUNING)


def curve(
    program: Program, factor: float, seed: int, task: Task = LARGE, split: str = "heldout"
) -> list[float]:
    """The loss before training and after every `EVERY` steps; NaN once it is lost.

    Arguments:
        program: with its constants.
        factor: of the learning rate's peak.
        seed: of the weights and the batches.
        split: on which the loss is taken, `validation` or `heldout`.
    """
    import jax
    import jax.numpy as jnp
    import optax

    peak = factor * lower(program).peak.default
    steps = jnp.arange(task.steps)
    rates = peak * jnp.minimum(1.0, (steps + 1) / WARM_UP) * jnp.asarray(task.learning_rate())
    optimizer = load(to_text(program)).to_optax(lambda step: rates[step])
    splits = task.splits()
    train = tuple(map(jnp.asarray, splits.train))
    told = tuple(jnp.asarray(array[:WINDOWS]) for array in getattr(splits, split))
    order = batches(task, len(splits.train[0]), seed)

    def step(state: Any, chosen: Any) -> Any:
        params, memory = state
        gradient = jax.grad(task.loss)(params, tuple(each[chosen] for each in train))
        updates, memory = optimizer.update(gradient, memory, params)
        return (optax.apply_updates(params, updates), memory), None

    on_the_way = jax.jit(lambda state, part: jax.lax.scan(step, state, part)[0])
    loss = jax.jit(task.loss)
    params = task.init(jax.random.key(seed))
    state = (params, optimizer.init(params))
    losses = [float(loss(params, told))]
    for begin in range(0, task.steps, EVERY):
        state = on_the_way(state, jnp.asarray(order[begin : begin + EVERY]))
        losses.append(float(loss(state[0], told)))
        if not math.isfinite(losses[-1]):
            break
    return losses


def trainings(own: Callable[[], list[dict[str, Any]]]) -> Iterator[tuple[float, int]]:
    """The factor and the seed of each training of a program, given what was done so far."""
    for factor in PEAKS:
        yield factor, CHOSEN
    middle = chosen([row for row in own() if row.get("factor") in PEAKS])
    for beside in AROUND:
        yield beside * middle, CHOSEN
    best = chosen(own())
    for seed in FRESH:
        yield best, seed


def chosen(rows: Sequence[dict[str, Any]]) -> float:
    """The factor of the peak that is best on the seed for choosing."""
    ends = {row["factor"]: row["losses"][-1] for row in rows if row.get("seed") == CHOSEN}
    return min(ends, key=lambda factor: (math.isnan(ends[factor]), ends[factor]))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: the held-out loss at the end, and the steps to where the first rule ends."""
    lines = [["program", "held-out loss", "steps to the first one's"], ["---"] * 3]
    curves = fresh(rows)
    level = fmean(losses[-1] for losses in next(iter(curves.values()), [[math.nan]]))
    for name, own in curves.items():
        ends = [losses[-1] for losses in own]
        error = stdev(ends) / math.sqrt(len(ends)) if len(ends) > 1 else math.nan
        means = np.mean([losses for losses in own if len(losses) == len(own[0])], axis=0)
        first = next((i * EVERY for i, mean in enumerate(means) if mean <= level), None)
        lines.append([name, f"{fmean(ends):.4f} ± {error:.4f}", str(first or "-")])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def fresh(rows: Sequence[dict[str, Any]]) -> dict[str, list[list[float]]]:
    """The held-out losses on the way, of each program on each of the fresh seeds."""
    found: dict[str, list[list[float]]] = {}
    for row in rows:
        if row.get("seed") in FRESH:
            found.setdefault(row["program"], []).append(row["losses"])
    return found


def plot(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """A picture of the held-out losses on the way: the mean of each program, and each seed."""
    from matplotlib.figure import Figure

    figure = Figure((6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, own in fresh(rows).items():
        steps = [i * EVERY for i in range(max(map(len, own)))]
        whole = [losses for losses in own if len(losses) == len(steps)]
        (line,) = axes.plot(steps, np.mean(whole, axis=0), label=Path(name).stem)
        for losses in own:
            axes.plot(steps[: len(losses)], losses, color=line.get_color(), alpha=0.25, lw=0.8)
    axes.set(xlabel="steps", ylabel="held-out loss, nats per character", yscale="log")
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)


def train(file: Path, program: str) -> None:
    """Do what is missing of a program's trainings."""

    def own() -> list[dict[str, Any]]:
        return [row for row in read(file) if row["program"] == program]

    def note(**row: Any) -> None:
        with file.open("a") as rows:
            rows.write(json.dumps({"program": program, **row}) + "\n")

    if not own():
        note(tuned=to_text(constants(program)))
    tuned = from_text(own()[0]["tuned"])
    for factor, seed in trainings(own):
        if not any((row.get("factor"), row.get("seed")) == (factor, seed) for row in own()):
            split = "validation" if seed == CHOSEN else "heldout"
            note(factor=factor, seed=seed, losses=curve(tuned, factor, seed, split=split))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Rules on a model of a million weights.")
    parser.add_argument("results", type=Path)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM")
    parser.add_argument("--table", action="store_true", help="print what was measured")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="and draw it")
    asked = parser.parse_args(arguments)
    for program in () if asked.table else (*RULES, *asked.programs):
        train(asked.results, program)
    print(table(read(asked.results)))
    if asked.plot is not None:
        plot(read(asked.results), asked.plot)


if __name__ == "__main__":
    main()
