"""`python -m evolve.studies.way RESULTS`: the rules between AdamW and Lion, each at its best.

Is every step on the way an improvement, or is there a valley? Each rule gets the best scale of
its update and equally many trials of its constants, at equal memory and then on one model;
then 16 fresh seeds and held-out data decide. One JSON line in the file RESULTS per objective;
what is there already is not done again. `--table` prints the table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from evolve.search.config import EQUAL_MEMORY, LOSS
from evolve.studies.calibration import measure, read
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import from_text
from primitives.zoo import zoo


def rule(slots: str, *statements: str, last: float = 0.001) -> Program:
    """A program that ends by scaling its update by `lr` and, unless it is 1, a constant."""
    scale = [f"lr = lr * {last}"] if last != 1.0 else []
    lines = [*statements, *scale, "update = update * lr"]
    names = "".join(f", {slot}" for slot in slots.split())
    body = "\n    ".join([*lines, f"return update{names}"])
    return from_text(f"def train(w, g{names}, lr):\n    {body}\n")


AVERAGE, MIXTURE = "m = interp(g, m, 0.9)", "update = interp(g, m, 0.9)"
SLOWER = "m = interp(g, m, 0.99)"

#: What the search passes on its way, and what is next to it; AdamW, the reference, first.
RULES: dict[str, Program] = {
    "AdamW": zoo("adamw"),
    "sign after AdamW's division": rule(
        "m v",
        AVERAGE,
        "g2 = square(g)",
        "v = interp(g2, v, 0.999)",
        "sqrt_v = sqrt(v)",
        "update = m / sqrt_v",
        "update = sign(update)",
    ),
    "RMSProp": zoo("rmsprop"),
    "momentum": zoo("momentum"),
    "cube root of momentum": rule("m", AVERAGE, "update = cbrt(m)"),
    "Signum": zoo("signum"),
    "cube root of Lion's mixture": rule("m", MIXTURE, SLOWER, "update = cbrt(update)"),
    "Lion": zoo("lion"),
    "SGD": zoo("sgd"),
    "cube root of the gradient": rule("", "update = cbrt(g)"),
    "sign of the gradient": zoo("signsgd"),
}
TASK = "text"
WHERE = {EQUAL_MEMORY: "at equal memory", LOSS: "on one model"}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: each rule's held-out loss and how much better than AdamW it is."""
    head = ["rule", "slots"]
    for row in rows:
        head += [f"loss {WHERE[row['objective']]}", "better than AdamW by"]
    lines = [head, ["---"] * len(head)]
    for name, program in RULES.items():
        cells = [name, str(len(analyse(program).slots))]
        for row in rows:
            found = row["programs"][name]
            loss, better = found["loss"], found["better"]
            cells.append(f"{loss[0]:.4f} ± {loss[1]:.4f}" if loss else "failed")
            cells.append(
                f"{better[0]:+.4f} ({better[1]:+.4f} to {better[2]:+.4f})" if better else "-"
            )
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: list[str]) -> None:
    results = Path(arguments[0])
    rows = read(results)
    if "--table" in arguments:
        print(table(rows))
        return
    done = {row["objective"] for row in rows}
    for objective in (EQUAL_MEMORY, LOSS):
        if objective not in done:
            row = measure(TASK, objective, RULES)
            with results.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
