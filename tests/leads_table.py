"""`python tests/leads_table.py` writes the table of `evolve/search/README.md`.

From what `leads_study.py` measured: `discovered/leads.jsonl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
from calibration_study import read
from found_programs import ROOT, replaced
from leads_study import AS_IT_IS, LEADS
from scipy.stats import t as student

README = ROOT / "evolve" / "search" / "README.md"
LEADS_FILE = ROOT / "discovered" / "leads.jsonl"

#: What is told of a search: the fitness of its last best, and the mean over all its marks.
AT_THE_END, ON_THE_WAY = "at the end", "on the way"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: what searches without a lead come to, and what that lead brings.

    A lead brings what the search as it is comes to, less what it comes to without. Three seeds
    say little of their own spread, so that of all leads together is taken: standard errors and
    Student's t (two-sided, each lead by itself) are with the variance within leads, pooled.
    """
    names = [name for name in LEADS if any(row["lead"] == name for row in rows)]
    lines = [["part", "in its place", "seeds"]]
    lines += [[name, LEADS[name].instead] for name in names]
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
    """For each seed of a lead what its search came to, [seeds]."""
    fresh = [[value for _, value in row["fresh"]] for row in rows if row["lead"] == name]
    return np.array([f[-1] if measure == AT_THE_END else fmean(f) for f in fresh])


def brings(found: dict[str, np.ndarray], name: str) -> str:
    """How much higher the search as it is comes than that without a lead, and p."""
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
    return replaced(readme, "leads", table(read(LEADS_FILE)))


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
