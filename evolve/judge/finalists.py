"""The end of a search: its best programs are trained on fresh seeds, and the champion is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evolve.judge.final_selection import FINAL, HELDOUT, SPLIT, champion, seeds
from evolve.search.driver import TICK, Driver
from evolve.search.fitness import Losses, final_losses
from evolve.search.log import START
from proxy_tasks.status import FINISHED


def select_champion(driver: Driver) -> None:
    """Judge the finalists of a search that has ended, and compare the champion with the start.

    The log keeps both, and an event `finished` that names the champion.
    """
    driver.watch("judging the finalists on fresh seeds")
    log, here = driver.log, driver.state.proposed
    judged = _judged(driver, FINAL, [START, *finalists(driver)])
    statements = {number: log.complexity(number)[1] for number in judged}
    price = driver.config.statement_price
    best = champion(judged, START, driver.untrained, statements, price)
    _judged(driver, HELDOUT, list(dict.fromkeys([START, best])))
    facts = {"baseline": START, "champion": best}
    if (here, "finished", facts) not in log.events("finished"):
        with log.transaction():
            log.add_event(here, "finished", facts)


def finalists(driver: Driver) -> list[int]:
    """For each number of slots the best of each length, and then of each structure."""
    log, race = driver.log, driver.state.race
    rows = log.select(
        "SELECT number, slots, max(fitness) FROM proposals WHERE number > ? "
        "AND source IS NULL AND outcome = ? AND fitness > 0 GROUP BY slots, structure",
        (START, FINISHED),
    )
    # Few seeds tell little, and some are easy.
    best = sorted((number for number, *_ in rows), key=lambda n: (-race.expected(n), n))
    found: dict[int, list[int]] = {}
    for number in [*race.front(), *best]:
        found.setdefault(log.complexity(number)[0], []).append(number)
    share = -(-driver.config.finalists // max(len(found), 1))
    return [n for numbers in found.values() for n in [*dict.fromkeys(numbers)][:share]]


def _judged(driver: Driver, stage: str, numbers: Sequence[int]) -> dict[int, Losses]:
    """The losses of programs on the seeds of a stage, those known from before included."""
    log, config, here = driver.log, driver.config, driver.state.proposed
    count = config.judge_seeds * (2 if stage == HELDOUT else 1)
    missing = [n for n in numbers if n not in log.judgements(here, stage)]
    for number in missing:
        record = log.record(number)
        assert record is not None
        request = driver.request(record, seeds(stage, count), SPLIT[stage])
        # A training on every seed is many times a search evaluation.
        driver.pool.submit(number, request, config.time_limit * count)
    answers: dict[int, dict[str, Any]] = {}
    for number in missing:  # stored in order, whichever ends first
        while number not in answers:
            driver.watch("judging the finalists on fresh seeds")
            finished = driver.pool.next(TICK)
            if finished is not None:
                answers[finished.key] = finished.answer
        answer = answers[number]
        losses = final_losses(answer["losses"]) if answer["outcome"] == FINISHED else {}
        with log.transaction():
            log.add_judgement(here, number, stage, losses, answer["steps"])
        driver.steps += answer["steps"]
    return log.judgements(here, stage)
