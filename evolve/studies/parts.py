"""`python -m evolve.studies.parts FILE`: what each part of the search is worth.

Eight parts are switched off and on in the sixteen ways of a factorial design (2^(8-4), resolution
IV: Box and Hunter, "The 2^(k-p) fractional factorial designs", 1961), so that every search tells
something of every part, and what two parts do together is not mistaken for what one does alone.
The search as it is and the one without any of the eight are among the sixteen. Two parts without
which there is next to nothing are switched off alone.

A search is that of `evolve run`, for six minutes of processor time of driver and worker together:
a part that costs time pays for it, and it is the same whatever else the machine does. What counts
is not what a search says of its best program, which is partly luck, but what that program is
worth on fresh seeds. One JSON line in FILE per search; what is there already is not done again.

With `--longer`, searches of ten minutes instead: as it is, and without some of the four parts of
which the design shows nothing.

`python -m evolve.studies.parts_table` writes the table of `evolve/search/README.md`.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from evolve.budget import SECONDS, Budget
from evolve.judge import comparison
from evolve.judge.trials import Trials
from evolve.judge.tuning import tuned_start
from evolve.search.config import Config
from evolve.search.driver import Driver, worker_setup
from evolve.search.fitness import Losses
from evolve.search.log import START, RunLog
from evolve.session import configured, facts
from evolve.studies.calibration import read
from evolve.studies.rediscovery import commit
from evolve.summary import best_number
from evolve.workers import Pool, SerialPool
from evolve.workers.base import START_LIMIT
from primitives.text import from_text

#: Minutes of a search, the first seed, seeds, and fresh seeds of each result.
MINUTES, FIRST_SEED, SEEDS, FRESH = 6.0, 100, 2, 16


#: The same of the longer searches.
LONGER_MINUTES, LONGER_FIRST_SEED, LONGER_SEEDS = 10.0, 103, 3


class Part(NamedTuple):
    """A part of the search: what is done in its place, and the settings that do so."""

    instead: str
    settings: Mapping[str, Any]


#: The parts of the design, in its order.
PARTS: dict[str, Part] = {
    "elite": Part("all parents by tournament", {"elite_share": 0.0}),
    "insertions where it counts": Part("at a random place", {"on_edges": 0.0}),
    "fitting": Part("children are trained as they come", {"fitting": False}),
    "parsimony": Part("statements cost nothing", {"complexity_cost": 0.0}),
    "few tries of a structure": Part("as many as come, not two", {"structure_tries": 10**6}),
    "structures kept for tuning": Part("of each niche the best alone", {"structures": 1}),
    "hurdles": Part("every training goes to its end", {"hurdle_slack": [1e9, 1e9]}),
    "more seeds later": Part("every program is trained on one", {"replicates": [1]}),
}
#: Parts that are switched off alone.
ALONE: dict[str, Part] = {
    "probe": Part("no steps before training, nor fitting", {"probe": False}),
    "constants of their own": Part("the paper's mutations alone", {"constants_share": 0.0}),
}


#: What is switched off in the longer searches: nothing, and more and more of what is not shown.
LONGER = (
    frozenset[str](),
    frozenset({"elite", "parsimony"}),
    frozenset({"elite", "parsimony", "few tries of a structure"}),
    frozenset({"elite", "parsimony", "few tries of a structure", "fitting"}),
)


def design() -> Iterator[frozenset[str]]:
    """The parts that are off in each search of the design; in the first none are.

    Each of the last four is off where the product of three of the first four says so.
    """
    for a, b, c, d in product((1, -1), repeat=4):
        signs = (a, b, c, d, b * c * d, a * c * d, a * b * c, a * b * d)
        yield frozenset(name for name, sign in zip(PARTS, signs, strict=True) if sign < 0)


#: What is switched off in each search.
SEARCHES = (*design(), *(frozenset({name}) for name in ALONE))


def config_without(off: Iterable[str], seed: int) -> Config:
    """The configuration of a default run without some parts, and without its closing."""
    settings: dict[str, Any] = {"seed": seed, "closing_share": 0.0}
    for name in off:
        settings |= {**PARTS, **ALONE}[name].settings
    return configured(settings)


_pools: list[Pool] = []


def pool_of_this_process(config: Config) -> Pool:
    """One for all its searches, since compiling anew takes as long as many trainings."""
    if not _pools:
        _pools.append(SerialPool(worker_setup(config)).__enter__())
        atexit.register(_pools[0].__exit__, None, None, None)
    (pool,) = _pools
    pool.setup = worker_setup(config)  # of another search, which proposes otherwise
    pool.submit(0, {"action": "prepare", **pool.setup.request}, START_LIMIT)
    while (finished := pool.next(1.0)) is None:
        pass
    pool.tasks = finished.answer["tasks"]  # on as many seeds as this search has
    return pool


class _Metered(Driver):
    """A driver whose time is processor time: its own and that of its one worker."""

    _spent_before = 0.0

    @property
    def seconds(self) -> float:
        assert isinstance(self.pool, SerialPool)
        worker = self.pool.process_ids[0]
        return time.process_time() + _processor_seconds(worker) - self._spent_before

    def start_clock(self) -> None:
        """Count from now."""
        self._spent_before += self.seconds


def metered(log: RunLog, pool: Pool) -> Driver:
    """A driver that counts processor time, from now."""
    driver = _Metered(log, pool)
    driver.start_clock()
    return driver


def _processor_seconds(process: int) -> float:
    """What a process and its threads have used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def search(
    off: frozenset[str],
    seed: int,
    budget: Budget,
    opened: Callable[[Config], Pool] = pool_of_this_process,
    driven: Callable[[RunLog, Pool], Driver] = metered,
) -> dict[str, Any]:
    """One search, and what its best program is worth on fresh seeds."""
    config = config_without(off, seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory())) / "run"
        log = stack.enter_context(RunLog.create(folder, facts(config, "adamw", str(budget))))
        pool = opened(config)
        driver = driven(log, pool)
        driver.begin_with(tuned_start(pool, config, lambda done: None))
        driver.add_budget(budget)
        driver.search()
        start, best = log.record(START), log.record(best_number(log) or START)
        assert start is not None and best is not None
        return {
            "off": sorted(off),
            "seed": seed,
            "commit": commit(),
            "minutes": budget.amount / 60,
            "steps": driver.steps,
            "generated": driver.state.generated,
            "trained": driver.state.evaluated,
            "start": start.program,
            "program": best.program,
            "fresh": worth(best.program, start.program, pool, driver.untrained),
        }


def worth(program: str, start: str, pool: Pool, untrained: Losses) -> float:
    """The fitness of a program on fresh seeds, that of the start being 0; -1 if it fails."""
    memory, seeds = from_text(start), comparison.seeds(comparison.FIRST_FRESH, FRESH)
    base, losses = Trials(pool, memory=memory).losses([memory, from_text(program)], seeds)
    assert base is not None
    found = comparison.fitness(losses or {}, base, untrained)
    return -1.0 if found is None else found


def missing(
    rows: list[dict[str, Any]],
    seeds: Sequence[int],
    searches: Sequence[frozenset[str]] = SEARCHES,
) -> Iterator[tuple[frozenset[str], int]]:
    """The searches still to be done, seed by seed."""
    done = {(frozenset(row["off"]), row["seed"]) for row in rows}
    for seed in seeds:
        for off in searches:
            if (off, seed) not in done:
                yield off, seed


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="What each part of the search is worth.")
    parser.add_argument("results", type=Path)
    parser.add_argument("--longer", action="store_true", help="searches of ten minutes")
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="searches (all cores)")
    asked = parser.parse_args(arguments)
    if asked.longer:
        minutes, seeds = LONGER_MINUTES, range(LONGER_FIRST_SEED, LONGER_FIRST_SEED + LONGER_SEEDS)
        todo = missing(read(asked.results), seeds, LONGER)
    else:
        minutes, seeds = MINUTES, range(FIRST_SEED, FIRST_SEED + SEEDS)
        todo = missing(read(asked.results), seeds)
    budget = Budget(SECONDS, 60 * minutes)
    with ProcessPoolExecutor(asked.at_once, get_context("spawn")) as processes:
        jobs = [processes.submit(search, *each, budget) for each in todo]
        for done in as_completed(jobs):
            if done.exception():
                processes.shutdown(wait=False, cancel_futures=True)
            row = done.result()
            with asked.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row["seed"], f"{row['fresh']:+.4f}", row["trained"], *row["off"], flush=True)


if __name__ == "__main__":
    main()
