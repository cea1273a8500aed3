"""`python -m evolve.studies.parts_table` writes the table of `evolve/search/README.md`.

From what `parts` measured: `discovered/parts.jsonl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import t as student

from evolve.studies.calibration import read
from evolve.studies.found_programs import ROOT, replaced
from evolve.studies.parts import AS_IT_IS, PARTS

README = ROOT / "evolve" / "search" / "README.md"
PARTS_FILE = ROOT / "discovered" / "parts.jsonl"

#: What is told of a search: the fitness of its last best, and the mean over all its marks.
AT_THE_END, ON_THE_WAY = "at the end", "on the way"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: what searches without a part come to, and what that part brings.

    A part brings what the search as it is comes to, less what it comes to without. Three seeds
    say little of their own spread, so that of all parts together is taken: standard errors and
    Student's t (two-sided, each part by itself) are with the variance within parts, pooled.
    """
    names = [name for name in PARTS if any(row["part"] == name for row in rows)]
    lines = [["part", "in its place", "seeds"]]
    lines += [[name, PARTS[name].instead] for name in names]
    for measure in (AT_THE_END, ON_THE_WAY):
        lines[0] += [f"fitness {measure}", "brings"]
        found = {name: values(rows, name, measure) for name in names}
        for line, (name, these) in zip(lines[1:], found.items(), strict=True):
            line += [str(len(these))] if measure == AT_THE_END else []
            line += [f"{these.mean():+.4f}"]
            line += ["-" if name == AS_IT_IS else brings(found, name)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def values(rows: Sequence[dict[str, Any]], name: str, measure: str) -> np.ndarray:
    """For each seed of a part what its search came to, [seeds]."""
    fresh = [[value for _, value in row["fresh"]] for row in rows if row["part"] == name]
    return np.array([f[-1] if measure == AT_THE_END else fmean(f) for f in fresh])


def brings(found: dict[str, np.ndarray], name: str) -> str:
    """How much higher the search as it is comes than that without a part, and p."""
    one, other = found[AS_IT_IS], found[name]
    deviation, freedom = spread(list(found.values()))
    error = deviation * (1 / len(one) + 1 / len(other)) ** 0.5
    mean = one.mean() - other.mean()
    chance = 2 * student.sf(abs(mean) / error, freedom)
    return f"{mean:+.4f} ± {error:.4f} (p = {chance:.2g})"


def spread(groups: Sequence[np.ndarray]) -> tuple[float, int]:
    """The standard deviation within groups, and its degrees of freedom."""
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return (squares / freedom) ** 0.5, freedom


def written(readme: str) -> str:
    """The text with its table as it should be."""
    return replaced(readme, "parts", table(read(PARTS_FILE)))


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
