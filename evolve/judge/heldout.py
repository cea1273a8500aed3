"""Champion and tuned start on held-out data, on each task of the tournament and at larger rungs.

A rung is a task with ten or a hundred times the compute: a larger model, larger batches. What is
best on a small task need not be so on a large one, and a champion that is better on the small ones
alone is no discovery. Both come with the constants that they have on the task. At a larger rung
both get the best of a few scales of their update; a start whose constants are recorded for that
rung comes with those. The seeds are such that nothing was chosen on.
"""

from __future__ import annotations

from typing import Any

from evolve.judge import comparison, tuning
from evolve.judge.searched import Searched
from evolve.judge.trials import AGAIN, CLOSE, HELDOUT, Trials
from primitives.program import Program
from primitives.text import from_text, to_text

#: Held-out pairs that compare, at the first rung and at larger ones. On `digits_vit`, where pairs
#: differ by 4 %, a champion that is 1.2 % ahead is found so with p < 0.01 in 8 runs of 10 by 128
#: pairs, and in 4 by 64.
PAIRS = {1: 128, 10: 24, 100: 16}
#: Factors of an update that are tried at a larger rung, besides 1: large models want small steps.
#: Other constants are not: with 46 to 54 trials by CMA-ES two champions gained 0.3 % to 1.5 % more
#: on `digits_vit` at x10 and were still behind there, +0.4 % to -0.7 % more on text; and the trials
#: took half as long as a tournament.
SCALES = (0.125, 0.25, 0.5, 0.71, 1.41)


def compare(
    run: Searched, task: str, rung: int, champion: Program, outside: bool = False
) -> dict[str, Any]:
    """Champion and tuned start on one task at one rung: their losses and their programs.

    Arguments:
        run: that was judged.
        task: its name.
        rung: 1, 10 or 100.
        champion: with its constants on this task.
        outside: whether this is outside of the budget of the run.

    Raises:
        BadInput: if the task has no such rung.
    """
    doing = f"comparing on held-out data of {task}" + (f" at x{rung}" if rung > 1 else "")
    trials = run.trials(doing, tasks=[task], rung=rung, choosing=tuning.SEEDS, outside=outside)
    start = run.start(task)
    if rung > 1:
        start, champion = _at_their_best(run, trials, rung, start, champion)
    seeds = comparison.seeds(comparison.FIRST_COMPARED, PAIRS[rung])
    losses = trials.losses([start, champion], seeds, HELDOUT)
    return {
        "task": task,
        "rung": rung,
        "untrained": trials.tasks[task]["untrained"],
        "baseline": (losses[0] or {}).get(task, []),
        "champion": (losses[1] or {}).get(task, []),
        "programs": {"baseline": to_text(start), "champion": to_text(champion)},
        "steps": trials.steps if outside else 0,
    }


def _at_their_best(
    run: Searched, trials: Trials, rung: int, start: Program, champion: Program
) -> tuple[Program, Program]:
    """Both at the best scale of their update; the start as it was tuned there, where it was."""
    recorded = tuning.shipped(trials.tasks, rung, run.config.start)
    if recorded:
        ((champion, _),) = trials.at_best_of([champion], SCALES)
        return from_text(recorded.program), champion
    (start, _), (champion, _) = trials.at_best_of([start, champion], SCALES)
    return start, champion


def most(steps: int, rung: int, recorded: bool = False) -> int:
    """The highest cost of a comparison, for trainings of so many steps at the first rung.

    Less if the start's constants are `recorded` for the rung.
    """
    scaled = 0 if rung == 1 else 1 if recorded else 2
    trials = 1 + len(SCALES) + CLOSE * AGAIN
    return rung * steps * (scaled * trials * tuning.SEEDS + 2 * PAIRS[rung])
