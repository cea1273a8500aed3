"""Fitness: how much better than the baseline, on a scale that tasks share.

For one task and seed, with L the validation loss where training stopped, B
that of the baseline (the tuned start program) and U the loss before training:

    fitness = (B - L) / (U - B)

so the baseline scores 0, an untrained model -1, and +0.1 means a tenth more
progress than the baseline made. A program's fitness is the mean over the tasks
and seeds it was trained on. A program stopped at a hurdle is scored by the
loss it had there, which is what it is worth at that cost. One that is not
finite, diverges or fails has no fitness and loses every tournament.
"""

from __future__ import annotations

from statistics import fmean, median
from typing import Any

from evolve.errors import BadInput
from proxy_tasks.status import FINISHED

#: For each task, for each seed, one loss.
Losses = dict[str, list[float]]
#: For each task, for each seed, the loss at each mark that was reached.
Marks = dict[str, list[list[float]]]
#: Losses before training that differ by a larger share are those of other tasks.
SAME_LOSS = 0.01
#: For each task, a share of the baseline's gain for each mark.
Hurdles = dict[str, list[float]]


def final_losses(marks: Marks) -> Losses:
    """The loss at the last mark reached, for each task and seed."""
    return {task: [seed[-1] for seed in seeds if seed] for task, seeds in marks.items()}


def score(losses: Losses, baseline: Losses, untrained: Losses) -> float | None:
    """The formula above over all tasks and seeds in `losses`; None if there are none."""
    gains = [
        gain
        for task, values in losses.items()
        for gain in progress(values, baseline[task], untrained[task])
    ]
    return fmean(gains) if gains else None


def progress(losses: list[float], baseline: list[float], untrained: list[float]) -> list[float]:
    """`(B - L) / (U - B)` seed by seed."""
    return [
        (base - loss) / (start - base)
        for loss, base, start in zip(losses, baseline, untrained, strict=False)
    ]


def learns(baseline: Losses, untrained: Losses) -> bool:
    """Whether the baseline ends below the untrained loss on every task and seed it has."""
    return all(
        base < start
        for task, values in baseline.items()
        for base, start in zip(values, untrained[task], strict=False)
    )


def begin_alike(now: float, then: float) -> bool:
    """Whether two losses before training may be of the same task: processors differ a little."""
    return abs(now - then) <= SAME_LOSS * abs(then)


def check_start(answer: dict[str, Any], untrained: Losses) -> None:
    """Check that the start program learns.

    Raises:
        BadInput: if it does not, with what is known of it.
    """
    outcome, losses = answer["outcome"], final_losses(answer["losses"])
    if outcome == FINISHED and learns(losses, untrained):
        return
    if "detail" in answer:
        raise BadInput(
            f"the start program cannot be trained ({outcome}: {answer['detail']}); "
            "check the tasks, or give another --start"
        )
    detail = "; ".join(
        f"{task}: untrained {untrained[task][0]:.4g}, trained {values[0]:.4g}"
        for task, values in losses.items()
        if values
    )
    raise BadInput(
        f"the start program does not learn ({outcome}; {detail or 'no loss'}); "
        "give another --start, or better constants"
    )


def rotated(losses: Losses, first: int) -> Losses:
    """The losses of a program that was trained on every seed, from seed `first` on."""
    return {task: [*values[first:], *values[:first]] for task, values in losses.items()}


def hurdles(
    finished: list[tuple[Marks, int]],
    baseline: Marks,
    untrained: Losses,
    slack: tuple[float, float],
) -> Hurdles:
    """By how much, for each task, losses at each mark may lie above the baseline's there.

    The median over the programs in `finished`, each with its first seed, plus a slack;
    as a share of what the baseline gains by training on that seed.
    """
    shares: Hurdles = {}
    for task, seeds in baseline.items():
        gains = [start - marks[-1] for start, marks in zip(untrained[task], seeds, strict=False)]
        shares[task] = [
            extra + median((marks[task][0][k] - seeds[i][k]) / gains[i] for marks, i in finished)
            for k, extra in enumerate(slack)
        ]
    return shares


def limits(
    hurdles: Hurdles, baseline: Marks, untrained: Losses, seed: int
) -> dict[str, list[float]]:
    """For each task, the highest loss at each mark with which training on a seed goes on."""
    found = {}
    for task, shares in hurdles.items():
        marks = baseline[task][seed]
        gain = untrained[task][seed] - marks[-1]
        found[task] = [mark + share * gain for mark, share in zip(marks, shares, strict=True)]
    return found
