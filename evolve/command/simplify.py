"""`evolve simplify`: a program, smaller and smaller, with the evidence of every step."""

from __future__ import annotations

import argparse
import json
from typing import Any

from evolve.budget import EVALUATIONS, parse_budget
from evolve.errors import BadInput
from evolve.judge.tournament import ROUNDS, Tournament
from evolve.library.trials import config_of, judges, task_names, trials_pool
from evolve.programs import load_program
from evolve.understand.chain import ABLATION, LIMIT, TUNING, Step
from evolve.understand.simplify import Chain, prove, simplify
from primitives.program import Program
from primitives.text import to_text


def run(arguments: argparse.Namespace) -> None:
    """Simplify a program and print the chain."""
    program = load_program(arguments.program)
    evaluations = _evaluations(arguments.further)
    config = config_of(arguments.program)
    names = task_names(arguments.tasks, config.judge_tasks)
    show = (lambda step: None) if arguments.json else _print_step
    if not arguments.json:
        print(to_text(program))
    if arguments.proven:
        chain = prove(program, show)
    else:
        with trials_pool(names, arguments.workers) as pool:
            judged = Tournament(judges(pool, names, program, config))
            chain = simplify(program, judged, ROUNDS, evaluations, show)
    if arguments.json:
        print(json.dumps({**chain.to_json(), "tasks": list(names)}, indent=2))
    else:
        _print_end(chain, arguments.proven)


def _evaluations(text: str | None) -> int:
    if text is None:
        return 0
    budget = parse_budget(text)
    if budget.kind != EVALUATIONS:
        raise BadInput(f"--continue is '{text}'; it must be a number of evaluations, like 500evals")
    return int(budget.amount)


def _print_step(step: Step) -> None:
    print(f"{step.kind}: {step.how}")
    if step.assumptions:
        print(f"  assuming {'; '.join(step.assumptions)}")
    print(f"  {_evidence(step)}")
    print(_indented(step.after), flush=True)


def _evidence(step: Step) -> str:
    shown = step.evidence
    if step.kind == ABLATION:
        return _loss(shown)
    if step.kind == TUNING:
        return f"on each of {', '.join(shown['trials'])}"
    if "difference" not in shown:
        return f"evidence: updates equal bit for bit, {shown['elements']:,} compared"
    text = (
        f"evidence: updates differ by at most {shown['difference']:.1e} of the largest, "
        f"{shown['elements']:,} compared, {shown['beside_jumps']:.2%} beside jumps"
    )
    if step.kind == LIMIT:
        text += (
            f"; error at most {shown['bound']:.1e} where the divisor is well above eps; "
            f"{shown['excluded']:.1%} excluded (at most {shown['largest_excluded']:.0%})"
        )
    return text


def _loss(shown: dict[str, Any]) -> str:
    loss = shown["loss_of_quality"]
    if loss is None:
        return "evidence: a training failed"
    return (
        f"evidence: loss of quality {loss['mean']:+.4f} ± {loss['error']:.4f} "
        f"over {loss['pairs']} pairs"
    )


def _indented(program: Program) -> str:
    return "\n".join("    " + line for line in to_text(program).splitlines()) + "\n"


def _print_end(chain: Chain, proven: bool) -> None:
    if proven:
        print(f"proven steps only: {len(chain.steps)}. The result:")
    else:
        print("kept, since what is left without is worse by more than a standard error:")
        for tried in chain.kept:
            why = "far worse at once" if tried["loss_of_quality"] is None else _loss(tried)
            print(f"  {tried['statement']}: {why}")
        print("the result:")
    print(to_text(chain.simplified), end="")
