"""The closing of a run: after the search, from a list of finalists to a named optimizer.

Within a share of the training steps of the run (`closing_share`; a step at rung x10
counts ten) the stages are, in this order: how far the search overfitted its seeds; the
best on the larger rung; the champion simplified and identified, and the best for each number
of slots as far as that can be proven. What there are no steps
for is left out, and said so. Every stage is stored when it ends, and is a function of
what was stored before, so a closing that was cut short goes on where it was.

Only here, when the search is over, is anything compared with optimizers that are known.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from evolve.errors import EvolveError
from evolve.judge import ending, final_selection
from evolve.judge.funnel import funnel
from evolve.judge.overfitting import curve
from evolve.judge.searched import Searched, Watch
from evolve.judge.trials import Exhausted, Trials
from evolve.search.config import Config
from evolve.search.log import RunLog
from evolve.understand.ablation import Ablation
from evolve.understand.chain import Step
from evolve.understand.identify import Identity
from evolve.understand.naming import name
from evolve.understand.simplify import Chain, prove, simplify
from evolve.workers import Pool
from primitives.program import Program

#: The rung at which finalists are judged again.
RUNG = 10
#: Trainings that tuning, control and a first round of removals take: with fewer left,
#: nothing is trained to simplify the champion.
LEAST = 2000


def close_run(log: RunLog, pool: Pool, watch: Watch) -> None:
    """Do what is missing of the closing.

    Arguments:
        log: of a run that was searched and judged, open for writing.
        pool: started, with the run's tasks.
        watch: called often, with the name of what is being done; it may raise.
    """
    if Config.from_json(log.meta("config")).closing_share == 0:
        return
    run = Searched(log, pool, watch)
    run.stage(ending.OVERFITTING, lambda: curve(run))
    champion = run.stage(ending.FUNNEL, lambda: funnel(run, RUNG))["champion"]
    run.watch("naming the start program and the champion")
    run.stage(ending.BASELINE, lambda: _named(prove(run.program(run.baseline))))
    named = run.stage(ending.CHAMPION, lambda: _simplified(run, champion))
    run.watch("naming the best for each number of slots")
    run.stage(ending.LEADERS, lambda: _leaders(run, champion, named))


def _leaders(run: Searched, champion: int, named: dict[str, Any]) -> dict[str, Any]:
    """For each number of slots the worthiest on fresh seeds, and its name."""
    fresh = run.fresh()
    complexity = {number: run.log.complexity(number) for number in fresh}
    statements = {number: live for number, (_, live) in complexity.items()}
    found = []
    for slots in sorted({slots for slots, _ in complexity.values()}):
        scores = {n: value for n, value in fresh.items() if complexity[n][0] == slots}
        leader = final_selection.worthiest(scores, statements, run.config.statement_price)
        if champion in scores:
            leader = champion
        known = named if leader == champion else _named(prove(run.program(leader)))
        found.append(
            {
                "id": leader,
                "slots": slots,
                "statements": statements[leader],
                "fresh": fresh[leader],
                "simplified": known["chain"]["simplified"],
                "identity": known["identity"],
            }
        )
    return {"leaders": found, "steps": 0, "cost": 0}


def _simplified(run: Searched, number: int) -> dict[str, Any]:
    """The champion simplified as far as there are steps left, and its name."""
    program = run.program(number)
    if number == run.baseline:
        return _named(prove(program))
    most = run.left()
    outside = f"outside the budget: evolve simplify RUN --tasks {','.join(run.config.tasks)}"
    if most < LEAST * run.steps:
        return {**_named(prove(program)), "left_out": f"ablations of the champion; {outside}"}
    doing = "simplifying the champion"
    # As `evolve simplify` does: all on one model.
    trials = Trials(run.pool, most=most, watch=lambda: run.watch(doing))
    chain, whole = _as_far_as_it_goes(program, Ablation(trials))
    cut = {} if whole else {"left_out": f"the last ablations of the champion; {outside}"}
    return {**_named(chain), **cut, "steps": trials.steps, "cost": trials.steps}


def _as_far_as_it_goes(program: Program, ablation: Ablation) -> tuple[Chain, bool]:
    """The chain, and whether its trainings were all allowed."""
    steps: list[Step] = []
    try:
        return simplify(program, ablation, show=steps.append), True
    except Exhausted:
        return Chain(program, steps), False


def _named(chain: Chain) -> dict[str, Any]:
    """A chain with the name of what it ends with."""
    try:
        identity = name(chain)
    except EvolveError as error:  # a name is not worth the run
        identity = Identity(None, False, reason=str(error))
    return {"chain": chain.to_json(), "identity": asdict(identity), "steps": 0, "cost": 0}
