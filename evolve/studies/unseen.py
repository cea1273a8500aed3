"""`python -m evolve.studies.unseen FILE PROGRAM...`: rules on six tasks that no search saw.

Lion, Muon and every PROGRAM (a name, a run, a file) get the best scale of their update and as many
trials of their constants, first on the task of the search, `text`, then from there on each of the
others. They are trained on the same fresh seeds, and held-out data decide. All have Lion's memory,
or with `--objective loss` the same model. One JSON line in FILE for each task and program, with the
loss of every seed; what is there already is not done again. `--table` prints the table.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import ttest_1samp

from evolve.judge.heldout import SCALES
from evolve.judge.ranking import at_best
from evolve.judge.trials import HELDOUT, Trials
from evolve.library.trials import trials_pool
from evolve.programs import load_program
from evolve.search.config import EQUAL_MEMORY, OBJECTIVES
from evolve.studies.calibration import read
from evolve.studies.table import markdown
from primitives.program import Program
from primitives.text import from_text, to_text
from primitives.zoo import zoo
from proxy_tasks import data
from proxy_tasks.builtin import TextTransformer, block_products, block_weights
from proxy_tasks.catalog import CATALOG
from proxy_tasks.task import Splits

#: Constants tried for each program on the task of the search, and from there on each of the others;
#: the seeds they are tried on, and fresh seeds.
TUNING, AGAIN, CHOOSING, FRESH = 320, 80, 4, 32
#: The task of the search, and below which chance a program counts as better there, and elsewhere.
SEEN, SHOWN, SHOWN_ELSEWHERE = "text", 0.001, 0.01
LION, MUON = "lion", "muon"

TEXT, VIT = CATALOG["text_transformer"], CATALOG["digits_vit"]
assert isinstance(TEXT, TextTransformer)


@cache
def python_source() -> str:
    """The lower-cased source of some modules of Python's own library: another kind of text."""
    names = (
        "argparse",
        "ast",
        "datetime",
        "decimal",
        "inspect",
        "tarfile",
        "typing",
        "unittest.mock",
    )
    modules = (import_module("_pydecimal" if name == "decimal" else name) for name in names)
    return "\n".join(inspect.getsource(module) for module in modules).lower()


class SourceText(TextTransformer):
    """A character model of program text."""

    def splits(self) -> Splits:
        return data.windows_of(python_source(), self.length)


@dataclass(frozen=True, kw_only=True)
class Blocks(TextTransformer):
    """A character model of several blocks."""

    blocks: int = 2

    def init(self, key: Any) -> Any:
        import jax

        from proxy_tasks import models

        first, *others = jax.random.split(key, self.blocks)
        more = [models.init_block(other, self.width, self.heads) for other in others]
        return {**super().init(first), "more": more}

    def loss(self, params: Any, batch: Any) -> Any:
        from proxy_tasks import models

        (windows,) = batch
        tokens = windows[:, :-1]
        length = tokens.shape[1]
        x = models.embedded(params, tokens)
        for block in (params["block"], *params["more"]):
            x = models.block(block, x, self.heads, length, causal=True)
        logits = params["unembedding"] @ models.rms_norm(params["norm"], x)
        return models.cross_entropy(logits, windows[:, 1:].reshape(-1))

    def weights(self) -> int:
        return super().weights() + (self.blocks - 1) * block_weights(self.width, self.heads)

    def flops(self) -> float:
        more = (self.blocks - 1) * block_products(self.width, self.heads, self.length)
        return super().flops() + 6.0 * self.steps * self.batch * self.length * more


_TEXT = {field: getattr(TEXT, field) for field in ("width", "batch", "steps", "heads", "length")}
#: Each task, and its rung.
TASKS = {
    SEEN: (TEXT, 1),
    "source_text": (SourceText(name="source_text", **_TEXT), 1),
    "two_blocks": (Blocks(name="two_blocks", schedule="cosine", **_TEXT), 1),
    "wide_text": (replace(TEXT, name="wide_text", width=28), 1),
    "vit_cosine": (replace(VIT, name="vit_cosine", schedule="cosine"), 1),
    "mlp": (CATALOG["digits_mlp"], 1),
    "text_x10": (TEXT, 10),
}
globals().update({name: task for name, (task, _) in TASKS.items()})  # where workers find them


def measure(name: str, program: str, objective: str, start: Program) -> dict[str, Any]:
    """A program on a task, at its best from some constants: its loss on each fresh seed."""
    task, rung = f"{__spec__.name}:{name}", TASKS[name][1]
    memory, tuning = zoo(LION) if objective == EQUAL_MEMORY else None, AGAIN
    if name == SEEN:
        tuning = TUNING
    with trials_pool((task,), "auto", tuning * CHOOSING + FRESH) as pool:
        first = Trials(pool, CHOOSING, memory, tasks=[task])
        best, trials = at_best(first, start, tuning), first
        if rung > 1:
            trials = Trials(pool, CHOOSING, memory, tasks=[task], rung=rung)
            ((best, _),) = trials.at_best_of([best], SCALES)
        (losses,) = trials.deciding([best], FRESH, HELDOUT)
        return {
            "task": name,
            "program": program,
            "objective": objective,
            "tuned": to_text(best),
            "untrained": trials.untrained,
            "losses": losses and losses[task],
        }


def measure_all(file: Path, program: str, objective: str) -> None:
    """Do what is missing of a program, first on the task of the search."""
    for task in TASKS:
        own = [r for r in read(file) if (r["program"], r["objective"]) == (program, objective)]
        if any(row["task"] == task for row in own):
            continue
        seen = next((from_text(row["tuned"]) for row in own if row["task"] == SEEN), None)
        row = measure(task, program, objective, seen or load_program(program))
        with file.open("a") as rows:
            rows.write(json.dumps(row) + "\n")


def table(rows: Sequence[dict[str, Any]], objective: str, against: str) -> str:
    """Markdown: by how much each program gains more than another from training, with p."""
    found = {(r["task"], r["program"]): r for r in rows if r["objective"] == objective}
    names = list(dict.fromkeys(program for _, program in found))
    lines = []
    for name in names:
        ahead = {task: _ahead(found, task, name, against) for task in TASKS}
        shown = sum(task != SEEN and _is_shown(of, SHOWN_ELSEWHERE) for task, of in ahead.items())
        cells = [_cell(found, task, name, of) for task, of in ahead.items()]
        counts = (
            ["-", "-"]
            if name == against
            else ["yes" if _is_shown(ahead[SEEN], SHOWN) else "no", f"{shown} of {len(TASKS) - 1}"]
        )
        lines.append([Path(name).stem, *cells, *counts])
    head = ["program", *TASKS, f"{SEEN}: p < {SHOWN}", f"others: p < {SHOWN_ELSEWHERE}"]
    return markdown(head, lines)


def _ahead(
    found: dict[tuple[str, str], Any], task: str, name: str, against: str
) -> tuple[float, float] | None:
    """By how much a program gains more from training than another, and the chance of that."""
    own, base = found.get((task, name)), found.get((task, against))
    if own is None or base is None or own is base or not (own["losses"] and base["losses"]):
        return None
    gain = base["untrained"] - fmean(base["losses"])
    ahead = [(b - x) / gain for b, x in zip(base["losses"], own["losses"], strict=True)]
    return fmean(ahead), float(ttest_1samp(ahead, 0).pvalue)


def _is_shown(ahead: tuple[float, float] | None, chance: float) -> bool:
    return ahead is not None and ahead[0] > 0 and ahead[1] < chance


def _cell(
    found: dict[tuple[str, str], Any], task: str, name: str, ahead: tuple[float, float] | None
) -> str:
    own = found.get((task, name))
    if own is None:
        return "-"
    if not own["losses"]:
        return "failed"
    loss = f"{fmean(own['losses']):.4f}"
    return loss if ahead is None else f"{loss}, {ahead[0]:+.4f} (p = {ahead[1]:.1e})"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Rules on tasks that no search saw.")
    parser.add_argument("results", type=Path)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM")
    parser.add_argument("--objective", choices=OBJECTIVES, default=EQUAL_MEMORY)
    parser.add_argument("--against", default=LION, help="a PROGRAM, in the table (lion)")
    parser.add_argument("--table", action="store_true", help="print what was measured")
    asked = parser.parse_args(arguments)
    if not asked.table:
        for program in (LION, MUON, *asked.programs):
            measure_all(asked.results, program, asked.objective)
    print(table(read(asked.results), asked.objective, asked.against))


if __name__ == "__main__":
    main()
