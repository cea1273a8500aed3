"""`python -m evolve.studies.parts_table` writes the table of `evolve/search/README.md`.

From what `parts` measured: `discovered/parts.jsonl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

from evolve.studies.calibration import read
from evolve.studies.found_programs import ROOT, replaced
from evolve.studies.parts import AS_IT_IS, PARTS

README = ROOT / "evolve" / "search" / "README.md"
PARTS_FILE = ROOT / "discovered" / "parts.jsonl"
#: Each row of the table, and what is done in its place. The engine before this one is in the
#: history of the project (commit 447a11e): its driver proposed, looked and guessed by itself.
BEFORE = "the engine before"
ROWS = {
    **{name: part.instead for name, part in PARTS.items()},
    BEFORE: "a driver that proposes, looks and guesses",
}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: what searches without a part come to, and what that part brings.

    A part brings what the search as it is comes to, less what it comes to without, paired seed
    by seed.
    """
    found = {name: {r["seed"]: r for r in rows if r["part"] == name} for name in ROWS}
    lines = [["part", "in its place", "seeds", "trained", "fitness", "brings"]]
    for name, mine in found.items():
        if not mine:
            continue
        line = [name, ROWS[name], str(len(mine))]
        line += [f"{fmean(row['trained'] for row in mine.values()):,.0f}"]
        line += [f"{fmean(row['fresh'] for row in mine.values()):+.4f}"]
        seeds = [seed for seed in mine if seed in found[AS_IT_IS]]
        pairs = [found[AS_IT_IS][seed]["fresh"] - mine[seed]["fresh"] for seed in seeds]
        lines.append([*line, "-" if name == AS_IT_IS else paired(pairs)])
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def paired(pairs: Sequence[float]) -> str:
    """Mean, standard error and 95 % interval (Student's t) of paired differences."""
    mean, error = fmean(pairs), stdev(pairs) / len(pairs) ** 0.5
    half = error * student.ppf(0.975, len(pairs) - 1)
    return f"{mean:+.4f} ± {error:.4f} ({mean - half:+.4f} to {mean + half:+.4f})"


def written(readme: str) -> str:
    """The text with its table as it should be."""
    return replaced(readme, "parts", table(read(PARTS_FILE)))


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
