"""The pictures of a report, drawn by Matplotlib as SVG that takes the page's colours."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

#: Stands for the colour of the page's text; Matplotlib knows no `currentColor`.
_TEXT = "#010203"
#: Stand for the colours of the page's series, which are lighter on a dark page.
COLOURS = tuple(f"#0a0b{i:02d}" for i in range(1, 7))
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "evolve",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.edgecolor": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "legend.frameon": False,
    "mathtext.fontset": "cm",
}


def drawn(draw: Callable[[Axes], None], height: float = 3.2) -> str:
    """What a function draws, as SVG."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.0, height), layout="constrained")
        draw(figure.add_subplot())
        return _svg(figure)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(_TEXT, "currentColor")
    for i, colour in enumerate(COLOURS):
        svg = svg.replace(colour, f"var(--series-{i})")
    svg = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    own = zlib.crc32(svg.encode())
    # What is referred to gets a name that no other picture of the page has; the rest needs none.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>picture-{own}-", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def _by_slots(
    rows: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[list[Mapping[str, Any]], str, str]]:
    """The rows of each number of slots, with their colour and label."""
    for place, slots in enumerate(sorted({row["slots"] for row in rows})):
        own = [row for row in rows if row["slots"] == slots]
        yield own, COLOURS[place % len(COLOURS)], f"{slots} slot{'' if slots == 1 else 's'}"


def formula(lines: Iterable[str]) -> str:
    """Formulas in LaTeX, one below the other."""
    rows = list(lines)
    # Outlines: in no font that a page could name do the letters of formulas stand.
    with matplotlib.rc_context({**_STYLE, "svg.fonttype": "path"}):
        figure = Figure(figsize=(7.0, 0.42 * len(rows)))
        for i, row in enumerate(rows):
            figure.text(0.01, 1 - (i + 0.6) / len(rows), f"${row}$", fontsize=15)
        return _svg(figure)


def gains(rows: Sequence[Mapping[str, Any]], start: str) -> str:
    """By how much the champion gains more than the start: `where`, `mean`, `error`."""

    def draw(axes: Axes) -> None:
        places = range(len(rows))[::-1]
        means = [100 * row["mean"] for row in rows]
        errors = [196 * row["error"] for row in rows]
        axes.errorbar(means, places, xerr=errors, fmt="o", color=COLOURS[0], capsize=4)
        axes.axvline(0, color=_TEXT, linewidth=0.8, linestyle=":")
        axes.set_yticks(list(places), [row["where"] for row in rows])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel(f"gain over tuned {start}, in % of what it gains by training")

    return drawn(draw, 1.2 + 0.45 * len(rows))


def fitness(bests: Sequence[Mapping[str, Any]], last: int) -> str:
    """The best fitness so far over the programs, for each number of slots."""

    def draw(axes: Axes) -> None:
        for own, colour, label in _by_slots(bests):
            x = [row["id"] for row in own] + [last]
            y = [row["fitness"] for row in own] + [own[-1]["fitness"]]
            axes.step(x, y, where="post", label=label, color=colour)
        axes.set_xlim(0, last)
        axes.set_xlabel("programs generated")
        axes.set_ylabel("best fitness")
        axes.legend(loc="lower right")

    return drawn(draw)


def counts(progress: Sequence[Mapping[str, Any]]) -> str:
    """Programs trained, results taken over and children rejected, over the programs."""

    def draw(axes: Axes) -> None:
        x = [row["until"] for row in progress]
        names = {"trained": "trained", "hits": "known already", "rejected": "invalid"}
        for colour, (key, label) in enumerate(names.items()):
            axes.plot(x, [row[key] for row in progress], label=label, color=COLOURS[colour])
        axes.set_xlabel("programs generated")
        axes.set_ylabel("programs")
        axes.legend(loc="upper left")

    return drawn(draw)


def front(entries: Sequence[Mapping[str, Any]], chosen: Iterable[int]) -> str:
    """Fitness over statements, for each number of slots; those of the front are filled."""

    def draw(axes: Axes) -> None:
        full = set(chosen)
        for own, colour, label in _by_slots(entries):
            axes.scatter(
                [entry["statements"] for entry in own],
                [entry["fitness"] for entry in own],
                label=label,
                edgecolors=colour,
                facecolors=[colour if entry["id"] in full else "none" for entry in own],
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("statements")
        axes.set_ylabel("fitness")
        axes.legend(loc="lower right")

    return drawn(draw)


def ancestry(steps: Sequence[Mapping[str, Any]]) -> str:
    """The fitness of every ancestor."""

    def draw(axes: Axes) -> None:
        values = [(i, step["fitness"]) for i, step in enumerate(steps)]
        known = [(i, value) for i, value in values if value is not None]
        axes.plot(*zip(*known, strict=True), "o-", color=COLOURS[0])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("steps from the start program")
        axes.set_ylabel("fitness")

    return drawn(draw)


def rates(sweep: Mapping[str, Any]) -> str:
    """The loss over learning rate and decay, a panel for each program; a ring marks the lowest."""
    rows = sweep["programs"]
    grids = [_grid(row["cells"]) for row in rows]
    known = [loss for grid in grids for loss in grid.flat if not np.isnan(loss)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.0, 0.6 + 1.9 * len(rows)), layout="constrained")
        panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
        for axes, row, grid in zip(panels, rows, grids, strict=True):
            shown = axes.pcolormesh(grid, vmin=low, vmax=high, cmap="viridis_r", edgecolors="face")
            if not np.isnan(grid).all():  # else every training failed
                place = np.unravel_index(np.nanargmin(grid), grid.shape)
                axes.plot(place[1] + 0.5, place[0] + 0.5, "o", markersize=11, markeredgewidth=2.5,
                          markerfacecolor="none", markeredgecolor="#ff4f00")  # fmt: skip
            axes.set_yticks(np.arange(len(sweep["decay"])) + 0.5, map(_short, sweep["decay"]))
            axes.set_ylabel("weight decay")
            axes.set_title(row["program"], fontsize=11, loc="left")
            bar = figure.colorbar(shown, ax=axes)
            bar.outline.set_edgecolor(_TEXT)
        panels[-1].set_xticks(
            np.arange(len(sweep["lr"])) + 0.5, [f"×{rate:g}" for rate in sweep["lr"]]
        )
        panels[-1].set_xlabel("learning rate, times the tuned one")
        return _svg(figure)


def _grid(cells: Sequence[Sequence[Mapping[str, float] | None]]) -> np.ndarray:
    return np.array([[cell["mean"] if cell else np.nan for cell in row] for row in cells])


def _short(decay: float) -> str:
    return f"{decay:g}".replace("e-0", "e-")


def batches(sweep: Mapping[str, Any]) -> str:
    """The loss over the batch size, a curve for each program, with standard errors."""

    def draw(axes: Axes) -> None:
        for place, row in enumerate(sweep["programs"]):
            pairs = zip(sweep["batch"], row["cells"], strict=True)
            known = [(factor, c["mean"], c["error"]) for factor, c in pairs if c]
            x, y, error = zip(*known, strict=True) if known else ((), (), ())
            colour = COLOURS[place % len(COLOURS)]
            axes.errorbar(x, y, error, fmt="o-", capsize=3, label=row["program"], color=colour)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sweep["batch"], [f"×{factor:g}" for factor in sweep["batch"]])
        axes.minorticks_off()
        axes.set_xlabel("batch size, times the task's own, in as many steps fewer")
        axes.set_ylabel("held-out loss")
        axes.legend()

    return drawn(draw)


def overfitting(points: Sequence[Mapping[str, Any]]) -> str:
    """What the search saw of its best programs, and what fresh seeds say."""

    def draw(axes: Axes) -> None:
        x = [point["id"] for point in points]
        fresh = [(p["id"], p["fresh"]) for p in points if p["fresh"] is not None]
        axes.plot(x, [p["fitness"] for p in points], "o-", label="in the search", color=COLOURS[0])
        if fresh:
            axes.plot(*zip(*fresh, strict=True), "s--", label="on fresh seeds", color=COLOURS[5])
        axes.set_xlabel("program")
        axes.set_ylabel("fitness")
        axes.legend(loc="lower right")

    return drawn(draw)
