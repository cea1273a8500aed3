"""The closing of a run: what it may cost, what it chooses, and that it can be cut short."""

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

from evolve import cache, closing
from evolve.budget import EVALUATIONS, Budget
from evolve.errors import BadInput
from evolve.judge import ending, final_selection, funnel, overfitting, tuning
from evolve.judge.finalists import select_champion
from evolve.judge.searched import Searched
from evolve.judge.trials import CHOOSING, DECIDING
from evolve.search.config import EQUAL_MEMORY, Config
from evolve.search.driver import Driver
from evolve.search.log import MORE_SEEDS, Record, RunLog
from evolve.summary import summarize
from evolve.understand import chain as chain_module
from evolve.understand import naming
from evolve.understand.identify import Identity
from primitives.abstract import analyse
from primitives.text import from_text

SCHEMA = Path(__file__).parent.parent / "evolve" / "schemas" / "inspect.json"
#: A closing that may take this share can afford a rung and ablations after a tiny search.
PLENTY = 0.993
#: Of a statement.
COST = 0.01
Make = Callable[[], Path]


@pytest.fixture
def fresh(tmp_path: Path) -> Make:
    numbers = itertools.count()
    return lambda: tmp_path / str(next(numbers))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No algebra, and a cache of its own."""
    monkeypatch.setattr(chain_module, "found_by_child", lambda program, seconds: [])
    monkeypatch.setattr(naming, "identify", _named_by_length)
    monkeypatch.setattr(tuning, "FIRST", 16)
    monkeypatch.setattr(tuning, "TRIALS", 8)
    monkeypatch.setattr(closing, "LEAST", 50)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield


def _named_by_length(program: Any) -> Identity:
    return Identity(f"family of {len(program.statements)}", True)


def settings_of(**changes: Any) -> Config:
    return config(**{"closing_share": PLENTY, "finalists": 4, **changes})


def create(folder: Path, of: Config) -> None:
    RunLog.create(folder, {"config": of.to_json(), "provenance": {}}).close()


def go_on(folder: Path, pool: FakePool, budget: Budget | None = None) -> None:
    with RunLog.open(folder, write=True) as log:
        driver = Driver(log, pool)  # type: ignore[arg-type]
        if budget:
            driver.add_budget(budget)
        driver.search()
        select_champion(driver)
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
    assert any(step["kind"] == "ablation" for step in champion["chain"]["steps"])
    for who in ("baseline", "champion"):
        length = len(from_text(found[who]["simplified"]).statements)
        assert found[who]["identity"]["family"] == f"family of {length}"
    assert found["heldout"]["rungs"]["x10"]["comparison"]["pairs"] == funnel.PAIRS
    assert found["overfitting"]


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
    folder, of = fresh(), settings_of(objective=EQUAL_MEMORY, finalists=12, statement_price=COST)
    whole(folder, of, 150)
    found = summary_of(folder)
    leaders, rows = found["leaders"], found["finalists"]
    assert [leader["slots"] for leader in leaders] == sorted({row["slots"] for row in rows})
    assert len(leaders) > 1
    for leader in leaders:
        rivals = [row for row in rows if row["slots"] == leader["slots"]]
        assert leader["identity"]["family"].startswith("family of ")
        if leader["id"] == found["champion"]["id"]:
            assert leader["simplified"] == found["champion"]["simplified"]
            continue
        worth = {row["id"]: row["fresh"] - COST * row["statements"] for row in rivals}
        assert worth[leader["id"]] == max(worth.values())
    assert found["champion"]["id"] in [leader["id"] for leader in leaders]


def test_a_closing_that_died_goes_on_as_if_it_never_had(fresh: Make) -> None:
    reference, before, of = fresh(), fresh(), settings_of()
    pool = whole(reference, of)
    with_closing = len(pool.submitted)
    searched = len(whole(before, config(finalists=4)).submitted)
    assert with_closing - searched > 200
    random = Random(0)
    for moment in [searched, *(random.randrange(searched, with_closing) for _ in range(7))]:
        folder = fresh()
        create(folder, of)
        (Path(cache.cache_file("tunings.json"))).unlink(missing_ok=True)
        with pytest.raises(Killed):
            go_on(folder, FakePool(of, patience=moment), Budget(EVALUATIONS, 60))
        go_on(folder, FakePool(of, random.randrange))  # answers in another order, too
        assert compared(folder) == compared(reference), moment
        assert not FakePoolThatRefuses(of).used_by(folder), "nothing is left to do"


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
        if request["seeds"][0] < final_selection.FIRST_SEED[final_selection.FINAL]:
            self.searched += given["steps"]
        else:
            self.closed += given["steps"] * request["rung"]
        return given


@settings(max_examples=25)
@given(st.floats(0.05, 0.999), st.integers(8, 80), st.integers(1, 3))
def test_a_closing_takes_no_more_than_its_share(
    tmp_path_factory: pytest.TempPathFactory, share: float, evaluations: int, judge_seeds: int
) -> None:
    of = settings_of(closing_share=share, judge_seeds=judge_seeds)
    folder = tmp_path_factory.mktemp("run") / "log"
    create(folder, of)
    pool = Counting(of)
    go_on(folder, pool, Budget(EVALUATIONS, evaluations))
    with RunLog.open(folder) as log:
        judged = log.select("SELECT total(steps) FROM judgements")[0][0]
        # All that was trained stands in the log; a tuning also where it was read.
        assert log.training_steps() >= pool.searched + judged
        stages = {kind: ending.stage(log, kind) for kind in ending.STAGES}
        said = ending.left_out(log)
    most = share * (pool.searched + pool.closed)
    assert pool.closed <= max(most, judged) * (1 + 1e-9)
    for text in said:
        assert "RUN" not in text
    if pool.closed == judged and stages["champion"]["chain"]["program"] != ADAMW:  # type: ignore[index]
        assert said or not stages["overfitting"]["points"]  # type: ignore[index]


def test_without_a_share_there_is_no_closing(fresh: Make) -> None:
    folder = fresh()
    whole(folder, settings_of(closing_share=0.0))
    found = summary_of(folder)
    assert found["closed"] and found["state"] == "finished"
    assert found["overfitting"] is None and found["champion"]["identity"] is None
    with RunLog.open(folder) as log:
        assert {kind for _, kind, _ in log.events()} <= {"budget", "drained", "finished", "fault"}


def test_what_does_not_fit_is_left_out_and_said(fresh: Make) -> None:
    folder = fresh()
    whole(folder, settings_of(closing_share=0.3, judge_seeds=1))
    rung, ablations = summary_of(folder)["left_out"][-2:]
    assert rung == f"rung x10; outside the budget: evolve funnel {folder} --rung x10"
    assert ablations.endswith(f"evolve simplify {folder} --tasks a")
    assert "x10" not in summary_of(folder)["heldout"]["rungs"]


def test_ablations_end_where_the_share_does(fresh: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fresh()
    monkeypatch.setattr(closing, "LEAST", 1)
    whole(folder, settings_of(closing_share=0.88))
    found = summary_of(folder)
    assert any("the last ablations" in text for text in found["left_out"])
    assert found["champion"]["simplified"]


# -- the funnel -------------------------------------------------------------


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


def test_the_champion_is_the_best_on_both_sizes(fresh: Make) -> None:
    moved = 0
    for seed in range(6):
        folder, of = fresh(), settings_of(seed=seed, finalists=6, statement_price=COST)
        pool = whole(folder, of, answer=large_is_another_world)
        found = summary_of(folder)
        rows = {row["id"]: row for row in found["finalists"]}
        at_rung = {n: row for n, row in rows.items() if row["rung"] is not None}
        if not at_rung:
            continue
        means = {n: (row["fresh"] + row["rung"]) / 2 for n, row in at_rung.items()}
        worth = {n: mean - COST * rows[n]["statements"] for n, mean in means.items()}
        assert worth[found["champion"]["id"]] == max(worth.values())
        assert all(row["fresh"] > 0 for row in at_rung.values())
        with RunLog.open(folder) as log:
            (_, _, first) = log.events("finished")[-1]
        if found["champion"]["id"] == first["champion"]:
            continue
        moved += 1
        # Another champion has been compared on held-out data at the first rung too.
        program = found["champion"]["program"]
        expected = [
            pool._answer({**asked, "seeds": [s], "program": program, "split": "heldout"})
            for s in final_selection.seeds(final_selection.HELDOUT, 2 * of.judge_seeds)
            for asked in [{"tasks": ["a"], "rung": 1}]
        ]
        losses = [given["losses"]["a"][0][-1] for given in expected]
        assert found["heldout"]["champion"]["a"] == pytest.approx(losses)
    assert moved


def test_rungs_are_judged_at_equal_memory_on_seeds_of_their_own(fresh: Make) -> None:
    folder, of = fresh(), settings_of(objective=EQUAL_MEMORY, replicates=(1, 2))
    pool = whole(folder, of, 120, answer=large_is_another_world)
    large = [asked for _, asked, _ in pool.submitted if asked["rung"] == 10]
    trained = [asked for asked in large if asked["action"] == "evaluate"]
    for asked in trained:
        slots = len(analyse(from_text(asked["program"])).slots)
        assert asked["share"] * (2 + slots) == pytest.approx(4)
    heldout = {asked["seeds"][0] for asked in trained if asked["split"] == "heldout"}
    others = {asked["seeds"][0] for asked in trained if asked["split"] != "heldout"}
    assert heldout == {
        final_selection.FIRST_SEED[final_selection.HELDOUT] + i for i in range(funnel.PAIRS)
    }
    fresh_seeds = {
        final_selection.FIRST_SEED[final_selection.FINAL] + i for i in range(funnel.FRESH)
    }
    assert others == fresh_seeds | {CHOOSING + i for i in range(tuning.SEEDS)}
    assert DECIDING not in others
    pair = summary_of(folder)["heldout"]["rungs"]["x10"]["programs"]
    asked_for = {asked["program"] for asked in trained if asked["split"] == "heldout"}
    assert asked_for == set(pair.values()) and len(pair) == 2


def test_the_start_has_the_best_constants_that_are_known(fresh: Make) -> None:
    """Those of the rung's tuning or of the run's own, whichever are better at the rung."""

    def level(program: str) -> float:
        asked = {"program": program, "tasks": ["a"], "rung": 10, "split": "validation"}
        seeds = [CHOOSING + i for i in range(tuning.SEEDS)]
        given = [large_is_another_world({**asked, "seeds": [seed]}) for seed in seeds]
        return sum(one["losses"]["a"][0][-1] for one in given)

    compared_levels = 0
    for seed in range(4):
        folder = fresh()
        whole(folder, settings_of(seed=seed), answer=large_is_another_world)
        found = summary_of(folder)
        if "x10" not in found["heldout"]["rungs"]:
            continue
        with RunLog.open(folder) as log:
            recorded = ending.stage(log, ending.FUNNEL)["tuning"]["program"]  # type: ignore[index]
        own = found["baseline"]["program"]
        used = found["heldout"]["rungs"]["x10"]["programs"]["baseline"]
        assert level(used) <= min(level(recorded), level(own))
        compared_levels += 1
    assert compared_levels


def test_every_number_of_slots_sends_its_best() -> None:
    def row(number: int, slots: int, fresh: float) -> dict[str, Any]:
        return {"id": number, "slots": slots, "statements": 5, "fresh": fresh, "rung": None}

    rows = [row(0, 2, 0.5), row(1, 2, 0.4), row(2, 2, 0.3), row(3, 1, 0.1), row(4, 0, -0.1)]
    assert [r["id"] for r in funnel.candidates(rows, 0, COST)] == [0, 3, 1, 2]
    assert [r["id"] for r in funnel.candidates(rows, 2, COST)] == [2, 0, 3, 1]


@given(
    st.lists(
        st.tuples(st.floats(0.001, 1), st.one_of(st.none(), st.floats(-1, 1))),
        min_size=1,
        max_size=5,
    )
)
def test_a_failure_at_the_larger_rung_never_wins(values: list[tuple[float, float | None]]) -> None:
    rows = [
        {"id": i, "slots": 1, "statements": 5, "fresh": f, "rung": r}
        for i, (f, r) in enumerate(values)
    ]
    chosen = funnel.choose(rows, COST)
    best = [(f + r) / 2 for f, r in values if r is not None]
    fresh, rung = values[chosen]
    if best:
        assert rung is not None and (fresh + rung) / 2 == pytest.approx(max(best), abs=1e-12)
    else:
        assert fresh == max(f for f, _ in values)


def test_a_task_without_the_rung_is_told(fresh: Make, monkeypatch: pytest.MonkeyPatch) -> None:
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
    with RunLog.open(folder, write=True) as log, pytest.raises(BadInput, match="no larger rung"):
        funnel.judge_outside(Searched(log, Small(of), lambda doing: None), 100)  # type: ignore[arg-type]


def test_outside_the_budget_a_rung_is_recorded_and_not_compared(fresh: Make) -> None:
    folder, of = fresh(), settings_of(closing_share=0.3)
    whole(folder, of, answer=large_is_another_world)
    before = compared(folder)
    for rung in (10, 100):
        pool = FakePool(of, answer=large_is_another_world)
        with RunLog.open(folder, write=True) as log:
            funnel.judge_outside(Searched(log, pool, lambda doing: None), rung)  # type: ignore[arg-type]
        assert {asked["rung"] for _, asked, _ in pool.submitted} == {1, rung}  # 1 for tuning
    assert compared(folder) == before
    rungs = summary_of(folder)["heldout"]["rungs"]
    assert set(rungs) == {"x10", "x100"}
    comparison = rungs["x100"]["comparison"]
    gains = [
        (b - c) / (UNTRAINED - b)
        for b, c in zip(rungs["x100"]["baseline"]["a"], rungs["x100"]["champion"]["a"], strict=True)
    ]
    assert comparison["mean"] == pytest.approx(fmean(gains))
    assert comparison["pairs"] == funnel.PAIRS


# -- the tuning ---------------------------------------------------------------


def test_whether_a_tuning_is_cached_makes_no_difference(fresh: Make) -> None:
    first, second, of = fresh(), fresh(), settings_of()
    tuned, read = whole(first, of), whole(second, of)
    assert compared(first) == compared(second)
    saved = sum(asked["rung"] == 10 for _, asked, _ in tuned.submitted)
    saved -= sum(asked["rung"] == 10 for _, asked, _ in read.submitted)
    assert saved > tuning.TRIALS  # most of its trainings were spared
    (record,) = json.loads(cache.cache_file("tunings.json").read_text())
    assert from_text(record["program"]) and record["start"] == ADAMW and record["rung"] == 10


def test_a_tuning_of_other_data_or_another_start_is_not_taken(fresh: Make) -> None:
    of = settings_of()
    whole(fresh(), of)
    (record,) = json.loads(cache.cache_file("tunings.json").read_text())
    facts = FakePool(of).tasks
    assert tuning._found([record], facts, 10, ADAMW)
    other = {"a": {**facts["a"], "fingerprint": "other"}}
    assert tuning._found([record], other, 10, ADAMW) is None
    assert tuning._found([record], facts, 100, ADAMW) is None
    assert tuning._found([record], facts, 10, ADAMW.replace("0.9", "0.8")) is None
    assert tuning._found([{"rung": 10}, record], facts, 10, ADAMW)  # an old record is passed over


@pytest.mark.parametrize("content", ["", "[1", '{"a": 1}', "[1, null]"])
def test_a_damaged_cache_is_no_cache(fresh: Make, content: str) -> None:
    path = cache.cache_file("tunings.json")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    folder = fresh()
    whole(folder, settings_of())
    assert summary_of(folder)["closed"]


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
    monkeypatch.setattr(tuning, "SEARCH", 16)
    of = settings_of(tune_start=True)

    def begun(of: Config) -> tuple[dict[str, Any], int]:
        pool = FakePool(of)
        found = tuning.tuned_start(pool, of, lambda: None)  # type: ignore[arg-type]
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
    monkeypatch.setattr(tuning, "SEARCH", 16)
    of = settings_of(tune_start=True)
    pool = FakePool(of)
    program = tuning.tuned_start(pool, of, lambda: None)["program"]  # type: ignore[arg-type]
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
    for seed in range(4):
        of = settings_of(seed=seed, replicates=(1, 2))
        whole(folder := fresh(), of, 150, answer=large_is_another_world)
        with RunLog.open(folder) as log:
            rows = {row.number: row for row in log.records()}
            path = overfitting.bests(log)
            at, facts = ending.require_finished(log)
            baseline = log.judgements(at, final_selection.FINAL)[facts["baseline"]]["a"]
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
            assert point["fresh"] == pytest.approx(on_fresh_seeds(rows[point["id"]], baseline))
        longest = max(longest, len(points))
    assert longest > 1


def on_fresh_seeds(row: Record, baseline: list[float]) -> float:
    """The mean of (B - L) / (U - B) over the judge's seeds."""
    gains = []
    for seed, base in zip(
        final_selection.seeds(final_selection.FINAL, len(baseline)), baseline, strict=True
    ):
        asked = {"program": row.program, "tasks": ["a"], "split": "validation", "rung": 1}
        given = large_is_another_world({**asked, "seeds": [seed]})
        gains.append((base - given["losses"]["a"][0][-1]) / (UNTRAINED - base))
    return sum(gains) / len(gains)


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
        log.add_event(0, "finished", {"baseline": 0, "champion": 0})
        for kind, family in (("baseline", start), ("champion", champion)):
            log.add_event(0, kind, {"identity": {"family": family}})
        assert ending.is_discovery(log) is expected
