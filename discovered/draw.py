"""Draw one run's road from AdamW to its champion, from its digest in `discovered/study`.

    python -m discovered.draw further-8 discovered/road.svg

Needs matplotlib: `pip install -e ".[report]"`.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

STUDY = Path(__file__).parent / "study"
#: What a mutation did, in words, by the first letters of its record.
WORDS = {"insert": "insert {}", "delete": "delete {}", "change": "change to {}"}


def road(digest: dict[str, Any]) -> list[dict[str, Any]]:
    """The champion's ancestors, oldest first, from the tuned start on."""
    line = digest["ancestry"][::-1]
    return [step for step in line if step["id"] >= digest["baseline"]["id"]]


def turns(line: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ancestors whose live statements differ from their parent's in more than constants."""
    return [step for before, step in pairwise(line) if step["structure"] != before["structure"]]


def label(step: dict[str, Any]) -> str:
    """`insert 8: update = sign(update); without ...` as `+ update = sign(update)`."""
    kind, _, rest = step["mutation"].partition(" ")
    statement = rest.partition(": ")[2].partition(";")[0].partition(", read by")[0]
    return WORDS.get(kind, "{}").format(statement)


def draw(digest: dict[str, Any], path: Path) -> None:
    """Write the picture; its format follows the file's ending."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "evolve", "font.size": 10})
    import matplotlib.pyplot as plt

    line = road(digest)
    # The tuned start is the zero; its own fitness in the log is over the untuned one.
    ys = [0.0, *(100 * step["fitness"] for step in line[1:])]
    figure, axes = plt.subplots(figsize=(9, 4.4), layout="constrained")
    axes.axhline(0.0, color="0.7", linewidth=1, linestyle="--")
    axes.plot(range(len(line)), ys, color="#2563a8", marker="o", markersize=4, linewidth=1.2)
    found = turns(line)
    arrival = next(i for i, step in enumerate(found) if step["structure"] == line[-1]["structure"])
    rows = []
    for number, step in enumerate(found[: arrival + 1], 1):
        x = line.index(step)
        axes.plot(x, ys[x], marker="o", markersize=13, color="#b3362b")
        axes.text(x, ys[x], str(number), color="white", ha="center", va="center", fontsize=9)
        rows.append(f"{number}  {label(step)}")
    axes.text(
        0.02, 0.97, "\n".join(rows), transform=axes.transAxes, va="top", family="monospace",
        fontsize=9, color="#b3362b", linespacing=1.6,
    )  # fmt: skip
    axes.annotate("tuned AdamW", (0, 0.0), xytext=(-4, -18), textcoords="offset points")
    name = (digest["champion"]["identity"]["family"] or "no name").capitalize()
    axes.annotate(
        name, (len(line) - 1, ys[-1]), xytext=(9, 0), textcoords="offset points", va="center",
        color="#b3362b", fontsize=12,
    )  # fmt: skip
    axes.set_xticks(range(len(line)), [f"{s['id']:,}" for s in line], rotation=60, fontsize=8)
    axes.set_xlim(-0.5, len(line) + 0.7)
    axes.set_xlabel(f"ancestors of the champion, by their number among {digest['generated']:,}")
    axes.set_ylabel("better than tuned AdamW by, in %")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def main(arguments: list[str]) -> None:
    """`NAME FILE`: which digest, and where to."""
    if len(arguments) != 2:
        sys.exit("usage: python -m discovered.draw NAME FILE; NAME is one of discovered/study")
    name, path = arguments
    draw(json.loads((STUDY / f"{name}.json").read_text()), Path(path))


if __name__ == "__main__":
    main(sys.argv[1:])
