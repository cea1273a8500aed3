"""The start program with its constants tuned at a rung: done once, recorded, read afterwards.

At a larger rung other constants are best, and a baseline that keeps those of the small one
is too easy to beat. A tuning is a function of its key alone (tasks with their data and
width, rung, start program), so it makes no difference to a result whether it was done now
or read. Those of the default start on the default task are shipped in `tunings.json`;
others are kept in the user's cache.

`python -m evolve.understand.tuning TASK RUNG` prints a record to ship.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evolve.cache import read_cache, write_cache
from evolve.search.provenance import provenance
from evolve.understand.trials import COARSE, FINE, Trials
from primitives.text import from_text, to_text

#: Constants tried, and the seeds that each is tried on.
TRIALS, SEEDS = 160, 2
#: Trainings that a tuning takes, the search for the scale included.
TRAININGS = SEEDS * (1 + len(COARSE) + len(FINE) + TRIALS)
SHIPPED = Path(__file__).with_name("tunings.json")
_CACHE = "tunings.json"


@dataclass(frozen=True)
class Tuning:
    """A start program, tuned.

    Attributes:
        tasks: for each task its `fingerprint` (of the data), the model's `weights` and `steps`.
        rung: the size of the tasks.
        start: the text of the program that was tuned.
        program: the text with the constants found.
        trials, seeds: constants tried, and seeds that each was tried on.
        steps: training steps that it took.
        provenance: versions and machine.
    """

    tasks: dict[str, dict[str, Any]]
    rung: int
    start: str
    program: str
    trials: int
    seeds: int
    steps: int
    provenance: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        """What a run's log keeps of it."""
        return {"program": self.program, "trials": self.trials, "seeds": self.seeds}


def shipped(tasks: dict[str, Any], rung: int, start: str) -> Tuning | None:
    """The tuning that comes with the package; None if there is none of this start there.

    `tasks` are the facts of the tasks at the rung, as `prepare` tells them.
    """
    return _found(json.loads(SHIPPED.read_text()), tasks, rung, start)


def tuned(trials: Trials, rung: int, start: str) -> Tuning:
    """The start program tuned at a rung, from the user's cache if it was tuned before.

    Arguments:
        trials: at the rung, with SEEDS choosing seeds.
    """
    known = read_cache(_CACHE)
    records = known if isinstance(known, list) else []
    found = _found(records, trials.tasks, rung, start)
    if found is None:
        found = _tune(trials, rung, start)
        write_cache(_CACHE, [*records, asdict(found)])
    return found


def _tune(trials: Trials, rung: int, start: str) -> Tuning:
    before = trials.steps
    ((best, _),) = trials.at_best_scale([from_text(start)])
    program = trials.tuned(best, TRIALS) if best.constants else best
    facts = _identity(trials.tasks)
    steps = trials.steps - before
    return Tuning(facts, rung, start, to_text(program), TRIALS, SEEDS, steps, provenance())


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
        if (tuning.tasks, tuning.rung, tuning.start) == wanted:
            return tuning
    return None


def main() -> None:
    """Tune AdamW on a task at a rung, and print the record."""
    from evolve.search.pool import Setup, open_pool
    from primitives.zoo import zoo

    task, rung = sys.argv[1], int(sys.argv[2])
    start = to_text(zoo("adamw"))
    setup = Setup({"program": start, "tasks": [task], "rung": 1, "seeds": [0]})
    with open_pool(setup, 0) as pool:
        print(json.dumps(asdict(_tune(Trials(pool, SEEDS, rung=rung), rung, start)), indent=2))


if __name__ == "__main__":
    main()
