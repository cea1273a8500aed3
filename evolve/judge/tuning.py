"""The start program with its constants tuned on tasks: done once, recorded, read afterwards.

A search begins with the start program tuned on its tasks, so that no lucky constant passes for a
discovery. A tuning is a function of its key alone (tasks with their data and model, rung, start
program), so it makes no difference to a result whether it was done now or read; but for one that
a short time cut off, which is kept with its run alone. Those of the default start on built-in
tasks are recorded in `tunings.json`, for some also at a larger rung, where other constants are
best; others are kept in the user's cache, and in the log of the run that made them.

`python -m evolve.judge.tuning TASK RUNG PROGRAM` prints a record for that file.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evolve.cache import read_cache, write_cache
from evolve.errors import BadInput
from evolve.judge.constants import GENERATION
from evolve.judge.trials import REFINED, Trials
from evolve.provenance import provenance
from evolve.search.config import Config
from evolve.search.fitness import begin_alike
from evolve.search.fitting import rescaled
from evolve.search.probe import Stretch
from evolve.workers import Pool, Setup, open_pool
from primitives.program import Program, Statement, constant
from primitives.text import from_text, to_text

#: Constants tried on the first rung, and at a larger one, and the seeds of each trial.
FIRST, LARGER, SEEDS = 280, 64, 2
#: Factors of the update that are tried at a larger rung beside 1.
FACTORS = (0.125, 0.25, 0.5, 2.0)
#: Of a time this share at most is for it.
SHARE = 0.25
SHIPPED = Path(__file__).with_name("tunings.json")
_CACHE = "tunings.json"


@dataclass(frozen=True)
class Tuning:
    """A start program, tuned.

    Attributes:
        tasks: for each task its `fingerprint` (of the data), the model's `weights` and `steps`, and
            the loss before training, `untrained`, where it is not one of ours.
        rung: the size of the tasks.
        start: the text of the program that was tuned.
        program: the text with the constants found.
        trials, seeds: constants tried on both rungs, and the seeds of each trial.
        steps, cost: training steps that it took; in the cost those at rung x10 count ten.
        provenance: versions and machine.
    """

    tasks: dict[str, dict[str, Any]]
    rung: int
    start: str
    program: str
    trials: tuple[int, int]
    seeds: int
    steps: int
    cost: int
    provenance: dict[str, Any]


def shipped(tasks: dict[str, Any], rung: int, start: str) -> Tuning | None:
    """The tuning that comes with the package; None if there is none of this start there.

    `tasks` are the facts of the tasks at the rung, as `prepare` tells them.
    """
    return _found(json.loads(SHIPPED.read_text()), tasks, rung, start)


def is_recorded(start: str, data: Mapping[str, str], rung: int) -> bool:
    """Whether there is a tuning of a start at a rung for each of these tasks.

    `data` are the fingerprints of their data, by name; that of a rung is that of any other.
    """
    records = json.loads(SHIPPED.read_text())
    own = [r["tasks"] for r in records if (r["start"], r["rung"]) == (start, rung)]
    known = {(name, facts["fingerprint"]) for tasks in own for name, facts in tasks.items()}
    return known >= data.items()


def tuned_start(
    pool: Pool, config: Config, watch: Callable[[int], None], seconds: float | None = None
) -> dict[str, Any]:
    """What a search begins with: the start program with constants tuned on its tasks.

    The `program`, where its constants come from (`recorded`, `kept`, `tuned` or `as given`),
    and the tuning.

    Arguments:
        pool: started, with the run's tasks.
        config: of the run.
        watch: called often while trainings are waited for, with how many are done; it may raise.
        seconds: about how long it may take; None: as long as it needs.
    """
    start = config.start
    if not (config.tune_start and from_text(start).constants):
        return {"program": start, "constants": "as given", "tuning": None}
    limit = config.time_limit
    trials = Trials(pool, SEEDS, limit=limit, watch=lambda: watch(trials.answered))
    recorded = shipped(trials.tasks, 1, start) is not None
    found = tuned(trials, start, seconds)
    source = "recorded" if recorded else "tuned" if trials.count else "kept"
    return {"program": found.program, "constants": source, "tuning": asdict(found)}


def tuned(trials: Trials, start: str, seconds: float | None = None) -> Tuning:
    """The start program tuned: as it is recorded, or from the user's cache, or tuned now.

    Arguments:
        trials: at the first rung, with SEEDS choosing seeds.
        start: its text.
        seconds: as of `tuned_start`.

    Raises:
        BadInput: if training it raises something: then it is the task that is wrong.
    """
    found = shipped(trials.tasks, 1, start)
    if found is not None:
        return found
    known = read_cache(_CACHE)
    records = known if isinstance(known, list) else []
    found = _found(records, trials.tasks, 1, start)
    if found is None:
        found = _tune(trials, trials, 1, start, SEEDS, seconds=seconds)
        if found.trials[0] == FIRST:
            write_cache(_CACHE, [*records, asdict(found)])
    return found


def _tune(
    first: Trials,
    large: Trials,
    rung: int,
    start: str,
    seeds: int,
    effort: int = 1,
    seconds: float | None = None,
) -> Tuning:
    began = time.monotonic()
    if math.isinf(first.choose([from_text(start)])[0]) and first.failure:
        raise BadInput(f"the start program cannot be trained ({first.failure}); check the tasks")
    tries = (FIRST * effort, LARGER * effort if rung > 1 else 0)
    starts = [from_text(start), _faster(from_text(start))]
    scaled = [program for program, _ in first.at_best_scale(starts)]
    # Folded, for evolution changes one scale with less trouble than two.
    folded = [_folded(b, s, first.tasks) for b, s in zip(scaled, starts, strict=True)]
    best = min(zip(first.choose(folded), folded, strict=True), key=lambda entry: entry[0])[1]
    if seconds is not None and first.count:
        spent = time.monotonic() - began
        tries = (_affordable(tries[0], seeds * spent / first.count, seconds - spent), tries[1])
    best = first.tune(best, tries[0]) if best.constants and tries[0] else best
    if rung > 1:
        ((best, _),) = large.at_best_of([best], FACTORS)
        best = large.tune(best, tries[1]) if best.constants else best
    return Tuning(
        tasks={
            name: {**facts, "untrained": large.tasks[name]["untrained"][0]}
            for name, facts in _identity(large.tasks).items()
        },
        rung=rung,
        start=start,
        program=to_text(best),
        trials=tries,
        seeds=seeds,
        steps=first.steps + (large.steps if rung > 1 else 0),
        cost=first.steps + (rung * large.steps if rung > 1 else 0),
        provenance=provenance(),
    )


def _affordable(tries: int, each: float, seconds: float) -> int:
    """How many trials of constants fit into a time, in whole generations."""
    fitting = max(0, int(seconds / (each * (1 + REFINED))))
    return min(tries, fitting - fitting % GENERATION)


def _faster(program: Program) -> Program:
    """The program with no decay above 0.8.

    A decay of 0.999 remembers more steps than a small task has, and is hard to get away from:
    every constant between would be worse, at the scale that suits the long memory. From there alone
    560 trials left AdamW at 2.40 on `text_transformer`; from 0.8 it comes to 2.30.
    """
    return program.with_statements(
        Statement(
            statement.target,
            statement.function,
            tuple(
                constant(0.8) if isinstance(a, float) and 0.8 < a < 1 else a
                for a in statement.arguments
            ),
        )
        for statement in program.statements
    )


def _folded(best: Program, start: Program, tasks: dict[str, Any]) -> Program:
    """The start at its best scale, without a statement more if one of its constants can be it."""
    stretches = [Stretch(facts["stretch"]) for facts in tasks.values() if facts.get("stretch")]
    if best == start or not stretches:
        return best
    return rescaled(start, float(best.statements[-1].arguments[1]), stretches)


def _identity(tasks: dict[str, Any]) -> dict[str, dict[str, Any]]:
    facts = ("fingerprint", "weights", "steps")
    return {name: {fact: task[fact] for fact in facts} for name, task in tasks.items()}


def _found(records: list[Any], tasks: dict[str, Any], rung: int, start: str) -> Tuning | None:
    wanted = (_identity(tasks), rung, start)
    for record in records:
        try:
            tuning = Tuning(**record)
        except TypeError:  # of another version
            continue
        own = {name: _without_loss(facts) for name, facts in tuning.tasks.items()}
        if (own, tuning.rung, tuning.start) == wanted and _begin_alike(tuning.tasks, tasks):
            return tuning
    return None


def _without_loss(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: fact for name, fact in facts.items() if name != "untrained"}


def _begin_alike(recorded: dict[str, Any], tasks: dict[str, Any]) -> bool:
    """Whether losses before training are the same: a task of a user may be another by now."""
    for name, facts in recorded.items():
        then, now = facts.get("untrained"), tasks[name]["untrained"][0]
        if then is not None and not begin_alike(now, then):
            return False
    return True


def main() -> None:
    """Tune a program on a task at a rung, with twice the effort, and print the record."""
    task, rung = sys.argv[1], int(sys.argv[2])
    start = to_text(from_text(Path(sys.argv[3]).read_text()))
    setup = Setup({"program": start, "tasks": [task], "rung": 1, "seeds": [0], "stretch": True})
    with open_pool(setup, 0) as pool:
        first = Trials(pool, 2 * SEEDS)
        large = Trials(pool, 2 * SEEDS, rung=rung) if rung > 1 else first
        print(json.dumps(asdict(_tune(first, large, rung, start, 2 * SEEDS, 2)), indent=2))


if __name__ == "__main__":
    main()
