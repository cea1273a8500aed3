"""`python -m evolve.studies.unseen FILE PROGRAM...`: rules on six tasks that no search saw.

Lion, Muon and every PROGRAM (a name, a run, a file) get the best scale of their update and as many
trials of their constants on each task, and are trained on the same fresh seeds; held-out data
decide. All have Lion's memory, or with `--objective loss` the same model. One JSON line in FILE for
each task and program, with the loss of every seed; what is there already is not done again.
`--table` prints the table.
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
from primitives.text import to_text
from primitives.zoo import zoo
from proxy_tasks import data
from proxy_tasks.builtin import TextTransformer, block_products, block_weights
from proxy_tasks.catalog import CATALOG
from proxy_tasks.task import Splits

#: Constants tried for each program on each task, the seeds they are tried on, and fresh seeds.
TUNING, CHOOSING, FRESH = 160, 4, 32
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
    "source_text": (SourceText(name="source_text", **_TEXT), 1),
    "two_blocks": (Blocks(name="two_blocks", schedule="cosine", **_TEXT), 1),
    "wide_text": (replace(TEXT, name="wide_text", width=28), 1),
    "vit_cosine": (replace(VIT, name="vit_cosine", schedule="cosine"), 1),
    "mlp": (CATALOG["digits_mlp"], 1),
    "text_x10": (TEXT, 10),
}
globals().update({name: task for name, (task, _) in TASKS.items()})  # where workers find them


def measure(name: str, program: str, objective: str) -> dict[str, Any]:
    """A program on a task, at its best: its held-out loss on each fresh seed."""
    task, rung = f"{__spec__.name}:{name}", TASKS[name][1]
    memory = zoo(LION) if objective == EQUAL_MEMORY else None
    with trials_pool((task,), "auto", TUNING * CHOOSING + FRESH) as pool:
        first = Trials(pool, CHOOSING, memory, tasks=[task])
        best, trials = at_best(first, load_program(program), TUNING), first
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


def table(rows: Sequence[dict[str, Any]], objective: str, against: str) -> str:
    """Markdown: by how much each program gains more than another from training, with p."""
    found = {(r["task"], r["program"]): r for r in rows if r["objective"] == objective}
    names = list(dict.fromkeys(program for _, program in found))
    lines = [["program", *TASKS], ["---"] * (len(TASKS) + 1)]
    for name in names:
        lines.append([name, *(_better(found, task, name, against) for task in TASKS)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _better(found: dict[tuple[str, str], Any], task: str, name: str, against: str) -> str:
    own, base = found.get((task, name)), found.get((task, against))
    if own is None or base is None or not base["losses"]:
        return "-"
    if not own["losses"]:
        return "failed"
    if own is base:
        return f"{fmean(base['losses']):.4f}"
    gain = base["untrained"] - fmean(base["losses"])
    ahead = [(b - x) / gain for b, x in zip(base["losses"], own["losses"], strict=True)]
    return f"{fmean(ahead):+.4f} (p = {ttest_1samp(ahead, 0).pvalue:.0e})"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Rules on tasks that no search saw.")
    parser.add_argument("results", type=Path)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM")
    parser.add_argument("--objective", choices=OBJECTIVES, default=EQUAL_MEMORY)
    parser.add_argument("--against", default=LION, help="a PROGRAM, in the table (lion)")
    parser.add_argument("--table", action="store_true", help="print what was measured")
    asked = parser.parse_args(arguments)
    if not asked.table:
        for task in TASKS:
            for program in (LION, MUON, *asked.programs):
                rows = read(asked.results)
                done = {(r["task"], r["program"], r["objective"]) for r in rows}
                if (task, program, asked.objective) not in done:
                    row = measure(task, program, asked.objective)
                    with asked.results.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    print(table(read(asked.results), asked.objective, asked.against))


if __name__ == "__main__":
    main()
