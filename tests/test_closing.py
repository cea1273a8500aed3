"""The closing of a run: its stages, what it may cost, and that it can be cut short."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import jsonschema
import pytest
from fakes import ADAMW, UNTRAINED, FakePool, Killed, answer, config
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import examples

from evolve import cache, closing
from evolve.budget import EVALUATIONS, Budget
from evolve.judge import comparison, ending, heldout, overfitting, tuning
from evolve.judge.searched import Searched
from evolve.judge.trials import AGAIN, CHECK, FIRST_CHOOSING
from evolve.library.conclusion import found_sentence
from evolve.library.runs import Run
from evolve.library.verdict import closing_lines
from evolve.search.config import EQUAL_MEMORY, Config
from evolve.search.driver import Driver
from evolve.search.log import MORE_SEEDS, Record, RunLog
from evolve.summary import summarize
from evolve.understand import chain as chain_module
from evolve.understand import naming
from evolve.understand.identify import Identity
from primitives.abstract import analyse
from primitives.text import from_text, to_text

pytestmark = pytest.mark.usefixtures("quick")
SCHEMA = Path(__file__).parent.parent / "evolve" / "schemas" / "inspect.json"
#: A closing that may take this share can afford everything after a tiny search.
PLENTY = 0.995
ADAMW_STATEMENTS = from_text(ADAMW).statements
Make = Callable[[], Path]


@pytest.fixture
def fresh(tmp_path: Path) -> Make:
    numbers = itertools.count()
    return lambda: tmp_path / str(next(numbers))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No algebra, small tournaments, and a cache of its own."""
    monkeypatch.setattr(chain_module, "found_by_child", lambda program, seconds: [])
    monkeypatch.setattr(naming, "identify", _named_by_length)
    monkeypatch.setattr(closing, "PLANS", (closing.Plan(6, (1, 1), 1), closing.PLANS[-1]))
    monkeypatch.setattr(tuning, "FIRST", 16)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield


def _named_by_length(program: Any) -> Identity:
    return Identity(f"family of {len(program.statements)}", True)


def settings_of(**changes: Any) -> Config:
    return config(**{"closing_share": PLENTY, **changes})


def create(folder: Path, of: Config) -> None:
    RunLog.create(folder, {"config": of.to_json(), "provenance": {}}).close()


def go_on(folder: Path, pool: FakePool, budget: Budget | None = None) -> None:
    with RunLog.open(folder, write=True) as log:
        driver = Driver(log, pool)  # type: ignore[arg-type]
        if budget:
            driver.add_budget(budget)
        driver.search()
        ending.note_end(log, driver.state.proposed)
        closing.close_run(log, pool, driver.watch)  # type: ignore[arg-type]


def whole(folder: Path, of: Config, evaluations: int = 60, **options: Any) -> FakePool:
    """A run with its closing."""
    create(folder, of)
    pool = FakePool(of, **options)
    go_on(folder, pool, Budget(EVALUATIONS, evaluations))
    return pool


def compared(folder: Path) -> list[tuple[Any, ...]]:
    with RunLog.open(folder) as log:
        return log.compared()


def summary_of(folder: Path) -> dict[str, Any]:
    with RunLog.open(folder) as log:
        found = summarize(log)
    provenance = {"versions": {}, "machine": {}}
    strict = json.loads(SCHEMA.read_text())
    jsonschema.validate({**found, "provenance": {**found["provenance"], **provenance}}, strict)
    return found


def test_a_closing_goes_through_every_stage(fresh: Make) -> None:
    folder = fresh()
    create(folder, settings_of())
    assert (early := summary_of(folder))["overfitting"] is None and not early["closed"]
    go_on(folder, FakePool(settings_of()), Budget(EVALUATIONS, 60))
    found = summary_of(folder)
    assert found["closed"] and not found["left_out"]
    champion = found["champion"]
    assert champion["id"] != found["baseline"]["id"]
    assert champion["simplified"] == champion["chain"]["simplified"]
    for who in ("baseline", "champion"):
        length = len(from_text(found[who]["simplified"]).statements)
        assert found[who]["identity"]["family"] == f"family of {length}"
    assert [(row["task"], row["rung"]) for row in found["heldout"]] == [("a", "x1"), ("a", "x10")]
    assert [row["comparison"]["pairs"] for row in found["heldout"]] == [128, 24]
    assert found["overfitting"]


def test_the_tournament_is_told_and_its_champion_is_what_is_compared(fresh: Make) -> None:
    folder = fresh()
    pool = whole(folder, settings_of(judge_tasks=("a", "b")))
    found = summary_of(folder)
    told, champion = found["tournament"], found["champion"]
    assert told["tasks"] == ["a", "b"] and told["entrants"] <= 9  # the start, six, and two memories
    rows = {row["structure"]: row for row in told["structures"]}
    assert len(rows) == len(told["structures"])
    scored = [row for row in rows.values() if row["score"] is not None]
    best = max(scored, key=lambda row: row["score"])
    own = rows[told["champion"]["structure"]]
    assert own["id"] == champion["id"] and told["champion"]["best"] == (own is best)
    assert own["behind"] <= own["error"] and best["behind"] == 0
    for row in scored:
        assert row["score"] == pytest.approx(fmean(row["tasks"].values()))
        assert row["errors"].keys() == {"a", "b"} and min(row["errors"].values()) > 0
        assert row["behind"] > row["error"] or (row["slots"], row["statements"]) >= (
            own["slots"],
            own["statements"],
        )
    compared_ones = {row["task"]: row["programs"]["champion"] for row in found["heldout"]}
    assert compared_ones.keys() == {"a", "b"}
    first = [row for row in found["heldout"] if row["rung"] == "x1"]
    assert {r["task"]: r["programs"]["champion"] for r in first} == told["champion"]["programs"]
    judged = told["champion"]["programs"]["a"]  # its constants may have been rounded after that
    one, other = (analyse(from_text(text)) for text in (champion["simplified"], judged))
    assert one.structure == other.structure
    heldout_seeds = {
        request["seeds"][0] for _, request, _ in pool.submitted if request.get("split") == "heldout"
    }
    assert min(heldout_seeds) == comparison.FIRST_COMPARED
    chosen_on = {
        request["seeds"][0]
        for _, request, _ in pool.submitted
        if request["action"] == "evaluate" and request["split"] != "heldout"
    }
    assert not heldout_seeds & chosen_on


def test_a_search_that_finds_nothing_better_says_so(fresh: Make) -> None:
    def hopeless(request: dict[str, Any]) -> dict[str, Any]:
        loss = 1.0 if len(from_text(request["program"]).statements) == 9 else 1.5
        losses = {task: [[loss, loss] for _ in request["seeds"]] for task in request["tasks"]}
        return {"outcome": "finished", "losses": losses, "steps": 100}

    folder = fresh()
    whole(folder, settings_of(method="random"), answer=hopeless)
    found = summary_of(folder)
    assert found["champion"]["id"] == found["baseline"]["id"] == 0
    assert found["closed"]


def test_what_is_left_of_the_start_is_no_start(fresh: Make) -> None:
    """The search finds nothing, and the start is better with a statement less."""

    def shorter_is_better(request: dict[str, Any]) -> dict[str, Any]:
        of = from_text(request["program"])
        searched = request["seeds"][0] < comparison.FIRST_FRESH
        known = {s.function for s in of.statements} <= {s.function for s in ADAMW_STATEMENTS}
        loss = 1.0 if len(of.statements) == 9 else 0.9 if known and not searched else 1.5
        loss += 0.002 * Random(f"{request['seeds']} {of}").random()
        losses = {task: [[loss, loss] for _ in request["seeds"]] for task in request["tasks"]}
        return {"outcome": "finished", "losses": losses, "steps": 100}

    folder = fresh()
    whole(folder, settings_of(method="random"), 40, answer=shorter_is_better)
    found = summary_of(folder)
    assert found["champion"]["id"] == 0 and found["champion"]["is_start"] is False
    assert found["heldout"][0]["comparison"]["mean"] > 0.05
    found["champion"]["identity"] = None  # the made-up names have no program
    told = "\n".join([found_sentence(found, "adamw"), *closing_lines(found)])
    assert "Among" in told and "the tuned start program itself" not in told
    assert Run(folder).champion is not None


def test_while_a_run_goes_on_its_old_end_is_none(fresh: Make) -> None:
    folder, of = fresh(), settings_of()
    whole(folder, of)
    assert summary_of(folder)["closed"]
    with pytest.raises(Killed):
        go_on(folder, FakePool(of, patience=30), Budget(EVALUATIONS, 60))
    found = summary_of(folder)
    assert not found["closed"] and found["state"] == "unfinished"
    found["champion"]["identity"] = None  # the made-up names have no program
    assert "is the best so far" in found_sentence(found, "adamw")


def test_the_time_limit_of_a_run_is_that_of_its_closing(fresh: Make) -> None:
    pool = whole(fresh(), settings_of(time_limit=600.0, tune_start=True))
    limits = {limit / asked["rung"] for _, asked, limit in pool.submitted if asked["seeds"] != [0]}
    assert limits == {600.0}


def test_a_run_that_was_gone_on_with_has_its_share_of_what_was_added(fresh: Make) -> None:
    folder, of = fresh(), settings_of(closing_share=0.5)
    whole(folder, of)
    with RunLog.open(folder, write=True) as log:
        run = Searched(log, FakePool(of), lambda doing: None)  # type: ignore[arg-type]
        with log.transaction():
            log.add_event(run.here, "budget", {"kind": "seconds", "until": 1e6, "added": 1.0}, True)
            log.note_session(0, 100.0, {})
        assert run.left() <= 0.5 * 1.0 * log.training_steps() / 100.0
        with log.transaction():
            data = {"kind": "seconds", "until": 1e6, "added": 1e6}
            log.add_event(run.here, "budget", data, True)
        # Of as much as it had in all it may use what it searched for.
        assert run.left() > 0.5 * 1.0 * log.training_steps() / 100.0


class SlowToPropose(FakePool):
    """Trainings are answered before proposals, until the closing trains on one seed at a time."""

    def __init__(self, of: Config) -> None:
        super().__init__(of, choose=lambda waiting: self._place())
        self.closing = False

    def _place(self) -> int:
        trainings = [i for i, (key, _) in enumerate(self._waiting) if key >= 0]
        return 0 if self.closing or not trainings else trainings[0]

    def submit(self, key: int, request: dict[str, Any], limit: float, first: bool = False) -> None:
        self.closing |= len(request.get("seeds", ())) == 1
        super().submit(key, request, limit, first)


def test_what_was_proposed_in_vain_disturbs_no_closing(fresh: Make) -> None:
    """When the budget is spent children are still being proposed, however long that takes."""
    first, last, of = fresh(), fresh(), settings_of()
    whole(first, of)
    create(last, of)
    go_on(last, SlowToPropose(of), Budget(EVALUATIONS, 60))
    assert compared(first) == compared(last)


def test_every_number_of_slots_has_a_leader_with_a_name(fresh: Make) -> None:
    folder, of = fresh(), settings_of(objective=EQUAL_MEMORY)
    whole(folder, of, 150)
    found = summary_of(folder)
    rows = [row for row in found["tournament"]["structures"] if row["id"]]
    leaders, own = found["leaders"], found["tournament"]["champion"]["structure"]
    (champion,) = [row for row in rows if row["structure"] == own]
    assert [leader["slots"] for leader in leaders] == sorted({row["slots"] for row in rows})
    assert len(leaders) > 1
    for leader in leaders:
        rivals = [row for row in rows if row["slots"] == leader["slots"]]
        assert leader["identity"]["family"].startswith("family of ")
        if leader["slots"] == champion["slots"]:
            assert leader["simplified"] == found["champion"]["simplified"]
            continue
        assert (leader["score"] or -9) == max(row["score"] or -9 for row in rivals)


def test_a_closing_that_died_goes_on_as_if_it_never_had(fresh: Make) -> None:
    reference, before, of = fresh(), fresh(), settings_of()
    pool = whole(reference, of)
    with_closing = len(pool.submitted)
    searched = len(whole(before, config()).submitted)
    assert with_closing - searched > 200
    random = Random(0)
    moments = (random.randrange(searched, with_closing) for _ in range(examples(3, 20)))
    for moment in [searched, *moments]:
        folder = fresh()
        create(folder, of)
        with pytest.raises(Killed):
            go_on(folder, FakePool(of, patience=moment), Budget(EVALUATIONS, 60))
        go_on(folder, FakePool(of, random.randrange))  # answers in another order, too
        assert compared(folder) == compared(reference), moment
        assert not FakePoolThatRefuses(of).used_by(folder), "nothing is left to do"


def test_no_training_of_a_closing_is_repeated(fresh: Make) -> None:
    of, folder, reference = settings_of(), fresh(), fresh()
    every = len(whole(reference, of).submitted)
    create(folder, of)
    first = FakePool(of, patience=every - 10)
    with pytest.raises(Killed):
        go_on(folder, first, Budget(EVALUATIONS, 60))
    with RunLog.open(folder) as log:
        known = {json.dumps(training) for training, _, _ in log.trainings()}
    second = FakePool(of)
    go_on(folder, second)
    with RunLog.open(folder) as log:
        later = [json.dumps(training) for training, _, _ in log.trainings()]
    assert len(known) > 100 and len(set(later)) == len(later)
    assert len(second.submitted) <= len(later) - len(known) + 20  # and what prepares tasks


class FakePoolThatRefuses(FakePool):
    """A pool that notes whether it is used."""

    def used_by(self, folder: Path) -> int:
        go_on(folder, self)
        return len(self.submitted)


class Counting(FakePool):
    """What was trained after the search, steps at a larger rung counting so many times."""

    def __init__(self, of: Config, **options: Any) -> None:
        super().__init__(of, answer=self._counted, **options)
        self.searched = self.closed = 0

    def _counted(self, request: dict[str, Any]) -> dict[str, Any]:
        given = answer(request)
        if request["seeds"][0] < comparison.FIRST_FRESH:
            self.searched += given["steps"]
        else:
            self.closed += given["steps"] * request["rung"]
        return given


@settings(max_examples=15)
@given(st.floats(0.8, 0.999), st.integers(20, 80))
def test_a_closing_takes_no_more_than_its_share(
    tmp_path_factory: pytest.TempPathFactory, share: float, evaluations: int
) -> None:
    of = settings_of(closing_share=share)
    folder = tmp_path_factory.mktemp("run") / "log"
    create(folder, of)
    pool = Counting(of)
    go_on(folder, pool, Budget(EVALUATIONS, evaluations))
    with RunLog.open(folder) as log:
        trained = sum(steps for _, _, steps in log.trainings())
        assert log.training_steps() == pool.searched + trained
        least = closing.PLANS[-1].cost(100) + heldout.most(100, 1) + 2 * 16 * 100
        said = ending.left_out(log)
    # The smallest tournament and the comparison at the first rung are always made.
    assert pool.closed <= max(share * (pool.searched + pool.closed), least) * 1.25
    assert all("RUN" not in text for text in said)


def test_without_a_share_there_is_no_closing(fresh: Make) -> None:
    folder = fresh()
    whole(folder, settings_of(closing_share=0.0))
    found = summary_of(folder)
    assert found["closed"] and found["state"] == "finished"
    assert found["tournament"] is None and found["champion"]["identity"] is None
    with RunLog.open(folder) as log:
        assert {kind for _, kind, _ in log.events()} <= {"budget", "drained", "finished", "fault"}


def test_what_does_not_fit_is_left_out_and_said(fresh: Make) -> None:
    folder = fresh()
    whole(folder, settings_of(closing_share=0.3))
    ablations, rung, curve = summary_of(folder)["left_out"]
    assert ablations.endswith(f"evolve simplify {folder} --tasks a")
    assert rung == f"rung x10; outside the budget: evolve funnel {folder} --rung x10"
    assert "curve of overfitting" in curve
    assert [row["rung"] for row in summary_of(folder)["heldout"]] == ["x1"]


# -- held-out data --------------------------------------------------------------------


def large_is_another_world(request: dict[str, Any]) -> dict[str, Any]:
    """At a larger rung what was good is less so, with noise by program and seed."""
    given = answer(request)
    digest = analyse(from_text(request["program"])).functional_hash
    for seeds in given["losses"].values():
        for seed, marks in zip(request["seeds"], seeds, strict=False):
            noise = Random(f"{digest} {seed}").gauss(0, 0.01)
            level = Random(digest).uniform(-0.3, 0.3) if request["rung"] == 10 else 0.0
            marks[:] = [loss + noise + level for loss in marks]
    return given


def test_rungs_are_judged_at_equal_memory_on_seeds_of_their_own(fresh: Make) -> None:
    folder, of = fresh(), settings_of(objective=EQUAL_MEMORY, replicates=(1, 2))
    pool = whole(folder, of, 120, answer=large_is_another_world)
    large = [asked for _, asked, _ in pool.submitted if asked["rung"] == 10]
    trained = [asked for asked in large if asked["action"] == "evaluate"]
    for asked in trained:
        slots = len(analyse(from_text(asked["program"])).slots)
        assert asked["share"] * (2 + slots) == pytest.approx(4)
    seeds = {
        split: {asked["seeds"][0] for asked in trained if asked["split"] == split}
        for split in ("heldout", "validation")
    }
    first = comparison.FIRST_COMPARED
    assert seeds["heldout"] == {first + i for i in range(heldout.PAIRS[10])}
    choosing = [*range(tuning.SEEDS), *range(CHECK, CHECK + AGAIN * tuning.SEEDS)]
    assert seeds["validation"] == {FIRST_CHOOSING + i for i in choosing}
    pair = summary_of(folder)["heldout"][1]["programs"]
    asked_for = {asked["program"] for asked in trained if asked["split"] == "heldout"}
    assert asked_for == set(pair.values()) and len(pair) == 2


def test_the_start_has_the_best_constants_that_are_known(
    fresh: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are recorded for the rung or the run's own, whichever are better at the rung."""

    def level(program: str) -> float:
        asked = {"program": program, "tasks": ["a"], "rung": 10, "split": "validation"}
        seeds = [FIRST_CHOOSING + i for i in range(tuning.SEEDS)]
        given = [large_is_another_world({**asked, "seeds": [seed]}) for seed in seeds]
        return sum(one["losses"]["a"][0][-1] for one in given)

    recorded = ADAMW.replace("0.9,", "0.8,").replace("0.01", "0.02")
    used = set()
    for salt in range(4):
        other = recorded.replace("0.02", f"0.0{salt + 2}")
        row = tuning.Tuning({}, 10, ADAMW, other, (1, 1), 1, 1, 1, {})
        monkeypatch.setattr(tuning, "shipped", lambda tasks, rung, start, row=row: row)
        whole(folder := fresh(), settings_of(), answer=large_is_another_world)
        found = summary_of(folder)["heldout"][1]["programs"]["baseline"]
        assert level(found) <= min(level(other), level(ADAMW))
        used.add(found.startswith(other[:60]))
    assert used


def test_a_task_without_the_rung_is_told(fresh: Make) -> None:
    class Small(FakePool):
        def next(self, seconds: float) -> Any:
            finished = super().next(seconds)
            if finished and "tasks" in finished.answer:
                return finished._replace(answer={"error": "task 'a' has no larger rung"})
            return finished

    folder, of = fresh(), settings_of()
    create(folder, of)
    go_on(folder, Small(of), Budget(EVALUATIONS, 60))
    found = summary_of(folder)
    assert found["closed"] and "rung x10 (task 'a' has no larger rung)" in found["left_out"]


def test_outside_the_budget_a_rung_is_recorded_and_not_compared(fresh: Make) -> None:
    folder, of = fresh(), settings_of(closing_share=0.3)
    whole(folder, of, answer=large_is_another_world)
    before = compared(folder)
    for rung in (10, 100):
        pool = FakePool(of, answer=large_is_another_world)
        with RunLog.open(folder, write=True) as log:
            run = Searched(log, pool, lambda doing: None)  # type: ignore[arg-type]
            data = heldout.compare(run, "a", rung, from_text(ADAMW), outside=True)
            with log.transaction():
                log.add_event(run.here, ending.RUNG, data, True)
        assert {asked["rung"] for _, asked, _ in pool.submitted} == {rung}
    assert compared(folder) == before
    assert not any(text.startswith("rung") for text in summary_of(folder)["left_out"])
    rows = summary_of(folder)["heldout"]
    assert [row["rung"] for row in rows] == ["x1", "x10", "x100"]
    gains = [
        (b - c) / (UNTRAINED - b)
        for b, c in zip(rows[2]["baseline"], rows[2]["champion"], strict=True)
    ]
    assert rows[2]["comparison"]["mean"] == pytest.approx(fmean(gains))
    assert rows[2]["comparison"]["pairs"] == heldout.PAIRS[100]


# -- the tuning ---------------------------------------------------------------


def test_a_tuning_of_other_data_or_another_start_is_not_taken() -> None:
    of = settings_of(tune_start=True)
    pool = FakePool(of)
    record = json.loads(json.dumps(tuning.tuned_start(pool, of, lambda done: None)["tuning"]))  # type: ignore[arg-type]
    facts = pool.tasks
    assert tuning._found([record], facts, 1, ADAMW)
    other = {"a": {**facts["a"], "fingerprint": "other"}}
    assert tuning._found([record], other, 1, ADAMW) is None
    assert tuning._found([record], facts, 100, ADAMW) is None
    assert tuning._found([record], facts, 1, ADAMW.replace("0.9", "0.8")) is None
    assert tuning._found([{"rung": 1}, record], facts, 1, ADAMW)  # an old record is passed over


@pytest.mark.parametrize("content", ["", "[1", '{"a": 1}', "[1, null]"])
def test_a_damaged_cache_is_no_cache(content: str) -> None:
    path = cache.cache_file("tunings.json")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    of = settings_of(tune_start=True)
    found = tuning.tuned_start(FakePool(of), of, lambda done: None)  # type: ignore[arg-type]
    assert found["constants"] == "tuned"


def test_the_shipped_tunings_are_of_programs_that_keep_their_structure() -> None:
    for record in json.loads(tuning.SHIPPED.read_text()):
        one = tuning.Tuning(**record)
        start, tuned = analyse(from_text(one.start)), analyse(from_text(one.program))
        assert one.rung in (1, 10, 100) and one.steps > 0
        assert len(tuned.slots) == len(start.slots)
        assert one.rung > 1 or tuned.structure == start.structure
        assert one.start == ADAMW and one.program != ADAMW


def test_a_start_is_tuned_once_and_found_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    of = settings_of(tune_start=True)

    def begun(of: Config) -> tuple[dict[str, Any], int]:
        pool = FakePool(of)
        found = tuning.tuned_start(pool, of, lambda done: None)  # type: ignore[arg-type]
        return found, len(pool.submitted)

    tuned, trainings = begun(of)
    assert tuned["constants"] == "tuned" and trainings > 16 * tuning.SEEDS
    kept, trainings = begun(of)
    assert (kept["constants"], kept["program"], trainings) == ("kept", tuned["program"], 0)
    monkeypatch.setattr(tuning, "SHIPPED", tmp_path / "shipped.json")
    tuning.SHIPPED.write_text(json.dumps([tuned["tuning"]]))
    recorded = json.loads(json.dumps(begun(of)[0]))
    assert recorded == json.loads(json.dumps({**tuned, "constants": "recorded"}))
    given = {"program": ADAMW, "constants": "as given", "tuning": None}
    assert begun(settings_of()) == (given, 0)
    sign = "def train(w, g, lr):\n    update = sign(g)\n    return update\n"
    assert begun(settings_of(tune_start=True, start=sign))[0]["constants"] == "as given"


def test_a_tuned_start_trains_better_and_keeps_its_structure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = settings_of(tune_start=True)
    pool = FakePool(of)
    program = tuning.tuned_start(pool, of, lambda done: None)["program"]  # type: ignore[arg-type]
    level = [
        answer({"program": p, "tasks": ["a"], "seeds": [0], "split": "validation"})["losses"]["a"][
            0
        ][-1]
        for p in (program, ADAMW)
    ]
    assert level[0] < level[1]


# -- the curve ----------------------------------------------------------------


def test_the_curve_holds_the_bests_of_the_search(fresh: Make) -> None:
    longest = 0
    for seed in range(examples(2, 8)):
        of = settings_of(seed=seed, replicates=(1, 2))
        whole(folder := fresh(), of, 150, answer=large_is_another_world)
        with RunLog.open(folder) as log:
            rows = {row.number: row for row in log.records()}
            path = overfitting.bests(log)
        complete = {
            row.parent if row.mutation == MORE_SEEDS else row.number
            for row in rows.values()
            if row.seeds == 2 and row.outcome == "finished" and row.number > 0
        }
        fitnesses = [f for n in complete if n is not None and (f := rows[n].fitness) is not None]
        assert {number for number, _ in path} <= complete
        assert path == sorted(path, key=lambda entry: entry[1])
        assert [path[-1][1]] == [max(fitnesses)] if path else max(fitnesses, default=0) <= 0
        points = summary_of(folder)["overfitting"]
        assert [(p["id"], p["fitness"]) for p in points] == overfitting.evenly(path, 16)
        for point in points:
            assert point["fresh"] == pytest.approx(on_fresh_seeds(rows[point["id"]]))
        longest = max(longest, len(points))
    assert longest > 1


def on_fresh_seeds(row: Record) -> float:
    """The mean of (B - L) / (U - B) over fresh seeds."""
    gains = []
    for seed in comparison.seeds(comparison.FIRST_FRESH, overfitting.SEEDS):
        asked = {"tasks": ["a"], "split": "validation", "rung": 1, "seeds": [seed]}
        base, loss = (
            large_is_another_world({**asked, "program": p})["losses"]["a"][0][-1]
            for p in (ADAMW, row.program)
        )
        gains.append((base - loss) / (UNTRAINED - base))
    return fmean(gains)


@given(st.integers(0, 60), st.integers(1, 20))
def test_points_are_spread_evenly_and_hold_the_last(count: int, most: int) -> None:
    items = list(range(count))
    kept = overfitting.evenly(items, most)
    assert len(kept) == min(count, most) and kept == sorted(set(kept))
    assert not items or kept[-1] == items[-1]
    steps = [b - a for a, b in itertools.pairwise([-1, *kept])]
    assert not steps or max(steps) - min(steps) <= 1


# -- discoveries --------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "champion", "marked", "expected"),
    [
        ("adamw", "lion", False, True),
        ("adamw", "adamw", False, False),
        (None, "lion", False, True),
        ("adamw", None, False, None),
        ("lion", "adamw", True, False),
        (None, None, True, False),
    ],
)
def test_what_is_a_discovery(
    fresh: Make, start: str | None, champion: str | None, marked: bool, expected: bool | None
) -> None:
    folder = fresh()
    create(folder, config())
    with RunLog.open(folder, write=True) as log, log.transaction():
        if marked:
            log.set_meta("discovery", False)
        assert ending.is_discovery(log) is (False if marked else None)
        log.add_event(0, "finished", {})
        for kind, family in (("baseline", start), ("champion", champion)):
            log.add_event(0, kind, {"identity": {"family": family}})
        assert ending.is_discovery(log) is expected


@pytest.mark.parametrize(
    ("seconds", "least", "most"), [(0.0, 0, 0), (3.0, 1, 279), (1e6, 280, 280)]
)
def test_a_tuning_takes_no_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch, seconds: float, least: int, most: int
) -> None:
    """A training takes a hundredth of a second; and what was cut off is not taken for the whole."""
    monkeypatch.setattr(tuning, "FIRST", 280)
    of = settings_of(tune_start=True)
    pool = FakePool(of)
    clock = lambda: 0.01 * len(pool.submitted)  # noqa: E731
    monkeypatch.setattr(tuning.time, "monotonic", clock)
    done: list[int] = []
    found = tuning.tuned_start(pool, of, done.append, seconds)["tuning"]  # type: ignore[arg-type]
    assert least <= found["trials"][0] <= most
    assert done[-1] > 0 and done == sorted(done)
    if least == 1:
        assert clock() <= 1.3 * seconds
    kept = cache.read_cache("tunings.json") is not None
    assert kept == (found["trials"][0] == tuning.FIRST)


def test_a_start_is_tuned_for_the_closing_once_and_kept_with_the_run(fresh: Make) -> None:
    folder, of = fresh(), settings_of(judge_tasks=("a", "b"), tune_start=True)
    whole(folder, of)
    cache.cache_file("tunings.json").unlink()
    with RunLog.open(folder, write=True) as log:
        pool = FakePool(of)
        run = Searched(log, pool, lambda doing: None)  # type: ignore[arg-type]
        start = to_text(run.start("b"))
        ((_, _, kept),) = log.events(ending.TUNED_START)
    assert (kept["task"], kept["program"]) == ("b", start) and kept["steps"] > 0
    assert not [asked for _, asked, _ in pool.submitted if asked["action"] == "evaluate"]


def test_nothing_is_tuned_to_find_that_there_is_no_time(fresh: Make) -> None:
    folder, of = fresh(), settings_of(judge_tasks=("a", "b"), tune_start=True, closing_share=0.1)
    create(folder, of)
    pool = FakePool(of)
    with RunLog.open(folder, write=True) as log:
        driver = Driver(log, pool)  # type: ignore[arg-type]
        driver.add_budget(Budget(EVALUATIONS, 30))
        driver.search()
        log.add_event(0, "budget", {"kind": "seconds", "until": 1e-6, "added": 1e-6}, True)
        ending.note_end(log, driver.state.proposed)
        driver.note_session()
        closing.close_run(log, pool, driver.watch)  # type: ignore[arg-type]
        assert any("everything that judges" in text for text in ending.left_out(log))
    assert not [asked for _, asked, _ in pool.submitted if asked["tasks"] == ["b"]][1:]


@pytest.mark.parametrize(("kind", "judged"), [("seconds", False), ("evals", True)])
def test_of_a_time_that_is_far_too_short_nothing_is_judged(
    fresh: Make, monkeypatch: pytest.MonkeyPatch, kind: str, judged: bool
) -> None:
    """It ends, says so, and can be given more; a budget in counts is not for the closing."""
    folder, of = fresh(), settings_of(closing_share=0.1)
    create(folder, of)
    with RunLog.open(folder, write=True) as log:
        driver = Driver(log, FakePool(of))  # type: ignore[arg-type]
        driver.add_budget(Budget(EVALUATIONS, 30))
        driver.search()
        log.add_event(0, "budget", {"kind": kind, "until": 1e-6, "added": 1e-6}, True)
        ending.note_end(log, driver.state.proposed)
        driver.note_session()
        closing.close_run(log, FakePool(of), driver.watch)  # type: ignore[arg-type]
    found = summary_of(folder)
    assert found["closed"] and (found["tournament"] is not None) == judged
    told = [text for text in found["left_out"] if "everything that judges" in text]
    assert bool(told) != judged and all(f"evolve resume {folder}" in text for text in told)
