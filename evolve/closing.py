"""The closing of a run: after the search, from its best programs to a named optimizer.

Within a share of the training steps of the run (`closing_share`; a step at rung x10 counts ten)
the stages are, in this order: the tournament of structures, with the ablations of its champion;
the champion's name; champion and tuned start on held-out data, on every task and on larger rungs;
how far the search overfitted its seeds; the best for each number of slots as far as that can be
proven. What there are no steps for is left out, and said so. Every stage is stored when it ends,
and every training when it is done, so a closing that was cut short goes on where it was.

Only here, when the search is over, is anything compared with optimizers that are known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any, NamedTuple

from evolve.budget import SECONDS, Closing
from evolve.errors import BadInput, EvolveError
from evolve.judge import ending, heldout
from evolve.judge.entrants import entrants
from evolve.judge.overfitting import curve
from evolve.judge.searched import Searched, Watch
from evolve.judge.tournament import (
    ROUNDS,
    Structure,
    Tournament,
    best_of,
    cost,
    difference,
    screening_cost,
)
from evolve.judge.tuning import is_recorded
from evolve.search.config import Config
from evolve.search.fitting import factor, rescaled
from evolve.search.log import START, RunLog
from evolve.search.probe import Stretch
from evolve.understand.ablation import SURVIVORS, Ablation, core
from evolve.understand.chain import exact_steps
from evolve.understand.identify import Identity
from evolve.understand.naming import name
from evolve.understand.simplify import Chain, finish, prove
from evolve.workers import Pool
from primitives.program import Program, ProgramError
from primitives.text import from_text, to_text

#: The rung, beside the first, at which the champion is compared with the start.
RUNG = 10
#: So many structures of the search are screened for each that takes part: after a search of half an
#: hour all that are better than the start, which come down to 60 to 100.
SCREENED = 16


class Plan(NamedTuple):
    """How large a tournament is.

    Attributes:
        entrants: structures at most, the start not counted.
        rounds: the generations of constants of each round, on each task; what is left when a
            statement goes gets as many.
        removals: how often the champion's removals are expected to be judged.
        screened: so many times the entrants are screened; with 1 the best of the search take part.
    """

    entrants: int
    rounds: tuple[int, ...]
    removals: int = 2
    screened: int = SCREENED

    def cost(self, steps: int, first: int | None = None) -> int:
        """About so many training steps, for trainings of so many on all tasks, and on the first."""
        removals = self.removals * cost(8, self.rounds, SURVIVORS)
        screening, every = screening_cost(self.screened * self.entrants, self.entrants)
        played = cost(self.entrants + 1, self.rounds)
        return screening * (steps if first is None else first) + steps * (every + played + removals)


#: A closing that costs so many times what is left for it is left out.
TOO_DEAR = 3
_NOT_JUDGED = (
    "everything that judges the best, for want of time"
    f"{ending.OUTSIDE}evolve resume RUN --budget 10m"
)

#: From the largest down: the first that a run can afford, and the last in any case.
PLANS = (
    Plan(16, (1, *ROUNDS)),
    Plan(12, (1, 2, 4), 1),
    Plan(10, (1, 2, 4), 1),
    Plan(8, (1, 2, 4), 1),
    Plan(6, (1, 2, 4), 1),
    Plan(6, (1, 2), 1),
    Plan(4, (1, 2), 1, 1),
    Plan(3, (1,), 0, 1),
)


def close_run(log: RunLog, pool: Pool, watch: Watch) -> None:
    """Do what is missing of the closing.

    Arguments:
        log: of a run whose search has ended, open for writing.
        pool: started, with the run's tasks.
        watch: called often, with the name of what is being done; it may raise.
    """
    start = log.record(START)
    judged = Config.from_json(log.meta("config")).closing_share > 0
    if not judged or start is None or start.outcome is None:  # no time was left to search
        return
    run = Searched(log, pool, watch)
    if ending.stage(log, ending.TOURNAMENT) is None and _too_dear(run):
        run.stage(ending.LEADERS, lambda: {"leaders": [], "left_out": _NOT_JUDGED})
        return
    found = run.stage(ending.TOURNAMENT, lambda: _tournament(run))
    run.watch("naming the start program and the champion")
    run.stage(ending.CHAMPION, lambda: _named(found["chain"]))
    run.stage(ending.COMPARISONS, lambda: _heldout(run, found["champion"]["programs"]))
    run.stage(ending.OVERFITTING, lambda: curve(run))
    run.stage(ending.BASELINE, lambda: _named(prove(run.baseline).to_json()))
    run.watch("naming the best for each number of slots")
    run.stage(ending.LEADERS, lambda: _leaders(log, found))


def _too_dear(run: Searched) -> bool:
    """Whether even the smallest closing takes far longer than a budget of time leaves for it."""
    budget = run.log.events("budget")[-1][2]
    if budget["kind"] != SECONDS:
        return False
    share = run.config.closing_share * budget.get("added", budget["until"])
    return not steps_wanted(run.steps).takes(share, run.seconds_each)


# -- the tournament ------------------------------------------------------------------


def plan_for(run: Searched) -> Plan:
    """The largest tournament that leaves enough for the comparisons on held-out data.

    Where that leaves none but the smallest, the one at the larger rung is given up first.
    """
    first = next(iter(run.tasks.values())).longest
    least = run.left() - heldout.most(run.steps, 1)
    for left in (least - _at_the_larger_rung(run), least):
        for plan in PLANS[:-1]:
            if plan.cost(run.steps, first) <= left:
                return plan
    return PLANS[-1]


def _at_the_larger_rung(run: Searched) -> int:
    data = {name: trials.tasks[name]["fingerprint"] for name, trials in run.tasks.items()}
    recorded = is_recorded(run.config.start, data, RUNG)
    return heldout.most(run.steps, RUNG, recorded)


def _tournament(run: Searched) -> dict[str, Any]:
    plan, tournament = plan_for(run), Tournament(run.judges())
    tasks = tournament.tasks
    run.watch("finding the structures that take part")
    stretches = [stretch for task in tasks for stretch in tournament.stretches(task)]
    count = plan.screened * plan.entrants
    found = entrants(run.log, count, tasks, _exact, lambda p: _core(p, stretches))
    start = Structure(_exact(run.baseline), {t: [run.start(t)] for t in tasks}, {"id": START})
    others = [s for s in found if s.key != start.key]
    everyone = [start, *tournament.screened(others, plan.entrants)] if others else [start]
    found = tournament.play(everyone, plan.rounds)
    tournament.score(found)
    needed = run.steps * cost(8, plan.rounds, SURVIVORS)
    ablation = Ablation(tournament, plan.rounds, tasks[0], may_go_on=lambda: needed <= run.left())
    champion = ablation.reduce(found)
    raw = run.program(int(champion.origin["id"]))
    chain = finish(Chain(raw, [*exact_steps(raw)]), ablation, champion)
    judged = {s.key: s for s in [*others, *everyone, *ablation.judged]}
    best = best_of(ablation.judged)
    outside = f"evolve simplify RUN --tasks {','.join(tasks)}"
    cut = f"ablations of the champion; outside the budget: {outside}"
    return {
        "tasks": list(tasks),
        "entrants": len(everyone),
        "rounds": list(plan.rounds),
        "structures": [_row(s, best, tasks) for s in _ranked([*judged.values()])],
        "champion": {
            "id": champion.origin["id"],
            "structure": champion.key,
            "best": champion is best,
            "programs": {task: to_text(of) for task, of in champion.tuned.items()},
        },
        "chain": chain.to_json(),
        **({} if ablation.whole else {"left_out": cut}),
    }


def _core(program: Program, stretches: Sequence[Stretch]) -> Program:
    """What a program comes down to, with steps as large as its own."""
    found = core(program, stretches)
    try:
        return rescaled(found, factor(found, program, stretches), stretches)
    except ProgramError:  # no constant of float32 does that
        return found


def _exact(program: Program) -> Program:
    """The program without what can have no effect, bit for bit."""
    steps = list(exact_steps(program))
    return steps[-1].after if steps else program


def _ranked(structures: Sequence[Structure]) -> list[Structure]:
    """Best first: by score, and those without by how far they came."""
    return sorted(structures, key=lambda s: (-s.score, -s.generations, s.size, s.key))


def _row(structure: Structure, best: Structure, tasks: Sequence[str]) -> dict[str, Any]:
    """What is told of a structure."""
    slots, statements = structure.size
    scored = bool(structure.fresh.size)
    mean, error = difference(structure, best) if scored else (None, None)
    return {
        "id": structure.origin["id"],
        "structure": structure.key,
        "how": structure.origin.get("how"),
        "slots": slots,
        "statements": statements,
        "program": to_text(structure.tuned.get(tasks[0], structure.program)),
        "trials": max((c.trials for c in structure.constants.values()), default=0),
        "seeds": int(structure.fresh.size),
        "score": structure.score if scored else None,
        "behind": mean,
        "error": error,
        "tasks": {task: fmean(of) for task, of in structure.scores.items() if scored},
        "errors": {
            task: stdev(of) / math.sqrt(len(of)) for task, of in structure.scores.items() if scored
        },
    }


# -- what follows --------------------------------------------------------------------


def _heldout(run: Searched, programs: dict[str, str]) -> dict[str, Any]:
    """The comparisons that there are steps left for; the first rung always."""
    tasks = list(programs)
    comparisons = [heldout.compare(run, task, 1, from_text(programs[task])) for task in tasks]
    outside = f"rung x{RUNG}; outside the budget: evolve funnel RUN --rung x{RUNG}"
    if _at_the_larger_rung(run) > run.left():
        return {"comparisons": comparisons, "left_out": outside}
    try:
        comparisons += [heldout.compare(run, t, RUNG, from_text(programs[t])) for t in tasks]
    except BadInput as error:
        return {"comparisons": comparisons, "left_out": f"rung x{RUNG} ({error})"}
    return {"comparisons": comparisons}


def _leaders(log: RunLog, found: dict[str, Any]) -> dict[str, Any]:
    """For each number of slots the best structure of the tournament, and its name."""
    champion = ending.stage(log, ending.CHAMPION)
    assert champion is not None
    leaders: dict[int, dict[str, Any]] = {}
    rows = found["structures"]
    for row in sorted(rows, key=lambda r: r["structure"] != found["champion"]["structure"]):
        if row["slots"] not in leaders and (row["id"], row["how"]) != (START, None):
            own = row["structure"] == found["champion"]["structure"]
            known = champion if own else _named(prove(from_text(row["program"])).to_json())
            leaders[row["slots"]] = {
                **{key: row[key] for key in ("id", "slots", "statements", "score")},
                "simplified": known["chain"]["simplified"],
                "identity": known["identity"],
            }
    return {"leaders": [leaders[slots] for slots in sorted(leaders)]}


def _named(chain: dict[str, Any]) -> dict[str, Any]:
    """A chain with the name of what it ends with."""
    try:
        identity = name(from_text(chain["simplified"]), chain["kept"])
    except EvolveError as error:  # a name is not worth the run
        identity = Identity(None, False, reason=str(error))
    return {"chain": chain, "identity": asdict(identity)}


def steps_wanted(steps: int) -> Closing:
    """What a closing can use, for trainings of so many steps on all its tasks."""
    most = PLANS[0].cost(steps) + heldout.most(steps, 1) + heldout.most(steps, RUNG)
    return Closing(_least(steps) / TOO_DEAR, most)


def _least(steps: int) -> int:
    """What the smallest costs."""
    return PLANS[-1].cost(steps) + heldout.most(steps, 1)
