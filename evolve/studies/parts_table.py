"""`python -m evolve.studies.parts_table` writes the table of `evolve/search/README.md`.

From what `parts` measured: `discovered/parts.jsonl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy.stats import t as student

from evolve.studies.calibration import read
from evolve.studies.found_programs import ROOT, replaced
from evolve.studies.parts import AS_IT_IS, PARTS

README = ROOT / "evolve" / "search" / "README.md"
PARTS_FILE = ROOT / "discovered" / "parts.jsonl"
TIME_FILE = ROOT / "discovered" / "equal_time.jsonl"

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


def equal_time(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: the same where searches are as long in time, paired seed by seed."""
    found = {name: {r["seed"]: r for r in rows if r["part"] == name} for name in PARTS}
    lines = [["part", "in its place", "seeds", "trained", "fitness at the end", "brings"]]
    for name, mine in found.items():
        if not mine:
            continue
        ends = [row["fresh"][-1][1] for row in mine.values()]
        line = [name, PARTS[name].instead, str(len(mine))]
        line += [f"{fmean(row['trained'] for row in mine.values()):,.0f}", f"{fmean(ends):+.4f}"]
        pairs = [
            found[AS_IT_IS][seed]["fresh"][-1][1] - row["fresh"][-1][1]
            for seed, row in mine.items()
            if seed in found[AS_IT_IS]
        ]
        lines.append([*line, "-" if name == AS_IT_IS else _paired(pairs)])
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _paired(pairs: Sequence[float]) -> str:
    """Mean, standard error and 95 % interval of paired differences."""
    mean, error = fmean(pairs), stdev(pairs) / len(pairs) ** 0.5
    half = error * student.ppf(0.975, len(pairs) - 1)
    return f"{mean:+.4f} ± {error:.4f} ({mean - half:+.4f} to {mean + half:+.4f})"


def written(readme: str) -> str:
    """The text with its tables as they should be."""
    done = replaced(readme, "parts", table(read(PARTS_FILE)))
    return replaced(done, "equal-time", equal_time(read(TIME_FILE)))


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
