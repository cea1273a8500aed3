"""`python -m evolve.studies.parts_table` writes the table of `evolve/search/README.md`.

From what `parts` measured: `discovered/parts.jsonl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from evolve.studies.calibration import read
from evolve.studies.found_programs import ROOT, replaced
from evolve.studies.parts import ALONE, LONGER, MINUTES, PARTS, design
from evolve.studies.table import markdown

README = ROOT / "evolve" / "search" / "README.md"
PARTS_FILE = ROOT / "discovered" / "parts.jsonl"


class Effect(NamedTuple):
    """What a part brings, in fitness: the mean, its standard error and half the 95 % interval."""

    mean: float
    error: float
    half: float

    def __str__(self) -> str:
        low, high = self.mean - self.half, self.mean + self.half
        return f"{self.mean:+.4f} ± {self.error:.4f} ({low:+.4f} to {high:+.4f})"


def effects(rows: Sequence[dict[str, Any]]) -> dict[str, Effect]:
    """What each part of the design brings, by least squares over all searches of the design.

    The fitness is a number for each seed, and for each part half of what it brings, more where
    it is on and less where it is off. What is left over is luck, by which the errors are told.
    """
    seeds = sorted({row["seed"] for row in rows})
    table = np.array(
        [
            [float(row["seed"] == seed) for seed in seeds]
            + [-0.5 if name in row["off"] else 0.5 for name in PARTS]
            for row in rows
        ]
    )
    fresh = np.array([row["fresh"] for row in rows])
    found, *_ = np.linalg.lstsq(table, fresh, rcond=None)
    freedom = len(rows) - table.shape[1]
    luck = float(np.sum((fresh - table @ found) ** 2)) / freedom
    errors = np.sqrt(luck * np.diag(np.linalg.inv(table.T @ table)))
    times = float(stdtrit(freedom, 0.975))
    return {
        name: Effect(float(mean), float(error), times * float(error))
        for name, mean, error in zip(PARTS, found[len(seeds) :], errors[len(seeds) :], strict=True)
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: what each part brings, and what some searches came to, once all have been run."""
    ways = set(design())
    longer = [row for row in rows if row["minutes"] != MINUTES]
    rows = [row for row in rows if row["minutes"] == MINUTES]
    of_design = [row for row in rows if frozenset(row["off"]) in ways]
    if {frozenset(row["off"]) for row in of_design} < ways:
        return "*The searches of the design were not all run yet, so there is no table.*"
    brings = effects(of_design)
    heads = ["part", "in its place", "brings, in fitness"]
    lines = []
    for name, effect in sorted(brings.items(), key=lambda item: -item[1].mean):
        lines.append([name, PARTS[name].instead, str(effect)])
    tables = [markdown(heads, lines), _some(rows), *([_longer(longer)] if longer else [])]
    return "\n\n".join(tables)


def _some(rows: Sequence[dict[str, Any]]) -> str:
    """The search as it is, without all parts of the design, and without each of the others."""
    heads = ["search", "seeds", "trained", "fitness of each"]
    some = {"as it is": frozenset[str](), "without the eight": frozenset(PARTS)}
    some |= {f"without *{name}*: {part.instead}": frozenset({name}) for name, part in ALONE.items()}
    lines = []
    for name, off in some.items():
        own = [row for row in rows if frozenset(row["off"]) == off]
        each = ", ".join(f"{row['fresh']:+.4f}" for row in sorted(own, key=lambda r: r["seed"]))
        trained = f"{fmean(row['trained'] for row in own):,.0f}" if own else "-"
        lines.append([name, str(len(own)), trained, each])
    return markdown(heads, lines)


def _longer(rows: Sequence[dict[str, Any]]) -> str:
    """What longer searches with and without some parts came to, seed by seed."""
    seeds = sorted({row["seed"] for row in rows})
    lines = []
    fresh = {(row["seed"], frozenset(row["off"])): f"{row['fresh']:+.4f}" for row in rows}
    for off in LONGER:
        name = f"without {', '.join(sorted(off))}" if off else "as it is"
        lines.append([name, *(fresh.get((seed, off), "-") for seed in seeds)])
    return markdown(["ten minutes", *(f"seed {seed}" for seed in seeds)], lines)


def written(readme: str) -> str:
    """The text with its table as it should be."""
    return replaced(readme, "parts", table(read(PARTS_FILE)))


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
