"""The driver: the log does not depend on when answers arrive, or on when it dies."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fakes import FakePool, Killed, config
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.budget import EVALUATIONS, PROGRAMS, SECONDS, Budget, Closing
from evolve.errors import BadInput
from evolve.judge import ending
from evolve.search import proposal
from evolve.search.config import Config
from evolve.search.driver import Driver
from evolve.search.log import RunLog
from evolve.search.mutation import Mutant
from evolve.summary import summarize
from primitives.abstract import analyse

Make = Callable[[], Path]


@pytest.fixture
def fresh(tmp_path: Path) -> Make:
    numbers = itertools.count()
    return lambda: tmp_path / str(next(numbers))


def create(folder: Path, config: Config) -> None:
    RunLog.create(folder, {"config": config.to_json(), "provenance": {}}).close()


def go_on(folder: Path, pool: FakePool, budget: Budget | None = None, **options: Any) -> Driver:
    with RunLog.open(folder, write=True) as log:
        driver = Driver(log, pool, options.get("observe", lambda driver: None))  # type: ignore[arg-type]
        if budget:
            driver.add_budget(budget)
        driver.search()
        ending.note_end(log, driver.state.proposed)
        driver.note_session()
    return driver


def search(folder: Path, config: Config, budget: Budget, **options: Any) -> Driver:
    create(folder, config)
    return go_on(folder, FakePool(config, **options), budget)


def compared(folder: Path) -> list[tuple[Any, ...]]:
    with RunLog.open(folder) as log:
        return log.compared()


@pytest.mark.promise(4)
@pytest.mark.parametrize("budget", [Budget(EVALUATIONS, 60), Budget("steps", 12_000)], ids=str)
@pytest.mark.parametrize("in_flight", [1, 3, 16])
def test_the_order_in_which_answers_arrive_does_not_matter(
    fresh: Make, in_flight: int, budget: Budget
) -> None:
    settings = config(in_flight=in_flight)
    random = Random(0)
    logs = []
    for choose in (lambda n: 0, lambda n: n - 1, random.randrange):
        folder = fresh()
        search(folder, settings, budget, choose=choose)
        logs.append(compared(folder))
    assert logs[0] == logs[1] == logs[2]
    assert len(logs[0]) > 60


@pytest.mark.promise(1)
@settings(max_examples=25)
@given(
    deaths=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    budget=st.sampled_from([Budget(EVALUATIONS, 50), Budget(PROGRAMS, 80), Budget("steps", 9000)]),
)
def test_a_run_that_died_goes_on_as_if_it_never_had(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[int], budget: Budget
) -> None:
    settings = config()
    whole, folder = (tmp_path_factory.mktemp("run") / "log" for _ in range(2))
    search(whole, settings, budget)
    create(folder, settings)
    first: Budget | None = budget
    for patience in [*deaths, None]:
        pool = FakePool(settings, Random(0).randrange, patience)
        try:
            go_on(folder, pool, first)
        except Killed:
            first = None
    assert compared(folder) == compared(whole)


def test_a_driver_may_die_whenever_it_looks_up(fresh: Make) -> None:
    """As above, but between any two transactions instead of while it waits."""
    settings, budget = config(), Budget(EVALUATIONS, 30)
    whole = fresh()
    search(whole, settings, budget)
    for moment in (0, 1, 2, 9, 17, 25, 30):
        folder = fresh()
        create(folder, settings)
        looks = itertools.count()

        def look(driver: Driver, looks: itertools.count[int] = looks, moment: int = moment) -> None:
            if next(looks) == moment:
                raise Killed

        try:
            go_on(folder, FakePool(settings), budget, observe=look)
        except Killed:
            go_on(folder, FakePool(settings))
        assert compared(folder) == compared(whole), moment


@pytest.mark.parametrize("evaluations", [1, 2, 5, 7, 8])
def test_small_budgets_are_met_to_the_unit(fresh: Make, evaluations: int) -> None:
    folder = fresh()
    driver = search(folder, config(), Budget(EVALUATIONS, evaluations))
    assert driver.state.evaluated == evaluations
    with RunLog.open(folder) as log:
        summary = summarize(log)
        assert summary["evaluated"] == evaluations
        assert summary["state"] == "finished"
        assert summary["champion"]["id"] == summary["baseline"]["id"] or evaluations > 1


def test_a_budget_of_programs_is_met_to_the_unit(fresh: Make) -> None:
    driver = search(fresh(), config(), Budget(PROGRAMS, 33))
    assert driver.state.generated == len(driver.state.race) == 33


def test_a_budget_of_steps_ends_with_the_program_that_reaches_it(fresh: Make) -> None:
    folder = fresh()
    search(folder, config(in_flight=1), Budget("steps", 5000))
    with RunLog.open(folder) as log:
        steps = [n for (n,) in log.select("SELECT steps FROM programs WHERE source IS NULL")]
    assert sum(steps[:-1]) < 5000 <= sum(steps)


def test_programs_that_are_all_known_end_with_the_budget(
    fresh: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing to wait for: every child behaves like its parent."""

    def copy(parent: Any, *rest: object) -> Mutant:
        return Mutant(parent, "change", "1: nothing", None, analyse(parent), 0)

    monkeypatch.setattr(proposal, "mutate", copy)
    driver = search(fresh(), config(), Budget(PROGRAMS, 1000))
    assert driver.state.generated == len(driver.state.race) == 1000


def test_a_budget_of_time_ends_and_leaves_nothing_pending(fresh: Make) -> None:
    folder = fresh()
    began = time.monotonic()
    driver = search(folder, config(), Budget(SECONDS, 0.5))
    assert time.monotonic() - began >= 0.5
    assert not driver.state.pending
    with RunLog.open(folder) as log:
        assert summarize(log)["state"] == "finished"
        kinds = log.select("SELECT kind FROM events WHERE NOT clock")
        assert kinds == [("finished",)]  # what the clock decided is not compared


def test_budgets_add_up(fresh: Make) -> None:
    folder, settings = fresh(), config()
    search(folder, settings, Budget(EVALUATIONS, 20))
    assert go_on(folder, FakePool(settings)).state.evaluated == 20  # nothing is left to do
    again = go_on(folder, FakePool(settings), Budget(EVALUATIONS, 10))
    assert again.state.evaluated == 30
    more = go_on(folder, FakePool(settings), Budget(PROGRAMS, 5))
    assert more.state.proposed == again.state.proposed + 5
    with RunLog.open(folder) as log:
        finished = log.events("finished")
        assert [at for at, _, _ in finished][1:] == [
            again.state.proposed,
            more.state.proposed,
        ]
        assert len(log.select("SELECT number FROM sessions")) == 4


def test_an_added_budget_is_so_much_more_from_now(fresh: Make) -> None:
    """Not from the end of a budget that was not spent."""
    folder, settings = fresh(), config()
    create(folder, settings)
    with pytest.raises(Killed):
        go_on(folder, FakePool(settings, patience=10), Budget(EVALUATIONS, 40))
    with RunLog.open(folder) as log:
        ((before,),) = log.select("SELECT count(*) FROM proposals WHERE source IS NULL")
    assert before < 40
    after = go_on(folder, FakePool(settings), Budget(EVALUATIONS, 5)).state.evaluated
    assert after == before + 5


def test_sessions_tell_seconds_and_workers(fresh: Make) -> None:
    folder, settings = fresh(), config()
    first = search(folder, settings, Budget(EVALUATIONS, 20)).seconds
    second = go_on(folder, FakePool(settings), Budget(EVALUATIONS, 20))
    assert second.seconds > 0.5 * first > 0  # both sessions together
    with RunLog.open(folder) as log:
        rows = log.select("SELECT number, seconds, data FROM sessions")
        assert [row[0] for row in rows] == [0, 1]
        assert all(seconds > 0 for _, seconds, _ in rows)
        assert all('"workers": 1' in data for _, _, data in rows)
        assert summarize(log)["seconds"] == pytest.approx(sum(row[1] for row in rows))


def test_requests_carry_what_was_stored(fresh: Make) -> None:
    folder, settings = fresh(), config(time_limit=7.0, tasks=("a", "b"), replicates=(3,))
    create(folder, settings)
    pool = FakePool(settings)
    go_on(folder, pool, Budget(EVALUATIONS, 40))
    with RunLog.open(folder) as log:
        stored = {r.number: r for r in log.records()}
        trained = [r for r in stored.values() if r.source is None]
        requests = [entry for entry in pool.submitted if entry[1]["split"] == "validation"]
        for key, request, limit in requests[:40]:
            assert limit == 7.0
            assert request["program"] == stored[key].program
            assert request["hurdles"] == stored[key].hurdles
            first = key % 3
            seeds = [first, (first + 1) % 3, (first + 2) % 3]
            assert (request["tasks"], request["seeds"]) == (["a", "b"], seeds)
        assert [key for key, _, _ in requests[:40]] == [r.number for r in trained]
        steps = sum(r.steps or 0 for r in trained)
        assert summarize(log)["training_steps"] == steps


def test_faults_are_noted_apart_from_the_log(fresh: Make) -> None:
    folder = fresh()
    search(folder, config(), Budget(EVALUATIONS, 150))
    with RunLog.open(folder) as log:
        crashed = {r.number for r in log.records("outcome = 'crashed' AND source IS NULL")}
        assert crashed
        faults = log.events("fault")
        assert {fault["number"] for _, _, fault in faults} == crashed
        assert all(fault["detail"] == "as told" for _, _, fault in faults)
        assert not any("fault" in row for row in log.compared())


def test_a_run_cannot_go_on_with_a_task_that_has_changed(fresh: Make) -> None:
    folder, settings = fresh(), config()
    search(folder, settings, Budget(EVALUATIONS, 5))
    for fact, value in (("fingerprint", "other"), ("weights", 5), ("steps", 6)):
        pool = FakePool(settings)
        pool.tasks["a"][fact] = value
        message = f"the task 'a' has changed: its {fact} is {value}, .*; start a new run"
        with pytest.raises(BadInput, match=message):
            go_on(folder, pool)


def test_the_scale_is_that_of_the_first_session(fresh: Make) -> None:
    """The untrained loss may differ in its last digit on another machine."""
    folder, settings = fresh(), config()
    search(folder, settings, Budget(EVALUATIONS, 5))
    pool = FakePool(settings)
    pool.tasks["a"]["untrained"] = [2.0000001] * settings.replicates[-1]
    assert go_on(folder, pool).untrained == {"a": [2.0] * settings.replicates[-1]}


@given(st.floats(0.1, 0.6), st.floats(0.0, 1e6), st.floats(0.0, 1.0), st.floats(1.0, 1e4))
def test_of_a_time_the_closing_gets_what_it_can_use_and_no_more_than_its_share(
    share: float, closing: float, least: float, seconds: float
) -> None:
    """And nothing where its share is too little: then nothing is judged."""
    driver = Driver.__new__(Driver)
    wanted = Closing(least * closing, closing)
    driver.config, driver._closing = config(closing_share=share), wanted
    driver.steps, driver._before, driver._began = 1000, seconds, time.monotonic()
    # Of a run that went on: the share is of what was added, not of all sessions.
    driver._budget = {"kind": SECONDS, "until": 900.0, "added": 600.0}
    budget = Budget(SECONDS, 900.0)
    left = driver._left_for_closing(budget)
    most, needed = closing * seconds / 1000, wanted.least * seconds / 1000
    if needed < 0.9 * share * 600:
        assert left == pytest.approx(min(share * 600, most), rel=0.05, abs=0.05)
    elif needed > share * 600:
        assert left == 0.0
    driver.steps = 0  # nothing is known of the speed yet
    assert driver._left_for_closing(budget) == share * 600
    for kind in (EVALUATIONS, PROGRAMS):
        assert driver._left_for_closing(Budget(kind, 600.0)) == 0.0
