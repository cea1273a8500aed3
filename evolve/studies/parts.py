"""`python -m evolve.studies.parts FILE [PART...]`: what each part of the search is worth.

The search as it is, and with one of its parts switched off or set otherwise, for some training
steps each, on seeds from 100 up. They begin with an AdamW that is tuned already, so that all
steps are those of the search. What counts is not what a search says of its best program, which
is partly luck, but what that program is worth on fresh seeds: at the end, and on the way there.
One JSON line in FILE per search, two at a time; what is there already is not done again.

With `--minutes M` searches are as long in time, not in steps, and each has one core for its driver
and its worker together: so a part that costs the driver time pays for it. Only the end is judged.
`python -m evolve.studies.parts_table` writes the table of `evolve/search/README.md`.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest.mock import patch

from evolve.judge.trials import Trials
from evolve.search import final_selection
from evolve.search.breeding import Breeding
from evolve.search.budget import SECONDS, STEPS, Budget
from evolve.search.config import Config
from evolve.search.driver import Driver
from evolve.search.evolution import Evolution
from evolve.search.fitness import Losses
from evolve.search.log import AGAIN, Record, RunLog
from evolve.search.session import worker_setup
from evolve.search.surrogate import Surrogate
from evolve.studies.calibration import read
from evolve.studies.rediscovery import commit
from evolve.workers import Pool, SerialPool
from primitives.text import from_text

#: AdamW with the constants that `way` came to.
START = """\
def train(w, g, m, v, lr):
    g2 = square(g)
    m = interp(g, m, 0.2887017)
    v = interp(g2, v, 0.65246546)
    sqrt_v = sqrt(v)
    update = m / sqrt_v
    wd = w * 0.018800864
    update = update + wd
    lr = lr * 0.026191
    update = update * lr
    return update, m, v
"""
SEEDS = range(100, 103)
#: The search as it is gets twice as many: every part is held against it.
AS_IT_IS, AS_IT_IS_SEEDS = "as it is", range(100, 106)
#: Training steps of a search, after which shares of them its best is judged, and on how many
#: fresh seeds.
BUDGET, MARKS, FRESH = 750_000, (0.25, 0.5, 0.75, 1.0), 16

Switch = Callable[[], AbstractContextManager[Any]]


class Part(NamedTuple):
    """A part of the search, and how it is done without.

    Attributes:
        instead: what is done in its place.
        settings: of the configuration.
        switch: for what no setting switches off.
    """

    instead: str
    settings: Mapping[str, Any] = MappingProxyType({})
    switch: Switch = nullcontext


def _own_seeds(self: Evolution, record: Record) -> list[int]:
    """Seeds that no other program has; the start's are the search's."""
    number = record.parent if record.mutation == AGAIN else record.number
    return [(number or 0) * self.config.replicates[-1] + seed for seed in _common(self, record)]


_common = Evolution.seeds


def _flat(losses: Losses, first: int) -> Losses:
    """The mean over the seeds in the place of each: a program is paired with no other."""
    return {task: [fmean(values)] * len(values) for task, values in losses.items()}


@contextmanager
def _unpaired() -> Iterator[None]:
    """Every program on seeds of its own, held against the mean of the start."""
    seeds = patch.object(Evolution, "seeds", _own_seeds)
    with seeds, patch("evolve.search.results.rotated", _flat):
        yield


def _steps_as_they_come() -> AbstractContextManager[Any]:
    return patch("evolve.search.breeding.factor", lambda *_: 1.0)


def _idle_kept() -> AbstractContextManager[Any]:
    return patch.object(Breeding, "_lean", lambda _, mutant: mutant)


@contextmanager
def _no_surrogate() -> Iterator[None]:
    """Nothing is guessed: neither of children, nor of parents, nor of what a seed tells."""
    blind = partial(Surrogate, stretches=())
    with patch("evolve.search.evolution.Surrogate", lambda niches, niche, _: blind(niches, niche)):
        yield


PARTS: dict[str, Part] = {
    AS_IT_IS: Part("nothing"),
    "scales": Part("children step as they come", switch=_steps_as_they_come),
    "looking": Part("no scales, no guesses; idle statements stay", {"stretches": False}),
    "idle statements": Part("they stay, and a slot they read is paid for", switch=_idle_kept),
    "guessing": Part("one child is drawn, not sixteen", {"candidates": 1}),
    "surrogate": Part(
        "one child is drawn, and none is ranked by it", {"candidates": 1}, _no_surrogate
    ),
    "all that is unproven": Part(
        "no surrogate, no elite, insertions anywhere, no restarts, no bonus for little tuned",
        {"candidates": 1, "elite_share": 0.0, "on_edges": 0.0, "patience": 10**9, "optimism": 0.0},
        _no_surrogate,
    ),
    "hurdles": Part("every training goes to its end", {"hurdle_slack": [1e9, 1e9]}),
    "common seeds": Part("every program has seeds of its own", switch=_unpaired),
    "few seeds first": Part("every program is trained on 16", {"replicates": [16]}),
    "more seeds later": Part("every program is trained on one, the same", {"replicates": [1]}),
    "population": Part("1,000 programs, not 200", {"population": 1000}),
    "no larger population": Part("50 programs, not 200", {"population": 50}),
    "elite": Part("all parents by tournament", {"elite_share": 0.0}),
    "insertions where it counts": Part("at a random place", {"on_edges": 0.0}),
    "patience": Part("a new round after 300 programs without a new best", {"patience": 300}),
    "patience, and restarts from the start": Part(
        "the same, each round from the best", {"patience": 300, "restart": "best"}
    ),
    "parsimony": Part("statements cost nothing", {"complexity_cost": 0.0}),
    "constants of their own": Part("the paper's mutations alone", {"constants_share": 0.0}),
    "few tries of a structure": Part("as many as come, not two", {"structure_tries": 1000}),
}


_pools: list[Pool] = []


def pool_of_this_process(log: RunLog) -> Pool:
    """One for all its searches: to compile anew for each takes as long as 50,000 steps."""
    if not _pools:
        setup = worker_setup(Config(start=START))
        _pools.append(SerialPool(setup).__enter__())
        atexit.register(_pools[0].__exit__, None, None, None)
    return _pools[0]


def search(
    name: str,
    seed: int,
    budget: int = BUDGET,
    opened: Callable[[RunLog], Pool] = pool_of_this_process,
    minutes: float | None = None,
) -> dict[str, Any]:
    """One search, and what the best that it knew at each mark is worth on fresh seeds.

    With `minutes` it is that long in the place of its budget of steps, and its end is the mark.
    """
    began = time.time()
    part = PARTS[name]
    settings = {"seed": seed, "start": START, "tuning_evaluations": 0, "closing_share": 0.0}
    config = Config.from_json({**settings, "finalists": 1, "judge_seeds": 1, **part.settings})
    with ExitStack() as stack:
        stack.enter_context(part.switch())
        folder = Path(stack.enter_context(TemporaryDirectory())) / "run"
        log = stack.enter_context(RunLog.create(folder, {"config": config.to_json()}))
        pool = opened(log)
        driver = Driver(log, pool, lambda _: None)
        driver.add_budget(
            Budget(STEPS, budget) if minutes is None else Budget(SECONDS, 60 * minutes)
        )
        driver.search()
        at = [int(mark * budget) for mark in MARKS] if minutes is None else [driver.steps]
        marks = list(bests(log, driver.untrained, at))
        programs = {number: text(log, number) for _, number in marks}
        fresh = worth(programs, pool, driver.untrained)
        return {
            "part": name,
            "seed": seed,
            "steps": driver.steps if minutes else budget,
            "minutes": minutes,
            "commit": commit(),
            "seconds": round(time.time() - began),
            "generated": driver.evolution.generated,
            "trained": driver.evolution.evaluated,
            "fresh": [[steps, fresh[number]] for steps, number in marks],
            "program": programs[marks[-1][1]],
        }


def bests(log: RunLog, untrained: Losses, marks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The number of the best program after so many training steps; the start's if there is none.

    The search is folded anew from its log: what a driver happened to know when the steps had
    been taken depends on the clock.
    """
    evolution = Evolution(Config.from_json(log.meta("config")), untrained)
    left, steps = deque(marks), 0
    for record in log.records():
        evolution.restore([record])
        steps += record.steps or 0
        while left and steps >= left[0]:
            yield left.popleft(), evolution.best or 0


def text(log: RunLog, number: int) -> str:
    """A program's."""
    record = log.record(number)
    assert record is not None
    return record.program


def worth(programs: dict[int, str], pool: Pool, untrained: Losses) -> dict[int, float]:
    """The fitness of programs on fresh seeds, that of the start being 0; one that fails has -1."""
    memory = len(from_text(START).slots)
    trials, seeds = Trials(pool, memory=memory), final_selection.seeds(final_selection.FINAL, FRESH)
    start, *losses = trials.losses([from_text(t) for t in (START, *programs.values())], seeds)
    assert start is not None
    found = [final_selection.fitness(each or {}, start, untrained) for each in losses]
    return {n: -1.0 if f is None else f for n, f in zip(programs, found, strict=True)}


def missing(
    rows: list[dict[str, Any]], names: Sequence[str], seeds: Sequence[int] | None = None
) -> Iterator[tuple[str, int]]:
    """The searches still to be done, seed by seed: wherever it ends, parts have as many.

    Arguments:
        rows: those that are done.
        names: of the parts.
        seeds: of every part; by default `SEEDS`, and twice as many of the search as it is.
    """
    done = {(row["part"], row["seed"]) for row in rows}
    for seed in seeds or AS_IT_IS_SEEDS:
        for name in names:
            wanted = seeds or seed in SEEDS or name == AS_IT_IS
            if wanted and (name, seed) not in done:
                yield name, seed


def _pin(taken: Any) -> None:
    """Give this process, and the worker that it will start, a core of its own."""
    with taken.get_lock():
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[taken.value % len(cores)]})
        taken.value += 1


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="What each part of the search is worth.")
    parser.add_argument("results", type=Path)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--minutes", type=float, help="for searches that are equally long in time")
    parser.add_argument("--seeds", type=int, help="how many, from 100 up (default: 3, and 6)")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    seeds = range(100, 100 + asked.seeds) if asked.seeds else None
    todo = missing(read(asked.results), asked.parts or list(PARTS), seeds)
    context = get_context("spawn")
    pin = (_pin, (context.Value("i", 0),)) if asked.minutes else (None, ())
    with ProcessPoolExecutor(os.cpu_count(), context, *pin) as processes:
        jobs = [processes.submit(search, *each, minutes=asked.minutes) for each in todo]
        for done in as_completed(jobs):
            row = done.result()
            with asked.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row["part"], row["seed"], row["seconds"], row["fresh"][-1], flush=True)


if __name__ == "__main__":
    main()
