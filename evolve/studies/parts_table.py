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
#: Each row of the table, and what is done in its place. Those in brackets are in the history of
#: the project: commits c7282eb (a surrogate), 8deb531 (none of the four), and 447a11e, whose
#: driver proposed, looked and guessed by itself.
ROWS = {
    **{name: part.instead for name, part in PARTS.items()},
    "(a surrogate)": "the best of sixteen children, as far as can be guessed",
    "(none of the four)": "no elite, insertions anywhere, no fitting, no parsimony",
    "(the engine before)": "a driver that does the work of the workers",
    "(the engine before, no surrogate)": "it does not guess",
    "(the engine before, no parsimony)": "statements cost nothing",
    "(the engine before, bare)": "no surrogate, no elite, insertions anywhere",
}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: what searches without a part come to, and what that part brings.

    A part brings what the search as it is comes to, less what it comes to without, paired seed
    by seed.
    """
    heads = ["minutes", "part", "in its place", "seeds", "trained", "fitness", "brings"]
    lines = [heads, ["---"] * len(heads)]
    for minutes in sorted({row["minutes"] for row in rows}):
        after = [row for row in rows if row["minutes"] == minutes]
        found = {name: {r["seed"]: r for r in after if r["part"] == name} for name in ROWS}
        for name, mine in found.items():
            if mine:
                lines.append([f"{minutes:g}", name, ROWS[name], *_told(mine, found[AS_IT_IS])])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _told(mine: dict[int, dict[str, Any]], whole: dict[int, dict[str, Any]]) -> list[str]:
    """Of a row: seeds, trainings, fitness, and what the part brings."""
    pairs = [whole[seed]["fresh"] - mine[seed]["fresh"] for seed in mine if seed in whole]
    return [
        str(len(mine)),
        f"{fmean(row['trained'] for row in mine.values()):,.0f}",
        f"{fmean(row['fresh'] for row in mine.values()):+.4f}",
        "-" if mine is whole or len(pairs) < 2 else paired(pairs),
    ]


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
