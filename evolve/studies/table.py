"""The table of the rediscovery study, from the digests of its units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np
from scipy.stats import binomtest, ttest_1samp

from evolve.search.log import START

#: What the names of the default search's units begin with.
SEED = "seed-"
#: Against whose champions each control's is held: what the units' names begin with.
SEARCHES = {
    "constants-only-equal-memory": SEED,
    "random-search-equal-memory": SEED,
    "constants-only-loss": "objective-loss",
    "random-search-loss": "objective-loss",
}
#: Below this chance, a champion counts as better than the tuned start.
SHOWN = 0.01


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown: what each unit found and how it was found, and how many seeds found Lion.

    Arguments:
        rows: the digests, by unit.
    """
    seeds = [row for name, row in rows.items() if name.startswith(SEED)]
    return "\n\n".join([found(rows), " ".join(summary(seeds)), search(rows), *controls(rows)])


def found(rows: dict[str, dict[str, Any]]) -> str:
    """What each unit found, and what that is worth."""
    places = list(dict.fromkeys(place for row in rows.values() for place in comparisons(row)))
    head = ["run", "champion", "best of one slot", "ahead of the next"]
    head += [f"{task}, {rung}" for task, rung in places]
    lines = []
    for name, row in rows.items():
        names = (row["champion"]["identity"], _of_one_slot(row))
        cells = [name, *map(named, names), ahead(row)]
        held = comparisons(row)
        lines.append([*cells, *(compared(held.get(place)) for place in places)])
    return markdown(head, lines)


def search(rows: dict[str, dict[str, Any]]) -> str:
    """How each unit's search went."""
    head = ["run", "minutes", "generated", "trained", "training steps", "cache hits", "redundant"]
    head += ["like Lion after", "line left the start at #", "champion after"]
    lines = []
    for name, row in rows.items():
        counts = (f"{row[key]:,}" for key in ("generated", "evaluated", "training_steps"))
        shares = (f"{row[key]:.0%}" for key in ("cache_hit_rate", "redundant_share"))
        cells = [name, f"{row['seconds'] / 60:.0f}", *counts, *shares]
        first, champion = row["first_lion"], row["champion_found_at"]
        line = [one["id"] for one in row["ancestry"] if one["id"] != START]
        found = [first and first["generated"], line and line[-1], champion["generated"]]
        lines.append([*cells, *(f"{number:,}" if number else "-" for number in found)])
    return markdown(head, lines)


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table: its head, and its lines of as many cells."""
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def summary(seeds: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What the searches came to, in words."""
    if not seeds:
        return
    yield f"Champions: {counted([row['champion']['identity'] for row in seeds])}."
    yield f"Best of one slot: {counted([_of_one_slot(row) for row in seeds])}."
    held = [comparisons(row) for row in seeds]
    better = {
        place: sum(_is_better(of.get(place)) for of in held)
        for place in dict.fromkeys(place for of in held for place in of)
    }
    words = ", ".join(f"{task} at {rung} {count}" for (task, rung), count in better.items())
    yield f"Better than tuned AdamW with p < {SHOWN}, of {len(seeds)} champions: {words}."
    yield from first_lions(seeds)


def _of_one_slot(row: dict[str, Any]) -> dict[str, Any] | None:
    """What the best program of one slot was named."""
    return next((one["identity"] for one in row["leaders"] if one["slots"] == 1), None)


def _is_better(comparison: dict[str, Any] | None) -> bool:
    if comparison is None or comparison["p"] is None:
        return False
    return bool(comparison["mean"] > 0 and comparison["p"] < SHOWN)


def named(identity: dict[str, Any] | None) -> str:
    """A name in short."""
    if not identity or not identity["family"]:
        return "none"
    return f"{identity['family']}{'' if identity['exact'] else ' and more'}"


def ahead(row: dict[str, Any]) -> str:
    """By how much a champion's score is above that of the best other structure, in short."""
    played = row["tournament"] or {"structures": []}
    scored = [one for one in played["structures"] if one["score"] is not None]
    own = [one for one in scored if one["structure"] == played["champion"]["structure"]]
    others = [one for one in scored if one not in own]
    if not own or not others:
        return "-"
    best = max(others, key=lambda one: float(one["score"]))
    if played["champion"]["best"]:
        return f"{best['behind']:+.4f} ± {best['error']:.4f}"
    return f"{-own[0]['behind']:+.4f} ± {own[0]['error']:.4f}"


def counted(identities: Sequence[dict[str, Any] | None]) -> str:
    """How many of some programs are Lion, in words."""
    lions = [one for one in identities if one and one["family"] == "lion"]
    exact = sum(identity["exact"] for identity in lions)
    interval = binomtest(len(lions), len(identities)).proportion_ci(method="exact")
    return (
        f"Lion in {len(lions)} of {len(identities)} "
        f"(95 % interval {interval.low:.0%} to {interval.high:.0%}), exact in {exact}"
    )


def first_lions(seeds: Sequence[dict[str, Any]]) -> Iterator[str]:
    """After how much there was a Lion, in words."""
    first = [s["first_lion"] for s in seeds if s["first_lion"]]
    if first:
        to = [f"{median(f[k] for f in first):,.0f}" for k in ("generated", "trained", "steps")]
        yield (
            f"To the first program that steps like Lion, median: {to[0]} programs, "
            f"{to[1]} trained, {to[2]} training steps."
        )


def comparisons(row: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any] | None]:
    """The comparisons of a champion with the tuned start, by task and rung."""
    return {(one["task"], one["rung"]): one["comparison"] for one in row["heldout"] or []}


def compared(comparison: dict[str, Any] | None) -> str:
    """A paired comparison in short."""
    if comparison is None or comparison["error"] is None:
        return "-"
    chance = "" if comparison["p"] is None else f", p = {comparison['p']:.2g}"
    return f"{comparison['mean']:+.4f} ± {comparison['error']:.4f}{chance}"


def controls(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """By how much the held-out loss of each control's champion is above that of the search's."""
    lines, places = [], []
    for name in (name for name in SEARCHES if name in rows):
        searched = [row for unit, row in rows.items() if unit.startswith(SEARCHES[name])]
        places = list(comparisons(rows[name]))
        lines.append([name, *(worse(rows[name], searched, place) for place in places)])
    if lines:
        yield markdown(["control", *(f"{task}, {rung}" for task, rung in places)], lines)


def worse(
    control: dict[str, Any], searched: Sequence[dict[str, Any]], place: tuple[str, str]
) -> str:
    """The difference in loss on a task at a rung, paired seed by seed; a dash if not measured.

    Standard error and p are over the seeds that these champions were judged on, not over
    searches. With several runs of the search it is against their mean.
    """
    own, *losses = [_losses(row, place) for row in (control, *searched)]
    if own is None or not losses or any(of is None for of in losses):
        return "-"
    differences = own - np.mean([of for of in losses if of is not None], axis=0)
    error = differences.std(ddof=1) / len(differences) ** 0.5
    chance = ttest_1samp(differences, 0.0).pvalue
    return f"{differences.mean():+.4f} ± {error:.4f}, p = {chance:.2g}"


def _losses(row: dict[str, Any], place: tuple[str, str]) -> np.ndarray | None:
    """The champion's held-out losses on a task at a rung, [seeds]."""
    held = [one["champion"] for one in row["heldout"] or [] if (one["task"], one["rung"]) == place]
    return np.array(held[0]) if held and held[0] else None
