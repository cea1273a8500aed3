"""`python -m evolve.studies.parts FILE [PART...]`: what each part of the search is worth.

The search as it is, and with one of its parts switched off or set otherwise, or several, all for
the same time: processor time of driver and worker together, so a part that costs time pays for
it, whatever else the machine does. With `--minutes 3 9` there are results after 3 and after 9.
They begin with an AdamW that is tuned already. What counts is not what a search says of its best
program, which is partly luck, but what that program is worth on fresh seeds. One JSON line in FILE
per result; what is there already is not done again.

`python -m evolve.studies.parts_table` writes the table of `evolve/search/README.md`.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

from evolve.budget import SECONDS, Budget
from evolve.judge import comparison
from evolve.judge.trials import Trials
from evolve.search.config import Config
from evolve.search.driver import Driver, worker_setup
from evolve.search.fitness import Losses
from evolve.search.log import RunLog
from evolve.studies.calibration import read
from evolve.studies.rediscovery import commit
from evolve.workers import Pool, SerialPool
from evolve.workers.base import START_LIMIT
from primitives.text import from_text

#: AdamW with the constants that are recorded for the default task.
START = """\
def train(w, g, m, v, lr):
    g2 = square(g)
    m = interp(g, m, 0.5061074)
    v = interp(g2, v, 0.8336147)
    sqrt_v = sqrt(v)
    update = m / sqrt_v
    wd = w * 0.015164837
    update = update + wd
    lr = lr * 0.023232082
    update = update * lr
    return update, m, v
"""
#: The search as it is, against which every part is held.
AS_IT_IS = "as it is"
#: Minutes of a search, searches of each part, their first seed, and fresh seeds of each result.
MINUTES, SEEDS, FIRST_SEED, FRESH = 3.0, 6, 100, 16


class Part(NamedTuple):
    """A part of the search: what is done in its place, and the settings that do so."""

    instead: str
    settings: Mapping[str, Any] = MappingProxyType({})


PARTS: dict[str, Part] = {
    AS_IT_IS: Part("nothing"),
    "elite": Part("all parents by tournament", {"elite_share": 0.0}),
    "insertions where it counts": Part("at a random place", {"on_edges": 0.0}),
    "fitting": Part("children are trained as they come", {"fitting": False}),
    "parsimony": Part("statements cost nothing", {"complexity_cost": 0.0}),
    "few tries of a structure": Part("as many as come, not two", {"structure_tries": 10**6}),
    "constants of their own": Part("the paper's mutations alone", {"constants_share": 0.0}),
    "bonus for little tuned": Part("as if all were tuned", {"optimism": 0.0}),
    "probe": Part("no steps before training, nor what needs them", {"probe": False}),
    "hurdles": Part("every training goes to its end", {"hurdle_slack": [1e9, 1e9]}),
    "few seeds first": Part("every program is trained on 16", {"replicates": [16]}),
    "more seeds later": Part("every program is trained on one", {"replicates": [1]}),
}


_pools: list[Pool] = []


def pool_of_this_process(config: Config) -> Pool:
    """One for all its searches, since compiling anew takes as long as many trainings."""
    if not _pools:
        _pools.append(SerialPool(worker_setup(config)).__enter__())
        atexit.register(_pools[0].__exit__, None, None, None)
    (pool,) = _pools
    pool.setup = worker_setup(config)  # of another search, which proposes otherwise
    pool.submit(0, {"action": "prepare", **pool.setup.request}, START_LIMIT)
    while pool.next(1.0) is None:
        pass
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


def configured(name: str, seed: int) -> Config:
    """The configuration of a search without a part."""
    settings = {"seed": seed, "start": START, "tune_start": False, "closing_share": 0.0}
    return Config.from_json({**settings, **PARTS[name].settings})


def search(
    name: str,
    seed: int,
    budgets: Sequence[Budget],
    opened: Callable[[Config], Pool] = pool_of_this_process,
    driven: Callable[[RunLog, Pool], Driver] = metered,
) -> list[dict[str, Any]]:
    """One search, and what its best program is worth on fresh seeds when each budget is spent."""
    config = configured(name, seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory())) / "run"
        log = stack.enter_context(RunLog.create(folder, {"config": config.to_json()}))
        pool = opened(config)
        driver = driven(log, pool)
        rows: list[dict[str, Any]] = []
        spent = 0.0
        for budget in budgets:
            driver.add_budget(budget._replace(amount=budget.amount - spent))
            driver.search()
            spent = budget.amount
            best = log.record(driver.state.race.best() or 0)
            assert best is not None
            counts = {
                "steps": driver.steps,
                "generated": driver.state.generated,
                "trained": driver.state.evaluated,
            }
            rows.append({"minutes": spent / 60, **counts, "program": best.program})
        facts = {"part": name, "seed": seed, "commit": commit()}
        return [
            {**facts, **row, "fresh": worth(row["program"], pool, driver.untrained)} for row in rows
        ]


def worth(program: str, pool: Pool, untrained: Losses) -> float:
    """The fitness of a program on fresh seeds, that of the start being 0; -1 if it fails."""
    memory = len(from_text(START).slots)
    trials, seeds = Trials(pool, memory=memory), comparison.seeds(comparison.FINAL, FRESH)
    start, losses = trials.losses([from_text(t) for t in (START, program)], seeds)
    assert start is not None
    found = comparison.fitness(losses or {}, start, untrained)
    return -1.0 if found is None else found


def missing(
    rows: list[dict[str, Any]], names: Sequence[str], seeds: Sequence[int], minutes: float
) -> Iterator[tuple[str, int]]:
    """The searches still to be done, seed by seed: wherever it ends, parts have as many."""
    done = {(row["part"], row["seed"]) for row in rows if row["minutes"] == minutes}
    for seed in seeds:
        for name in names:
            if (name, seed) not in done:
                yield name, seed


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="What each part of the search is worth.")
    parser.add_argument("results", type=Path)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"of each part ({SEEDS})")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help=f"seed ({FIRST_SEED})")
    parser.add_argument("--minutes", type=float, nargs="+", default=[MINUTES], help="of each (3)")
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="searches (all cores)")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    seeds = range(asked.first, asked.first + asked.seeds)
    todo = missing(read(asked.results), asked.parts or list(PARTS), seeds, asked.minutes[-1])
    budgets = [Budget(SECONDS, 60 * minutes) for minutes in asked.minutes]
    context = get_context("spawn")
    with ProcessPoolExecutor(asked.at_once, context) as processes:
        jobs = [processes.submit(search, *each, budgets) for each in todo]
        for done in as_completed(jobs):
            for row in done.result():
                with asked.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                told = ("part", "seed", "minutes", "trained", "fresh")
                print(*(row[fact] for fact in told), flush=True)


if __name__ == "__main__":
    main()
